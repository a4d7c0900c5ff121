"""The other sessions that listen, as far as PostgreSQL shows that."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from pgnotify.cli.errors import line_of
from pgnotify.cli.examination.catalog import LISTENING
from pgnotify.cli.examination.link import ANSWER_SECONDS, Deadline, Link
from pgnotify.connecting.source import Source

MOST_SHOWN = 20


class Other(NamedTuple):
    """A session of this database whose latest statement was a LISTEN, or the heartbeat of a Listener."""

    pid: int
    user: str
    application: str
    statement: str
    """Its latest statement if that is a LISTEN, otherwise empty."""


class Others:
    """The sessions that seem to listen, read on a connection of its own, which is made again after a loss.

    PostgreSQL does not show which channels another session listens to. It shows the latest statement of each session,
    to its own role and to members of pg_read_all_stats.

    Args:
        dsn: a connection string.
        driver: the driver's name; None takes the first that is installed.
    """

    def __init__(self, dsn: str, driver: str | None) -> None:
        self._dsn = dsn
        self._source = Source(dsn, driver, None, ANSWER_SECONDS)
        self._link: Link | None = None
        self.found: tuple[Other, ...] = ()
        self.count = 0
        """How many there are; more than `MOST_SHOWN` are not in `found`."""
        self.hidden = 0
        """How many sessions do not show their statement to this role."""
        self.problem: str | None = None
        """Why they could not be read the last time; None if they could."""

    def read(self, own_pid: int | None) -> None:
        """Read them, except for the session with this process ID. It takes 5 s at most, and raises nothing."""
        try:
            deadline = Deadline(ANSWER_SECONDS)
            link = self._link = self._link or Link(self._source, deadline, self._dsn)
            link.deadline = deadline
            rows = link.rows(LISTENING, str(MOST_SHOWN + 1))
        except Exception as error:
            self.problem = line_of(error, [self._dsn])
            self.close()
            return
        self.problem = None
        others = [Other(int(row[2]), row[3] or "", row[4] or "", row[5] or "") for row in rows if row[2] is not None]
        self.found = tuple(other for other in others if other.pid != own_pid)[:MOST_SHOWN]
        self.count = int(rows[0][0]) - any(other.pid == own_pid for other in others)
        self.hidden = int(rows[0][1])

    def close(self) -> None:
        """Close the connection, if there is one."""
        link, self._link = self._link, None
        if link is not None:
            with suppress(Exception), link:
                pass
