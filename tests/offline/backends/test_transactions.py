"""A statement of ours on an idle connection that is not in autocommit mode: the mode is the same afterwards."""

from __future__ import annotations

import pytest

from pgnotify.backends._transactions import in_autocommit


class Connection:
    """Its mode is set by Python code, in which a signal handler may raise, before or after the effect."""

    def __init__(self, *interruptions):
        self.mode = False
        self.interruptions = list(interruptions)

    @property
    def autocommit(self):
        return self.mode

    @autocommit.setter
    def autocommit(self, mode):
        interruption = self.interruptions.pop(0) if self.interruptions else None
        if interruption == "before":
            raise KeyboardInterrupt
        self.mode = mode
        if interruption == "after":
            raise KeyboardInterrupt


@pytest.mark.parametrize("interruptions", [("before",), ("after",), (None, "before"), (None, "after")])
def test_a_signal_handler_that_raises_while_the_mode_is_set_leaves_it(interruptions):
    connection = Connection(*interruptions)

    with pytest.raises(KeyboardInterrupt), in_autocommit(connection, lambda: False):
        pass

    assert connection.mode is False


def test_the_body_runs_in_autocommit_mode():
    connection = Connection()

    with in_autocommit(connection, lambda: False):
        assert connection.mode is True

    assert connection.mode is False
