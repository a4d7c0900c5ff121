"""A blocking listener with an outbox under test, in one of the ways to use one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from pgnotify.listener.gap import Listening
from tests.ledger.listeners import BlockingParticipant
from tests.ledger.outbox.effects import insertion
from tests.ledger.outbox.participant import BATCH, Storing


class StoringListener(Storing, BlockingParticipant):
    """A `Listener` with an outbox."""

    WAYS: ClassVar = {
        "outbox iterate": "iterate",
        "outbox alone": "alone",
        "outbox run": "run",
        "outbox workers": "workers",
        "outbox streams": "streams",
        "outbox durable": "iterate",
        "outbox durable alone": "alone",
        "outbox durable run": "run",
        "outbox durable workers": "workers",
        "outbox durable streams": "streams",
        "outbox batches": "batches",
    }
    MODES = tuple(WAYS)
    """Alone: an iteration in whose thread it reads, too."""
    OWN = (*BlockingParticipant.OWN, "alone")

    _connection: Any = None

    def stop(self) -> bool:
        """End it, in another thread than its own; return whether it has ended. A second call does nothing."""
        has_ended = super().stop()
        self._hang_up()
        return has_ended

    def _on_listening(self, event: Listening) -> None:
        self._count(event)
        super()._on_listening(event)

    def _read_all(self, items: Any) -> None:
        if self.way != "batches":
            super()._read_all(items)
            return
        for batch in self.listener.batches(BATCH):
            self._process(batch)

    def _process(self, batch: Any) -> None:
        """Do the work for a batch, exactly once: if this fails, the next batch begins with the same messages."""
        try:
            if self._connection is None:
                self._connection = self.setting.connect()
            self._connection.cursor().execute(insertion(self.mode, batch))
            batch.acknowledge(self._connection)
            self._connection.commit()
        except Exception:  # of whichever driver, and Superseded
            self._hang_up()
            return
        except BaseException:
            self._hang_up()
            raise
        for message in batch:
            self._receive(message)

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):  # of whichever driver: it is lost
                connection.close()
