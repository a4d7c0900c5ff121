"""The options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Dsn = Annotated[str | None, typer.Option(envvar="PGNOTIFY_DSN", help="A connection string; PG… variables complete it.")]
Embedded = Annotated[bool, typer.Option("--embedded", help="Start a PostgreSQL for this command, instead of --dsn.")]
Driver = Annotated[str | None, typer.Option(help="The driver to connect with; see `pgnotify drivers`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on standard error, except for errors.")]
