"""How a durable subscription is read, without any server: which statements follow on which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pgnotify.listener.wanted import Wanted
from pgnotify.listener.watch import ListenerWatch
from pgnotify.outbox.durable import DurableReading
from pgnotify.outbox.statements import Statements
from pgnotify.outbox.tables import Tables
from pgnotify.program.actions import Query

CONSUMERS = SimpleNamespace(is_done=lambda: True, undone=set, take_back=lambda: False)
POLICY: Any = SimpleNamespace(clock=lambda: 0.0)


@pytest.mark.parametrize("stops", [False, True])
def test_nothing_is_read_after_a_stop_was_requested(stops: bool):
    watch = ListenerWatch(Wanted("jobs", "closed just now"))
    statements = Statements(Tables("outbox", "public"))
    reading = DurableReading(statements, watch, "own", "billing", "new")
    reading.consumers(CONSUMERS)  # type: ignore[arg-type]
    reading.hinted()

    asked = []
    step = reading.step(watch, POLICY)
    action = next(step)
    try:
        while True:
            if isinstance(action, Query):
                asked.append(action.sql)
                if "WITH s AS" in action.sql:
                    break
            if stops and len(asked) == 2:
                watch.wanted.remove("closed just now")
                watch.request_stop()
            action = step.send([("true", "7 8")])
    except StopIteration:
        pass

    assert asked[0] == statements.lock
    assert ("WITH s AS" in asked[-1]) is not stops
