"""`pgnotify drivers`: which backends and drivers there are, and why one cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from pgnotify.cli.command_line import FAILED
from pgnotify.cli.options import Json

if TYPE_CHECKING:
    from pgnotify.cli.inventory import Inventory


def drivers(as_json: Json = False) -> None:
    """Show the drivers and backends that are installed, and why one cannot be used.

    The exit code is 1 if something that is installed cannot be used, or if no driver is installed.
    """
    from pgnotify.cli.inventory import inventory

    found = inventory()
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps({**asdict(found), "is_broken": found.is_broken}, indent=2))
    else:
        for line in _lines(found):
            typer.echo(line)
    if found.is_broken:
        raise typer.Exit(FAILED)


def _lines(found: Inventory) -> Iterator[str]:
    yield f"pgnotify {found.pgnotify} in {found.location}"
    yield f"{found.python}, {found.platform}"
    yield ""
    rows = [("PACKAGE", "RELEASE", "--driver", "BACKEND", "")]
    rows += [
        (each.name, each.release or "-", ", ".join(each.drivers) or "-", each.origin, each.problem or "ok")
        for each in found.backends
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    yield from (f"note: {message}" for message in found.never_used)
