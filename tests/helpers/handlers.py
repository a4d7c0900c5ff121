"""A callback for the documented handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


class Recorder(list[Any]):
    """A callback that keeps a copy of each dict it is called with, and None for a time-out, and then does something."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.then = then

    def __call__(self, arg_dict: dict[str, Any] | None) -> None:
        """Keep a copy."""
        self.append(arg_dict and dict(arg_dict))
        self.then()

    @property
    def payloads(self) -> list[str | None]:
        """The payloads in the order of arrival, None for a time-out."""
        return [arg_dict and arg_dict["extra"] for arg_dict in self]

    @property
    def events(self) -> list[str | None]:
        """The channels in the order of arrival, None for a time-out."""
        return [arg_dict and arg_dict["event"] for arg_dict in self]


def warned_on_deletion(reason: str, state: str = "listening") -> Any:
    """Expect the warning of a handler that is deleted while it listens to "jobs"."""
    return pytest.warns(ResourceWarning, match=f"^<NotificationHandler event='jobs' {state}> .* listening: {reason}")
