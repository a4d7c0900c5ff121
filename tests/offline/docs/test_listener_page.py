"""The recipe on the Listener's page that waits for a hint works as it stands there."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path

import pgnotify

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "listener.md").read_text()
[RECIPE] = re.findall(r"^```py\n(with .*?wait_or_poll.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_recipe_reads_while_it_works_and_ends_with_a_signal(server):
    rounds = []

    def work_through_the_table():
        rounds.append(any(thread.name == "pgnotify listener" for thread in threading.enumerate()))
        if len(rounds) == 1:
            server.connect().notify("jobs")
        else:
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    names = {
        "pgnotify": pgnotify,
        "signal": signal,
        "dsn": server.connect,
        "work_through_the_table": work_through_the_table,
    }
    try:
        exec(RECIPE, names)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert rounds == [True, True], "a thread reads during the work"
    assert names["listener"].status().state == "closed"
