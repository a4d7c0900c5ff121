"""What the online tests share: handlers that are closed at the end, whatever happened to them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests import kinds
from tests.helpers.handlers import Recorder

# What tests one driver can only be imported where that is installed.
_TESTED = {kind.driver for kind in kinds.selected()}
collect_ignore = [f"each_release/backends/test_{kind.driver}.py" for kind in kinds.KINDS if kind.driver not in _TESTED]
if importlib.util.find_spec("trustme") is None:  # which makes the certificates
    collect_ignore.append("tls")
if importlib.util.find_spec("uvicorn") is None:
    collect_ignore.append("web")


@pytest.fixture
def record() -> Recorder:
    """A callback that records."""
    return Recorder()


@pytest.fixture
def documented(handler_front: Any, db: Any, channel: str, record: Recorder) -> Iterator[Callable[..., Any]]:
    """A function that makes a handler on `db` for `channel` with `record`, unless told otherwise; on either front."""
    made: list[Any] = []

    def make(
        callback: Callable[[Any], object] = record, *args: Any, on: Any = db, event: str = channel, **kwargs: Any
    ) -> Any:
        made.append(handler_front.make(on, event, callback, *args, **kwargs))
        return made[-1]

    yield make
    for handler in made:
        with suppress(Exception):  # lost, or inside a transaction that the test has left open
            handler.close()
