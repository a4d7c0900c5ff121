"""The event loop of the ways that need one."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_package = "asyncio"


def use(package: str) -> None:
    """Have `new` make the loops of this package from now on: ``"asyncio"`` or ``"uvloop"``."""
    global _package
    _package = package


def new() -> asyncio.AbstractEventLoop:
    """Return a new loop. Its package is imported here: ways without a loop are measured without it."""
    loop: asyncio.AbstractEventLoop = importlib.import_module(_package).new_event_loop()
    return loop
