"""A server that logs each statement that it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL

_SYNTAX_ERROR = "42601"
# A statement that spans lines continues after a tab. One that was refused before it ran stands beside its error only.
_ENTRY = re.compile(r"^at \[(.*?)\] (?:LOG:  (?:statement|execute [^:]*): |STATEMENT:  )(.*(?:\n\t.*)*)", re.MULTILINE)


class Logged:
    """The statements that a server has been sent."""

    def __init__(self, server: TemporaryPostgreSQL) -> None:
        self.server = server
        self.address = server.address
        self._seen = 0

    def statements(self) -> set[str]:
        """Return the statements that were sent since this was asked last."""
        log = self.server.log()
        new, self._seen = log[self._seen :], len(log)
        # The server looks up nothing of a statement that it cannot even parse.
        return {text.replace("\n\t", "\n") for state, text in _ENTRY.findall(new) if state != _SYNTAX_ERROR}


@contextmanager
def logging_server() -> Iterator[Logged]:
    """Start a server that logs each statement, or skip the test if there is none to start."""
    try:
        server = TemporaryPostgreSQL(settings={"log_statement": "all", "log_line_prefix": "at [%e] "})
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with server:
        yield Logged(server)
