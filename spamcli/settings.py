"""Every setting that a user can change, with its default and unit: one home for library, command line and saved models."""

from dataclasses import asdict, dataclass, replace

BUILTIN = "builtin"  # the handle of the ELMo inside the package
INVENTED = "invented"  # what --also and --test call the package's own labelled messages
PROTOCOLS = ("tutorial", "almeida2011", "grouped")
SEED = 1
MAX_ALSO = 127  # files to learn from beside the data
EVEN = 0.5  # the threshold at which ham blocked and spam missed count the same
BOUND = 8.0  # of a head's log-odds, where there are several: odds of 3,000 to 1; so what stands beside them decides clear cases
BATCH_NUMBERS = 896 * 1024  # numbers in a layer of one call to an ELMo, padding included: tokens times dim; bounds the memory


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is trained on pooled layers. docs/accuracy.md has what decided on the defaults."""

    recipe: str = "wide-and-deep"  # a key of RECIPES, which the other settings began with
    epochs: int = 20
    batch_size: int = 240  # messages
    hidden: int = 256  # units of the dense layer
    learning_rate: float = 4e-3  # Adam's
    normalise: bool = True  # each number of the pooled layers, to mean 0 and variance 1 over the training messages
    dropout: float = 0.3  # of the mixed layers
    hidden_dropout: float = 0.5  # of the dense layer
    heads: int = 5  # averaged, each trained without another part of the messages; a single one is trained on all
    pooling: str = "mean"  # one of POOLINGS, over the tokens of each layer
    static: str = "ngrams"  # what stands beside the biLM: one of STATIC, or a file of word vectors; needs more than one head
    vectors: str = ""  # that file's SHA-256
    threshold: float = 0.85  # p_spam from which on the verdict is spam: ham blocked counts as much as six spam missed
    threshold_ham: float | None = None  # p_spam below which it is ham, unsure between the two; the same by default
    precision: str = "float32"  # of the ONNX file's matrix products, or int8
    max_ham_blocked: float | None = None  # share of the ham; training chooses both thresholds by it then

    def __post_init__(self):
        if self.heads == 1 and self.static != "none":
            raise ValueError(f"what stands beside the heads needs several of them. Received: 1 head, static {self.static}")
        if self.heads == 1 and self.max_ham_blocked is not None:
            raise ValueError("a budget needs several heads, each of which has not seen some messages. Received: 1 head")

    def verdict(self, p_spam: float, threshold: float | None = None) -> str:
        """`ham`, `spam`, or `unsure`: more likely spam than ham, but not enough to block it.

        Args:
            threshold: p_spam from which on the verdict is spam, and ham below; by default the settings' own two.
        """
        if threshold is None and self.threshold_ham is not None and self.threshold_ham <= p_spam < self.threshold:
            return "unsure"
        return "spam" if p_spam >= (self.threshold if threshold is None else threshold) else "ham"

    @property
    def unlearned(self) -> "ClassifierSettings":
        """The same with the recipe's own threshold, where training has chosen another."""
        return replace(self, threshold=RECIPES[self.recipe].threshold, threshold_ham=None, max_ham_blocked=None)

    @property
    def fingerprint(self) -> dict:
        """The recipe, its threshold, and the other settings that are not the recipe's."""
        usual = asdict(RECIPES[self.recipe])
        unusual = {name: value for name, value in asdict(self).items() if value != usual[name]}
        if self.vectors:
            unusual |= {"static": "vectors", "vectors": self.vectors[:8]}
        return {"recipe": self.recipe, "threshold": self.threshold} | unusual


POOLINGS = {"mean": 1, "mean+max": 2}  # what each layer is pooled to; how many vectors that is, one behind the other
STATIC = {"none": 0, "ngrams": 2}  # what stands beside the biLM; how many linear parts that is, of a file of word vectors 1
TUTORIAL = ClassifierSettings("tutorial", 20, 60, 256, 1e-3, False, 0.0, 0.0, heads=1, static="none", threshold=EVEN)
RECIPES = {settings.recipe: settings for settings in (ClassifierSettings(), TUTORIAL)}


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
