"""The verb that looks after the machine: doctor."""

import click
from click.core import ParameterSource

from spamcli.cli.options import data_option, elmo_option, json_option, model_option
from spamcli.cli.terminal import escaped, json_line


@click.command()
@click.option("--clear", is_flag=True, help="Remove all that spamcli put into its cache folder, and check nothing.")
@data_option
@elmo_option(help="Where the model's ELMo is now, if it has moved.")
@model_option
@json_option
@click.pass_context
def doctor(context, clear, data, elmo, model, json):
    """Check this machine's packages, runtimes, cache, model and data; what is damaged in the cache is removed.

    One line a check: its status (ok, repaired, missing, warning or failed), its name, what was found, what to do.

    Example: spamcli doctor --json
    """
    from spamcli import doctor

    named = [name for name in ("model", "data") if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    checks = []
    for check in [doctor.clear()] if clear else doctor.examine(model, data, elmo, named):
        checks.append(check)
        if not json:
            click.echo(escaped(f"{check.status:8}  {check.name}: {check.detail}" + f"; {check.remedy}" * bool(check.remedy)))
    if json:
        click.echo(json_line({"checks": [check.to_dict() for check in checks]}))
    context.exit(doctor.exit_code(checks))
