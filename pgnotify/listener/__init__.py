"""The Listener: many channels, always back, nothing lost in silence."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from pgnotify.listener.listener import Listener as Listener

__all__ = ["Listener"]


def __getattr__(name: str) -> object:
    # On first use: who needs the rooms here without threads, such as an asyncio front, need not pay for them.
    if name != "Listener":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pgnotify.listener.listener import Listener

    return Listener
