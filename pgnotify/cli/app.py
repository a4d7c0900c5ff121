"""The commands of the command line. Needs the extra ``[cli]``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgnotify.cli.bench import TAKES_ANY_OPTION, bench
from pgnotify.cli.check import check
from pgnotify.cli.command_line import CommandLine
from pgnotify.cli.demo import demo
from pgnotify.cli.doctor import doctor
from pgnotify.cli.drivers import drivers
from pgnotify.cli.listen.listen import listen
from pgnotify.cli.notify.notify import notify
from pgnotify.cli.outbox import replicate as replicate  # it adds a command
from pgnotify.cli.outbox.outbox import outbox_app
from pgnotify.cli.top.top import top
from pgnotify.cli.trigger.trigger import trigger

app = typer.Typer(
    cls=CommandLine,
    help="PostgreSQL's LISTEN and NOTIFY on any driver.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # it takes Rich longer to be imported than all the others together
    pretty_exceptions_enable=False,  # they show local variables, one of which is the password
)
for command in (check, demo, doctor, drivers, listen, notify, top, trigger):
    app.command()(command)
app.command(context_settings=TAKES_ANY_OPTION)(bench)
app.add_typer(outbox_app, name="outbox")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from pgnotify.cli.inventory import own_version

        typer.echo(f"pgnotify {own_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Take the options that stand before a command. `CommandLine` carries out `--debug`."""
