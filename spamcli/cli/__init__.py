"""The command line: each verb parses, calls the library once, prints."""

import click

from spamcli import __version__
from spamcli.cli import classify, elmos, health
from spamcli.cli.terminal import Verbs


@click.group(cls=Verbs, context_settings={"auto_envvar_prefix": "SPAMCLI", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spamcli")
def main() -> None:
    """Tell spam from ham in text messages, with contextual word representations (ELMo).

    Example: spamcli download && spamcli train && spamcli predict "Call 09061 700 000 now to claim your prize"
    """


for verb in (
    classify.download,
    classify.train,
    classify.evaluate,
    classify.predict,
    classify.explain,
    elmos.pretrain,
    elmos.import_,
    health.doctor,
):
    main.add_command(verb)
