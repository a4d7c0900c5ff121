"""What the tests of the kit are written with: comparisons that say what is wrong, and bounded waiting.

No `assert`: the kit also runs where Python leaves those out, and where nobody rewrites them. Where it
is pytest that runs it, `__tracebackhide__` keeps its report at the test.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from unittest import SkipTest

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification
from pgnotify.protocol import Backend

Test = TypeVar("Test", bound=Callable[..., None])

PATIENCE_SECONDS = 20.0
"""After which a test gives up: never reached unless something is wrong."""

_MOST_FALSE_ALARMS = 100
_SHOWN_CHARACTERS = 300  # of a value in a message
_SHOWN_FRAMES = 4
_LOOK_SECONDS = 0.001
_SAME_LOOKS = 10
_ATTEMPTS = 3


def needs(*features: str) -> Callable[[Test], Test]:
    """Skip a test, with the reason, of a backend that declares one of the features as missing."""

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def skipping(kit: Any) -> None:
            for feature in features:
                if feature in kit.cannot:
                    raise not_applicable(f"{feature}: {kit.cannot[feature]}")
            test(kit)

        return skipping  # type: ignore[return-value]

    return decorate


def not_applicable(reason: str) -> SkipTest:
    """Return what to raise where a test makes no sense; pytest takes it for a skip."""
    return SkipTest(f"not applicable: {reason}")


def holds(condition: object, otherwise: str) -> None:
    """Fail with a message unless the condition is true."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(otherwise)


def same(actual: object, expected: object, what: str = "") -> None:
    """Fail unless both are equal; of two lists, say where they part."""
    __tracebackhide__ = True
    if actual == expected:
        return
    about = f"{what}: " if what else ""
    if isinstance(actual, list) and isinstance(expected, list):
        raise AssertionError(about + _parting(actual, expected))
    raise AssertionError(f"{about}{_shown(actual)} instead of {_shown(expected)}")


def _parting(actual: Sequence[object], expected: Sequence[object]) -> str:
    place = next((i for i, (a, e) in enumerate(zip(actual, expected, strict=False)) if a != e), None)
    if place is None:
        place = min(len(actual), len(expected))
    got = _shown(actual[place]) if place < len(actual) else "nothing more"
    wanted = _shown(expected[place]) if place < len(expected) else "nothing more"
    return f"{len(actual)} arrived, of {len(expected)} expected; at place {place} there is {got} instead of {wanted}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def collect(backend: Backend, count: int, patience: float = PATIENCE_SECONDS) -> list[Notification]:
    """Return what arrives until there are so many."""
    __tracebackhide__ = True
    arrived: list[Notification] = []
    while len(arrived) < count:
        holds(
            backend.wait(patience),
            f"{len(arrived)} of {count} arrived, and wait({patience:g}) is False: the rest is lost or hidden",
        )
        arrived += backend.fetch()
    return arrived


def until_lost(backend: Backend, patience: float = PATIENCE_SECONDS) -> tuple[list[Notification], ConnectionLost]:
    """Play a listener until the connection is lost; return what arrived before, and the error."""
    __tracebackhide__ = True
    arrived: list[Notification] = []
    false_alarms = 0
    while false_alarms < _MOST_FALSE_ALARMS:
        try:
            holds(backend.wait(patience), "the loss was not noticed")
            batch = backend.fetch()
        except ConnectionLost as lost:
            return arrived, lost
        arrived += batch
        false_alarms += not batch
    raise AssertionError("wait() is True for ever, and fetch() does not say that the connection is lost")


def until(condition: Callable[[], object], otherwise: str, patience: float = PATIENCE_SECONDS) -> None:
    """Ask until the answer is true; fail after ``patience`` seconds."""
    __tracebackhide__ = True
    deadline = time.monotonic() + patience
    while not condition():
        holds(time.monotonic() < deadline, otherwise)
        time.sleep(_LOOK_SECONDS)  # between two looks, never instead of one


def takes_less(call: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Fail if a call takes longer each of three times: other work of the machine only adds to it."""
    __tracebackhide__ = True
    taken = []
    for _ in range(_ATTEMPTS):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
        if taken[-1] < seconds:
            return
    raise AssertionError(f"{otherwise}: it took {min(taken):.2f} seconds at best")


class Background:
    """A call that runs in a thread of its own, so that a test can go on, and give up."""

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
        """Return when the call blocks, as far as one can see from here, or has ended.

        Not certain: it may be on its way still. Either way must do, this only makes the usual one likely.
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
        """Return what the call returns, or raise what it raises; fail after ``patience`` seconds."""
        self._thread.join(patience)
        if self._thread.is_alive():
            frame = sys._current_frames().get(self._thread.ident or 0)
            stack = "".join(traceback.format_stack(frame)[-_SHOWN_FRAMES:]) if frame else ""
            raise AssertionError(f"{otherwise}: not after {patience:g} seconds; it is here:\n{stack}")
        if self.error is not None:
            raise self.error
        return self.result
