"""The verbs that make an ELMo: pretrain, import."""

from dataclasses import replace

import click

from spamcli.cli.options import ANY_NAME, PATH, Duration
from spamcli.cli.terminal import escaped, load_tensorflow_quietly, progress_bar, say
from spamcli.settings import PretrainingSettings


@click.command()
@click.argument("corpus", type=ANY_NAME, nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, required=True, help="Directory of the module to write.")
@click.option(
    "--tokens", type=click.IntRange(1, 10**12), default=PretrainingSettings.tokens, show_default=True, help="To read in all."
)
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
    load_tensorflow_quietly()
    from spamcli.bilm import pretraining
    from spamcli.bilm.configuration import configured

    config, settings = configured(config, replace(PretrainingSettings(), tokens=tokens, seed=seed))
    with progress_bar(log_seconds=60) as progress:
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
        say(f"{done.dropped:,} lines dropped that occur in {', '.join(done.excluded)}")
    perplexities = done.perplexities
    click.echo(
        escaped(str(output)) + f": perplexity {perplexities.forward:.1f} forward, {perplexities.backward:.1f} backward "
        f"(exp of the mean natural-log loss on {done.held_out:,} held-out lines)"
    )


@click.command("import")
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
    load_tensorflow_quietly()
    from spamcli.bilm import importing

    made = importing.import_weights(weights, options, output, precision)
    error = f", off by {made.error:.1e} of the float32 vectors' size" if made.error else ""
    about = f"{made.weights:,} weights, {made.config.dim} numbers a token, {precision} products{error}"
    click.echo(escaped(f"{output}: {about}"))
