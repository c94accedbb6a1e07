"""The card of a trained model, README.md in its directory: what it is, what it learned from, how well it does, its limits."""

import shlex

from spamcli.model_config import ModelConfig
from spamcli.report.lines import lines
from spamcli.settings import ClassifierSettings

_LIMITS = {
    "collection": """
- Almost all ham of the SMS Spam Collection comes from one source, the NUS SMS Corpus, and no spam does, so part of any
  score is telling sources apart. Expect ham of other origins to be blocked more often than here.
- The collection is from 2003 to 2011. Messages as they are written today look different, ham as well as spam.
- Four or five of the tutorial's test rows look mislabelled or undecidable.""",
    "other": """
- It knows what its training messages show. Those of other people, countries, years or languages may be judged worse.
- Near copies of test messages in training make a score look better than it is; see `unseen only`.""",
}
_TEXT = {
    False: "The model holds no message text, but hashes and vectors of the training messages.",
    True: "**The model holds the text of the training messages**; pass it on only as you would pass them on.",
}
_POOLED = {"mean": "means", "mean+max": "means and maxima"}
_STATIC = {"none": "", "ngrams": "; beside them a linear SVM and naive Bayes over hashed n-grams"}
_VECTORS = "; beside them a linear SVM over the mean of word vectors"
_LICENCES = {
    "collection": "The SMS Spam Collection: Almeida and Gómez Hidalgo hold its copyright; CC BY 4.0 at UCI; cite them.",
    "other": "The training messages remain their authors'.",
}


def model_card(config: ModelConfig, evaluation: dict, keeps_messages: bool = False) -> str:
    """Markdown; `evaluation` is what `train --json` prints, `keeps_messages` whether training text is in the model."""
    kind = "collection" if config.data["form"] in ("spam.csv", "uci") else "other"
    settings = config.settings
    elmo, pooled, static = config.elmo, _POOLED[settings.pooling], _STATIC.get(settings.static, _VECTORS)
    figures = "\n".join(f"    {line}" for line in lines(evaluation))
    return f"""# A spam classifier trained by spamcli {config.versions["spamcli"]}

A frozen ELMo ({elmo["handle"]}, fingerprint {elmo["fingerprint"][:16]}), the {pooled} of its layers over the
tokens, their scalar mix, {heads(settings)}{static} (recipe {settings.recipe}).
The verdict is spam from p_spam {settings.threshold:g} on.

## Data

{config.split["train"]:,} messages trained it and {config.split["test"]:,} others test it: protocol {config.protocol},
seed {config.seed}. They are from a file with the SHA-256 {config.data["sha256"]};
split {config.split["sha256"][:16]}.{also(config)} {_TEXT[keeps_messages]}

## Figures on the test messages

{figures}

## Limits
{_LIMITS[kind]}

## Licences

{_LICENCES[kind]} The weights of this classifier are whoever's trained it; spamcli is under Apache-2.0.

## To make it again

    {command(config)}{" --keep-messages" if keeps_messages else ""}
"""


def also(config: ModelConfig) -> str:
    files = ", ".join(f"{file['name']} (SHA-256 {file['sha256'][:16]}...)" for file in config.also)
    return f" Among those that trained it are messages of {files}." if files else ""


def heads(settings: ClassifierSettings) -> str:
    number = f"{settings.heads} heads of " if settings.heads > 1 else ""
    ending = ", their log-odds averaged; logistic regression on top" if settings.heads > 1 else ""
    return f"{number}Dense {settings.hidden} and a sigmoid{ending}"


def command(config: ModelConfig) -> str:
    """What trains it again."""
    settings = config.settings
    words = ["spamcli", "train", "--data", config.data["path"], "--elmo", config.elmo["handle"]]
    words += ["--protocol", config.protocol, "--seed", str(config.seed), "--batch-size", str(settings.batch_size)]
    words += ["--recipe", settings.recipe, "--epochs", str(settings.epochs)]
    words += ["--pooling", settings.pooling, "--static", settings.static]
    words += [word for file in config.also for word in ("--also", file["name"])]
    words += ["--max-ham-blocked", str(settings.max_ham_blocked)] if settings.max_ham_blocked is not None else []
    words += ["--quantize"] if settings.precision == "int8" else []
    words += ["--skip-bad"] if config.data["skip_bad"] else []
    words += ["--raw"] if config.data["raw"] else []
    for option in ("text_column", "label_column"):
        words += [f"--{option.replace('_', '-')}", config.data[option]] if config.data[option] else []
    words += ["--spam-label", ",".join(config.data["spam_labels"])] if config.data["spam_labels"] else []
    return shlex.join(words)
