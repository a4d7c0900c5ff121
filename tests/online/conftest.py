"""What the online tests share: handlers that are closed at the end, whatever happened to them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from pgnotify import NotificationHandler
from tests import kinds
from tests.support import Recorder

# What tests one driver can only be imported where that is installed.
_FILES_OF = {
    "psycopg": ["test_psycopg.py", "test_conninfo_libpq.py"],
    "psycopg2": ["test_psycopg2.py"],
    "pg8000": ["test_pg8000.py"],
    "pygresql": ["test_pygresql.py"],
    "wrappers": ["test_wrappers.py"],
}
_TESTED = {kind.driver for kind in kinds.selected()}
collect_ignore = [file for driver, files in _FILES_OF.items() if driver not in _TESTED for file in files]
if importlib.util.find_spec("trustme") is None:  # which makes the certificates
    collect_ignore.append("test_tls.py")


@pytest.fixture
def record() -> Recorder:
    """A callback that records."""
    return Recorder()


@pytest.fixture
def documented(db: Any, channel: str, record: Recorder) -> Iterator[Callable[..., NotificationHandler]]:
    """A function that makes a handler on `db` for `channel` with `record`, unless told otherwise."""
    made: list[NotificationHandler] = []

    def make(
        callback: Callable[[Any], object] = record, *args: Any, on: Any = db, event: str = channel, **kwargs: Any
    ) -> NotificationHandler:
        made.append(NotificationHandler(on, event, callback, *args, **kwargs))
        return made[-1]

    yield make
    for handler in made:
        with suppress(Exception):  # lost, or inside a transaction that the test has left open
            handler.close()
