"""The commands about an outbox: ``pgnotify outbox …``."""

from __future__ import annotations

import typer

outbox_app = typer.Typer(
    no_args_is_help=True, help="The outbox: messages that are stored with the sender's transaction."
)


@outbox_app.callback()
def _commands() -> None:
    """Keep each command a subcommand, even if it is the only one."""
