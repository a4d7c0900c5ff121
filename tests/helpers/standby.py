"""A standby of a temporary PostgreSQL: what a fail-over does to who listens is tested on a real one."""

from __future__ import annotations

from pgnotify.testing import ServerFailed, TemporaryPostgreSQL
from pgnotify.testing._guard_client import GuardProcess
from pgnotify.testing._programs import tail_of

COPY_SECONDS = 30.0


class Standby(TemporaryPostgreSQL):
    """A server that follows another one, which must run when this is started for the first time.

    It has the programs of its primary, and goes with its directory as any TemporaryPostgreSQL does.
    Its replication is asynchronous: see `caught_up`.
    """

    def __init__(self, primary: TemporaryPostgreSQL) -> None:
        super().__init__(primary.bin_directory, password=primary.password)
        self._primary = primary

    def promote(self) -> None:
        """Make it a primary; return when it is one, and takes what writes."""
        if self.sql("SELECT pg_promote()") != "t":
            raise ServerFailed(f"the standby was not promoted{tail_of(self.log())}")

    def caught_up(self) -> bool:
        """Whether it has replayed all that its primary has written so far."""
        written = self._primary.sql("SELECT pg_current_wal_lsn()")
        return self.sql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t"

    def _initdb(self, guard: GuardProcess) -> None:
        """Copy the primary instead, and have it followed."""
        log = "pg_basebackup.log"
        options = ("--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--dbname", self._primary.socket_dsn)
        pid = guard.run(log, self.bin_directory / "pg_basebackup", *options, "-D", self.data_directory)
        code = guard.wait(pid, COPY_SECONDS)
        if code != 0:
            raise ServerFailed(f"pg_basebackup failed, exit code {code}{tail_of(guard.log(log))}")
