"""A system that has no more descriptors or threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest


class Descriptors:
    """The descriptors that this process may still open."""

    def __init__(self) -> None:
        self._taken: list[int] = []

    def use_up(self) -> None:
        """Open all of them."""
        with suppress(OSError):
            while True:
                self._taken.append(os.open(os.devnull, os.O_RDONLY))

    def release(self) -> None:
        """Close them again."""
        while self._taken:
            os.close(self._taken.pop())


@contextmanager
def few_descriptors() -> Iterator[Descriptors]:
    """Lower the limit on descriptors, so that few are left."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    descriptors = Descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, highest + 32), hard))
    try:
        yield descriptors
    finally:
        descriptors.release()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_descriptors() -> set[str]:
    """Return the numbers of the open descriptors, except that of the listing itself."""
    return {number for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")}


def no_thread(monkeypatch: pytest.MonkeyPatch, name: str, times: int = 1) -> list[str]:
    """Have the next threads of this name fail to start; return the list of their names, which grows."""
    start, failed = threading.Thread.start, []  # type: ignore[var-annotated]

    def failing(thread: threading.Thread) -> None:
        if name in thread.name and len(failed) < times:
            failed.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", failing)
    return failed
