"""ELMo's published weights: the files of bilm-tf and AllenNLP as sizes and weights of a `BiLM`."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from spamcli.bilm.layers import ACTIVATIONS
from spamcli.bilm.model import DIRECTIONS, BiLMConfig
from spamcli.characters import NUM_CHAR_IDS
from spamcli.errors import DataError, NotFoundError

LARGEST = 2**28  # numbers in a weight: 16 times those of ELMo's largest


def read_options(path: Path) -> BiLMConfig:
    """The sizes in options.json.

    Raises: NotFoundError; DataError, which names the option.
    """
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"{path}: cannot be read ({error.strerror}); name the options.json of the weights") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); name the options.json of the weights") from error

    def option(key: str, needed: str, fits: Callable[[object], bool]):
        value = options
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not fits(value):
            received = "nothing" if value is None else json.dumps(value)[:60]
            raise DataError(f"{path}: {key} must be {needed}. Received: {received}")
        return value

    def size(key: str) -> int:
        return option(key, "a whole number above 0", _is_size)

    # 1,000 bytes are more than any token's, and a bound of what a wrong number can ask for
    most = option("char_cnn.max_characters_per_token", "from 3 to 1000", lambda n: _is_size(n) and 3 <= n <= 1000)
    pairs = f"pairs [width, number] of whole numbers above 0, each width once, none above {most}"
    clip = option("lstm.cell_clip", "a number above 0", lambda x: type(x) in (int, float) and 0 < x < math.inf)
    option("lstm.proj_clip", f"{clip}, as lstm.cell_clip is", lambda x: x == clip)
    option("char_cnn.n_characters", "261 or 262", lambda n: n in (261, 262))
    return BiLMConfig(
        tokenizer="space",
        max_characters=most,
        char_dim=size("char_cnn.embedding.dim"),
        filters=tuple(map(tuple, option("char_cnn.filters", pairs, lambda value: _are_filters(value, most)))),
        activation=option("char_cnn.activation", " or ".join(ACTIVATIONS), lambda name: name in list(ACTIVATIONS)),
        highways=option("char_cnn.n_highway", "a whole number", lambda n: n in (None, 0) or _is_size(n)) or 0,
        cells=size("lstm.dim"),
        projection=size("lstm.projection_dim"),
        lstm_layers=size("lstm.n_layers"),
        clip=float(clip),
        residual=option("lstm.use_skip_connections", "true or false", lambda value: isinstance(value, bool)),
    )


def _is_size(value) -> bool:
    return type(value) is int and value > 0


def _are_filters(pairs, widest: int) -> bool:
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return False
    widths = [width for width, _ in pairs]
    whole = all(_is_size(n) for pair in pairs for n in pair)
    return whole and 0 < len(widths) == len(set(widths)) and max(widths) <= widest


def read_weights(path: Path, config: BiLMConfig) -> Iterator[tuple[str, np.ndarray]]:
    """The weights in an HDF5 file, one after the other: name and float32 array, as `config.weight_shapes()`.

    Raises: NotFoundError; DataError, which names the dataset.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file; name the HDF5 file of the weights") from error
    except OSError as error:
        raise DataError(f"{path}: not HDF5, or damaged ({_one_line(error)}); fetch it again") from error
    with file:
        yield from _char_cnn(file, config)
        yield from _lstms(file, config)


def _char_cnn(file: h5py.File, config: BiLMConfig) -> Iterator[tuple[str, np.ndarray]]:
    """Embedding, convolutions, highways, projection."""
    embedding = _read(file, "char_embed", NUM_CHAR_IDS - 1, config.char_dim)
    yield "char_embedding", np.pad(embedding, [(1, 0), (0, 0)])  # bilm-tf has no row for the mask
    for i, (width, number) in enumerate(config.filters):
        yield f"conv{width}_kernel", _read(file, f"CNN/W_cnn_{i}", 1, width, config.char_dim, number)[0]
        yield f"conv{width}_bias", _read(file, f"CNN/b_cnn_{i}", number)
    dim = sum(number for _, number in config.filters)
    for k in range(config.highways):
        # its gate is the transformed input's share, ours the carried one's: 1 - sigmoid(x) = sigmoid(-x)
        for part, letter, shape in (("kernel", "W", [dim, dim]), ("bias", "b", [dim])):
            transform, carry = (_read(file, f"CNN_high_{k}/{letter}_{half}", *shape) for half in ("transform", "carry"))
            yield f"highway{k}_{part}", np.concatenate([transform, -carry], axis=-1)
    if "CNN_proj" in file or dim != config.projection:
        yield "projection_kernel", _read(file, "CNN_proj/W_proj", dim, config.projection)
        yield "projection_bias", _read(file, "CNN_proj/b_proj", config.projection)
    elif dim > LARGEST // dim:
        raise DataError(f"{file.filename}: {dim:,} filters; sizes beyond any ELMo's")
    else:  # bilm-tf leaves out what would not change the length
        yield "projection_kernel", np.eye(dim, dtype=np.float32)
        yield "projection_bias", np.zeros(dim, np.float32)


def _lstms(file: h5py.File, config: BiLMConfig) -> Iterator[tuple[str, np.ndarray]]:
    size, cells = config.projection, config.cells
    for i, direction in enumerate(DIRECTIONS):
        for k in range(config.lstm_layers):
            group = f"RNN_{i}/RNN/MultiRNNCell/Cell{k}/LSTMCell"
            kernel = _read(file, f"{group}/W_0", 2 * size, 4 * cells)
            yield f"{direction}{k}_input_kernel", kernel[:size]
            yield f"{direction}{k}_recurrent_kernel", kernel[size:]
            yield f"{direction}{k}_bias", _read(file, f"{group}/B", 4 * cells)
            yield f"{direction}{k}_projection", _read(file, f"{group}/W_P_0", cells, size)


def _read(file: h5py.File, name: str, *shape: int) -> np.ndarray:
    """A dataset as float32; its shape is checked before a byte is read.

    Raises: DataError.
    """
    try:
        dataset = file.get(name)
        received = dataset or "nothing"
        if math.prod(shape) > LARGEST:
            received = "sizes beyond any ELMo's"
        elif isinstance(dataset, h5py.Dataset) and (
            dataset.external or dataset.is_virtual or dataset.file.filename != file.filename
        ):
            received = "a link to another file"
        elif isinstance(dataset, h5py.Dataset) and dataset.shape == shape and dataset.dtype.kind == "f":
            array = dataset.astype(np.float32)[...]
            if np.isfinite(array).all():
                return array
            received = "infinite numbers or NaN"
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:  # as h5py has it in damaged files
        received = _one_line(error)
    raise DataError(f"{file.filename}: {name} must hold float numbers of shape {list(shape)}. Received: {received}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
