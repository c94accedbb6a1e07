"""Published ELMo weights as a module in TF-Hub's format, in float32 or in bfloat16 of a measured error."""

import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pooch
import tensorflow as tf

from spamcli import __version__
from spamcli.bilm.export import ELMoModule, export, refuse_existing
from spamcli.bilm.model import BiLM, BiLMConfig
from spamcli.bilm.published import read_options, read_weights
from spamcli.characters import TOKENIZERS

PRECISIONS = {"float32": tf.float32, "bfloat16": tf.bfloat16}

# Invented; what the error of bfloat16 is measured on.
MESSAGES = """\
Are you coming to the cinema tonight ?
ok
Running late , the bus broke down near the bridge . Start without me !
WINNER ! ! You have been chosen for a free holiday . Call 0800 555 0199 to claim now
Mum says dinner is at seven
Happy birthday my dear , may all your wishes come true :)
Can you send me the notes from Tuesday 's lecture please
URGENT : your parcel is held at the depot . Pay the fee of £2.99 at http://example.com/parcel
No idea , ask Tom
The exam was terrible , I could not finish the last two questions ...
Reply YES to get 100 free ringtones . Stop with STOP . 150p per text
haha that was sooo funny
Pick up some milk and bread on the way home
Your account has been locked . Confirm your password to unlock it
What time does the train from Leeds arrive ?
i will call u later , in a meeting
Sorry I missed your call , the phone was on silent
Congratulations , you qualify for a loan of $5,000 at a low rate
See you at the station at half past six
Thanks for yesterday , we had a lovely time with the children""".splitlines()


@dataclass(frozen=True)
class Imported:
    """A module made of published weights.

    Attributes:
        config: its sizes; weights: their number.
        error: what bfloat16 changes in the pooled layers of MESSAGES: the root mean square of the differences, relative
            to that of the layers; largest_error: the largest difference. None in float32.
    """

    config: BiLMConfig
    weights: int
    error: float | None = None
    largest_error: float | None = None


def import_weights(weights: Path, options: Path, directory: Path, precision: str = "float32") -> Imported:
    """Write the module of published weights, of any size.

    Args:
        weights, options: HDF5 and JSON, as bilm-tf writes and AllenNLP publishes them.
        precision: of the module's matrix products, a key of PRECISIONS; the matrices are stored in it.
    Raises: NotFoundError; DataError, which names the dataset or option; WriteError, also if `directory` exists.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision. Received: {precision}")
    refuse_existing(directory)
    dtype = PRECISIONS[precision]
    config = read_options(options)
    bilm = BiLM(config, dict(read_weights(weights, config)))
    number, errors = sum(map(math.prod, config.weight_shapes().values())), ()
    if dtype != tf.float32:
        exact = bilm
        bilm = BiLM(config, exact.weights, dtype, dtype)
        errors = _errors(_pooled_layers(bilm), _pooled_layers(exact))
    imported = Imported(config, number, *errors)
    export(bilm, directory, _card(weights, options, directory, precision, imported), dtype, dtype)
    return imported


def _pooled_layers(bilm: BiLM) -> np.ndarray:
    """Mean over the tokens of MESSAGES, of each layer, one behind the other: float64 [messages, all layers' numbers]."""
    module = ELMoModule(bilm)
    outputs = module.default(tf.constant(MESSAGES))
    names = ["word_emb", *(f"lstm_outputs{k}" for k in range(1, bilm.config.lstm_layers + 1))]
    lengths = [[len(TOKENIZERS[bilm.config.tokenizer](message))] for message in MESSAGES]
    sums = [outputs[name].numpy().sum(axis=1, dtype=np.float64) for name in names]  # padded places are zero
    return np.concatenate(sums, axis=-1) / lengths


def _errors(rounded: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """Relative root mean square and largest absolute value of the differences."""
    differences = rounded - exact
    return float(np.linalg.norm(differences) / np.linalg.norm(exact)), float(np.abs(differences).max())


def _card(weights: Path, options: Path, directory: Path, precision: str, imported: Imported) -> str:
    """The README.md of a module: what it is, what it was made from, and how exact it is."""
    command = ["spamcli", "import", weights.name, options.name, "-o", directory.name]
    command += ["--precision", precision] if precision != "float32" else []
    files = "".join(f"- `{path.name}`, sha256 `{pooch.file_hash(str(path))}`\n" for path in (weights, options))
    values = "".join(f"- {name}: {value}\n" for name, value in asdict(imported.config).items())
    exactness = "Weights and matrix products are float32."
    if imported.error is not None:
        exactness = f"""Matrix products and stored matrices are bfloat16, all else is float32. On {len(MESSAGES)} invented
messages the pooled layers differ from those in float32 by {imported.error:.3g} of their root mean square, and by
{imported.largest_error:.3g} at most."""
    return f"""# An ELMo imported by spamcli {__version__}

A SavedModel with the signatures of TF-Hub's ELMo, `default` and `tokens` (Peters et al. 2018). Load it with
`tensorflow_hub.load(DIRECTORY)` or `tf.saved_model.load(DIRECTORY)`; strings go in, their tokens separated by spaces.

Its {imported.weights:,} weights are those of these files, whose licence holds for them:
{files}
Made by `{shlex.join(command)}`.

{exactness}

Sizes:
{values}"""
