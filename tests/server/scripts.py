"""Random scripts in which a few connections to two databases use LISTEN, NOTIFY and transactions."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from hypothesis import strategies as st

from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS

OTHER_DATABASE = "pgnotify_memory"
MOST_STEPS = 70
LONG_CHANNELS = ["é" * 31, *(channel for channel in GOOD_CHANNELS if len(channel.encode()) == 63)]
"""With one more "é", LISTEN cuts them to the same names."""
VERBS = ["notify", "notify_many", "listen", "unlisten", "look", "fail", "terminate"]
VERBS += ["begin", "commit", "rollback", "savepoint", "rollback_to", "release"]
# The steps outside a transaction and inside one; frequent steps are listed more often.
OUTSIDE = VERBS + ["notify"] * 8 + ["notify_many"] * 3 + ["begin"] * 12 + ["listen", "unlisten", "look", "terminate"]
INSIDE = VERBS + ["notify"] * 24 + ["notify_many"] * 3 + ["commit"] * 6 + ["begin", "terminate", "terminate"]
INSIDE += ["savepoint"] * 12 + ["rollback_to"] * 16 + ["release"] * 6

_short = reprlib.Repr()
_short.maxstring = 200  # otherwise, a few long payloads would fill the report of a failure


class Step(NamedTuple):
    """One connection makes one call."""

    who: int
    verb: str
    arguments: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"{self.who} {self.verb}{_short.repr(self.arguments)}"


class Script(NamedTuple):
    """The connections, and their steps."""

    databases: list[str]
    """The database of each connection."""
    steps: list[Step]


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Most steps are possible, and there are few channels and payloads, so that many arrive and many are equal."""
    databases = draw(st.lists(st.sampled_from(["postgres", OTHER_DATABASE]), min_size=2, max_size=3))
    everybody = range(len(databases))
    name = st.sampled_from(GOOD_CHANNELS) | st.sampled_from(LONG_CHANNELS)
    channels = draw(st.lists(name, min_size=1, max_size=2))
    spellings = [
        each for channel in channels for each in ((channel, channel + "é") if channel in LONG_CHANNELS else (channel,))
    ]
    steps = [Step(who, "listen", (each,)) for who in everybody for each in spellings if draw(st.booleans())]
    arguments = _arguments(draw, channels, spellings)
    savepoints: dict[int, set[str]] = {}
    for _ in range(draw(st.integers(0, MOST_STEPS))):  # a list strategy would be short most of the time
        who = draw(st.sampled_from(everybody))
        verb = draw(st.sampled_from(INSIDE if who in savepoints else OUTSIDE))
        step = Step(who, verb, draw(st.sampled_from(arguments.get(verb, [()]))))
        steps.append(_made_possible(step, savepoints))
    return Script(databases, [*_with_looks(steps, everybody, draw(st.booleans()))])


def _arguments(draw: st.DrawFn, channels: list[str], spellings: list[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the arguments for each verb; some of them are impossible."""
    payloads = draw(st.lists(st.sampled_from(GOOD_PAYLOADS) | st.text(max_size=3), min_size=2, max_size=2))
    bad_channel, bad_payload = draw(st.sampled_from(BAD_CHANNELS)), draw(st.sampled_from(BAD_PAYLOADS))
    names = [(each,) for each in spellings] * 8 + [(bad_channel,)]
    good = [*product(channels, payloads)]
    bad = [(bad_channel, payloads[0]), (channels[0], bad_payload)]
    several = draw(st.lists(st.sampled_from(good), max_size=4))
    return {
        **dict.fromkeys(("listen", "unlisten"), names),
        **dict.fromkeys(("savepoint", "rollback_to", "release"), [("a",), ("b",)] * 10 + [("unknown",)]),
        "notify": good * 8 + bad,
        "notify_many": [(several,), (several[::-1],)] * 5 + [(several + bad[:1],), (several + bad[1:],), (bad,)],
    }


def _made_possible(step: Step, savepoints: dict[int, set[str]]) -> Step:
    """Set a savepoint before it is used; keep track of the savepoints in open transactions."""
    who, verb, arguments = step
    if verb == "begin":
        savepoints.setdefault(who, {"unknown"})
    elif verb in ("commit", "rollback", "terminate"):
        savepoints.pop(who, None)
    elif verb in ("rollback_to", "release") and arguments[0] not in savepoints.get(who, arguments):
        savepoints[who].add(arguments[0])
        return Step(who, "savepoint", arguments)
    return step


def _with_looks(steps: list[Step], everybody: Sequence[int], after_each_step: bool) -> Iterator[Step]:
    """Add a look after each step, or at the end only: then more notifications are under way at once."""
    for step in steps:
        yield step
        if after_each_step:
            yield from (Step(who, "look") for who in everybody)
    for verb in ("commit", "look"):
        yield from (Step(who, verb) for who in everybody)
