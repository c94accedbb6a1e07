"""Every setting that a user can change, with its default and unit: one home for library, command line and saved models."""

from dataclasses import dataclass, fields

BUILTIN = "builtin"  # the handle of the ELMo inside the package
PROTOCOLS = ("tutorial", "almeida2011", "grouped")
RECIPE = "tutorial"  # mean pooling, scalar mix, Dense 256 relu, sigmoid
SEED = 1
THRESHOLD = 0.5  # p_spam from which on the verdict is spam
BATCH_NUMBERS = 896 * 1024  # numbers in a layer of one call to an ELMo, padding included: tokens times dim; bounds the memory


@dataclass(frozen=True)
class HeadSettings:
    """How the head is trained. The defaults are the tutorial's, but for the epochs, which it set to 1."""

    epochs: int | None = None  # None: chosen on a validation part of the training messages
    batch_size: int = 60  # messages
    hidden: int = 256  # units of the dense layer
    learning_rate: float = 1e-3  # Adam's

    @property
    def unusual(self) -> dict:
        """The settings that are not the default's."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


@dataclass(frozen=True)
class PretrainingSettings:
    """How a biLM is pretrained; its sizes are `bilm.model.BiLMConfig`'s."""

    tokens: int = 20_000_000  # read in all
    batch_tokens: int = 4096  # padded tokens of a batch, at most
    max_message_tokens: int = 64  # longer lines are cut into pieces
    vocabulary: int = 30_000  # words of the softmax, at most
    min_sources: int = 3  # files that a word must occur in to be one of them
    misspelt: float = 0.0  # share of the words that are read misspelt, and predicted as they should be
    samples: int = 2048  # words drawn for the softmax of a batch
    dropout: float = 0.1  # of every LSTM's input and of the softmax's
    learning_rate: float = 2e-3  # Adam's, after the warm-up; falls to a twentieth along half a cosine
    warmup: float = 0.02  # share of the tokens during which the learning rate rises from zero
    clip_norm: float = 1.0  # of the whole gradient
    held_out: int = 1000  # lines that only measure
    checkpoint_seconds: int = 300
    seed: int = 1
