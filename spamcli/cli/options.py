"""Options that several verbs share, and the types of their values."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from spamcli.cli.terminal import say
from spamcli.settings import BATCH_NUMBERS


class NamedPath(click.Path):
    """A path; an empty one, as an unset shell variable gives, would mean this folder."""

    def convert(self, value, param, ctx):
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = NamedPath(path_type=Path)


class AnyName(click.types.StringParamType):
    """A file's name, or something else, as it is written; shells complete it as a file's."""

    def shell_complete(self, ctx, param, incomplete):
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


ANY_NAME = AnyName()


class Duration(click.ParamType):
    """Seconds as a number with a unit: 90s, 20m, 3h."""

    name = "duration"

    def convert(self, value, param, ctx):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value)
        if not match or not float(match[1]):
            self.fail(f"{value!r} is no duration; write a number and its unit, such as 90s, 20m or 3h.", param, ctx)
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def shared(*flags: str, **settings) -> Callable:
    """An option that several verbs have; SPAMCLI_<NAME> sets it for all of them."""
    name = flags[0].strip("-").replace("-", "_").upper()
    return click.option(*flags, envvar=f"SPAMCLI_{name}", show_default=True, **settings)


elmo_option = partial(shared, "--elmo", type=ANY_NAME, metavar="MODULE")
data_option = shared("--data", type=PATH, default=Path("data/spam.csv"), help="Labelled messages.")
MODEL = Path("model")
model_option = shared("--model", type=PATH, default=MODEL, help="Directory of the model.")
trained_option = shared("--model", type=PATH, help="Directory of the model; by default ./model, else spamcli's own.")
trust_option = shared("--trust-module", is_flag=True, help="Run the ELMo's module whatever it could do.")
json_option = click.option("--json", is_flag=True, help="Print JSON.")
budget_option = click.option(
    "--max-batch-tokens",
    type=click.IntRange(1),
    help=f"Padded tokens that go through the ELMo at once; bounds the memory. By default {BATCH_NUMBERS:,} / its dim.",
)


def reading_options(verb: Callable) -> Callable:
    """The options that say how a labelled file is read."""
    for option in (
        click.option("--skip-bad", is_flag=True, help="Leave out records that cannot be read, and say how many."),
        click.option("--spam-label", help="Labels that mean spam, separated by commas; every other one means ham."),
        click.option("--label-column", help="Column of the label; by default the first of label, class, category, v1."),
        click.option("--text-column", help="Column of the text; by default the first of text, message, sms, v2."),
    ):
        verb = option(verb)
    return verb


def chosen_model(named: Path | None) -> Path:
    """The model that is named, else ./model, else the one inside the package, which is said then."""
    if named or MODEL.exists():
        return named or MODEL
    say("no ./model here, so spamcli's own classifier judges; --model names another")
    from spamcli.model_config import DEFAULT_CLASSIFIER

    return DEFAULT_CLASSIFIER


def spam_labels(given: str | None) -> list[str]:
    return [label for label in (given or "").split(",") if label.strip()]
