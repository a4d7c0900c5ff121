"""Tools of the kit's tests: comparisons that explain a failure, and waiting with a time limit.

There is no `assert`: the kit also runs where Python is told to leave those out, and where pytest does not
rewrite them. `__tracebackhide__` makes pytest's report end at the line of the test.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar
from unittest import SkipTest

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification, Plain
from pgnotify.protocol import Backend, FetchesInto, FetchesPlain, FetchesWhole

Test = TypeVar("Test", bound=Callable[..., None])

PATIENCE_SECONDS = 20.0
"""A test gives up after this time; reached only if something is wrong."""

_MOST_FALSE_ALARMS = 100
_SHOWN_CHARACTERS = 300  # of a value, in a message
_SHOWN_FRAMES = 4
_LOOK_SECONDS = 0.001
_SAME_LOOKS = 10
_ATTEMPTS = 3


def needs(*features: str) -> Callable[[Test], Test]:
    """Skip a test, with the reason, if the backend declares one of these features as missing."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def skipping(kit: Any) -> None:
            for feature in features:
                if feature in kit.cannot:
                    raise not_applicable(f"{feature}: {kit.cannot[feature]}")
            test(kit)

        return skipping  # type: ignore[return-value]

    return decorate


def is_refused(name: str, call: Callable[[], object]) -> None:
    """Fail unless a call raises TransactionError."""
    __tracebackhide__ = True
    try:
        call()
    except TransactionError:
        return
    raise AssertionError(
        f"{name} succeeded inside a transaction, where nothing can arrive: it must raise TransactionError"
    )


def not_applicable(reason: str) -> SkipTest:
    """Return the exception to raise where a test does not apply; pytest treats it as a skip."""
    return SkipTest(f"not applicable: {reason}")


def holds(condition: object, otherwise: str) -> None:
    """Fail with the message `otherwise` unless the condition is true."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(otherwise)


def same(actual: object, expected: object, what: str = "") -> None:
    """Fail unless both are equal; for two lists, report the first difference."""
    __tracebackhide__ = True
    if actual == expected:
        return
    about = f"{what}: " if what else ""
    if isinstance(actual, list) and isinstance(expected, list):
        raise AssertionError(about + _parting(actual, expected))
    raise AssertionError(f"{about}got {_shown(actual)}, expected {_shown(expected)}")


def _parting(actual: Sequence[object], expected: Sequence[object]) -> str:
    place = next((i for i, (a, e) in enumerate(zip(actual, expected, strict=False)) if a != e), None)
    if place is None:
        place = min(len(actual), len(expected))
    got = _shown(actual[place]) if place < len(actual) else "nothing more"
    wanted = _shown(expected[place]) if place < len(expected) else "nothing more"
    return f"got {len(actual)}, expected {len(expected)}; at index {place} got {got}, expected {wanted}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def collect(
    backend: Backend,
    count: int,
    patience: float = PATIENCE_SECONDS,
    fetch: Callable[[], Iterable[Notification]] | None = None,
) -> list[Notification]:
    """Collect notifications until there are at least `count`; by `Backend.fetch`, or by another way to fetch."""
    __tracebackhide__ = True
    fetch = fetch or backend.fetch
    arrived: list[Notification] = []
    while len(arrived) < count:
        holds(
            backend.wait(patience),
            f"{len(arrived)} of {count} notifications arrived, then wait({patience:g}) returned False: "
            "the others were lost, or are in a buffer that wait() does not look at",
        )
        arrived += fetch()
    return arrived


def ways_to_fetch(backend: Backend) -> dict[str, Callable[[], list[Notification]]]:
    """Return each way to fetch that a backend offers, by its name; all of them return notifications."""

    def fetch_plain() -> list[Notification]:
        return list(itertools.starmap(Notification, backend.fetch_plain()))  # type: ignore[attr-defined]

    def fetch_into() -> list[Notification]:
        queue: deque[Plain] = deque()
        backend.fetch_into(queue)  # type: ignore[attr-defined]
        return list(itertools.starmap(Notification, queue))

    def fetch_whole() -> list[Notification]:
        queue: deque[Plain] = deque()
        backend.fetch_whole(queue)  # type: ignore[attr-defined]
        return list(itertools.starmap(Notification, queue))

    ways: dict[str, Callable[[], list[Notification]]] = {"fetch()": backend.fetch}
    if isinstance(backend, FetchesPlain):
        ways["fetch_plain()"] = fetch_plain
    if isinstance(backend, FetchesInto):
        ways["fetch_into()"] = fetch_into
    if isinstance(backend, FetchesWhole):
        ways["fetch_whole()"] = fetch_whole
    return ways


def until_lost(backend: Backend, patience: float = PATIENCE_SECONDS) -> tuple[list[Notification], ConnectionLost]:
    """Wait and fetch until the connection is lost; return the notifications before the loss, and the error."""
    __tracebackhide__ = True
    arrived: list[Notification] = []
    false_alarms = 0
    while false_alarms < _MOST_FALSE_ALARMS:
        try:
            holds(
                backend.wait(patience), f"wait({patience:g}) returned False: the loss of the connection was not noticed"
            )
            batch = backend.fetch()
        except ConnectionLost as lost:
            return arrived, lost
        arrived += batch
        false_alarms += not batch
    raise AssertionError("wait() keeps returning True, but fetch() never raises ConnectionLost")


def until(condition: Callable[[], object], otherwise: str, patience: float = PATIENCE_SECONDS) -> None:
    """Check repeatedly until the condition is true; fail after ``patience`` seconds."""
    __tracebackhide__ = True
    deadline = time.monotonic() + patience
    while not condition():
        holds(time.monotonic() < deadline, otherwise)
        time.sleep(_LOOK_SECONDS)  # between two looks, never instead of one


def takes_less(call: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Fail if all of three calls take longer: other work of the machine can only slow a call down."""
    __tracebackhide__ = True
    taken = []
    for _ in range(_ATTEMPTS):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
        if taken[-1] < seconds:
            return
    raise AssertionError(f"{otherwise}: the fastest of {_ATTEMPTS} calls took {min(taken):.2f} seconds")


class UnderWay(Protocol):
    """A call that a test has started."""

    @property
    def ended(self) -> bool:
        """Whether it has returned or raised."""


class Background:
    """A call that runs in its own thread, so that a test can go on, and give up if it hangs."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, name="conformance", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # raised again by join()
            self.error = error

    def until_blocked(self, patience: float) -> None:
        """Return when the call seems to block, or has ended.

        This is not certain: the call may still be on its way. A test must pass either way; this only makes
        the usual case likely.
        """
        looks = 0
        place = None
        deadline = time.monotonic() + patience
        while looks < _SAME_LOOKS and self._thread.is_alive() and time.monotonic() < deadline:
            frame = sys._current_frames().get(self._thread.ident or 0)
            here = frame and (id(frame), frame.f_lasti)
            looks, place = (looks + 1, place) if here == place else (0, here)
            time.sleep(_LOOK_SECONDS)  # between two looks, never instead of one

    @property
    def ended(self) -> bool:
        """Whether the call has returned or raised."""
        return not self._thread.is_alive()

    def join(self, patience: float, otherwise: str) -> Any:
        """Return the result of the call, or raise its error; fail if it takes more than ``patience`` seconds."""
        self._thread.join(patience)
        if self._thread.is_alive():
            frame = sys._current_frames().get(self._thread.ident or 0)
            stack = "".join(traceback.format_stack(frame)[-_SHOWN_FRAMES:]) if frame else ""
            raise AssertionError(f"{otherwise}: it still runs after {patience:g} seconds, here:\n{stack}")
        if self.error is not None:
            raise self.error
        return self.result
