"""Readers in processes of their own, which are killed, and others that go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, ClassVar

from tests.ledger.books import Book, Delivered
from tests.ledger.outbox.participant import Storing
from tests.ledger.participant import PATIENCE_SECONDS, Setting


class ReaderProcess(Storing):
    """A process that prints what it gets, and another one after it was killed; or two with one name at a time."""

    MODES = ("outbox process", "outbox stand-by", "async outbox process", "async outbox stand-by")
    WAYS: ClassVar = {mode: "async iterate" if mode.startswith("async") else "iterate" for mode in MODES}
    STREAMS = ""

    def __init__(self, mode: str, setting: Setting, in_main: bool = False) -> None:
        super().__init__(mode, setting, in_main)
        self._is_stopping = False
        self._children: list[subprocess.Popen[bytes]] = []
        self._active: subprocess.Popen[bytes] | None = None
        """The one that has printed last."""
        self._lives: list[list[Delivered]] = []

    def use(self) -> None:
        """Read what they print, and start another one at the end of each."""
        others = [threading.Thread(target=self._use_one, daemon=True) for _ in range("stand-by" in self.mode)]
        for other in others:
            other.start()
        self._use_one()
        for other in others:
            other.join()

    def _use_one(self) -> None:
        try:
            while not self._is_stopping:
                self._live()
        except BaseException as error:
            self.errors.append(error)

    def _live(self) -> None:
        """Read what a process prints until its end."""
        setting = self.setting
        entries: list[Delivered] = []
        self._lives.append(entries)
        command = [sys.executable, "-m", "tests.ledger.outbox.reader", self.mode, setting.source, setting.driver or ""]
        with subprocess.Popen([*command, *setting.channels], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            self._children.append(child)
            if self._is_stopping:
                child.kill()
            assert child.stdout is not None
            for line in child.stdout:
                self._read(line.split(), child, entries)
        self._children.remove(child)
        if child.returncode > 0:
            self.errors.append(AssertionError(f"the reader has ended with {child.returncode}"))
            self._is_stopping = True

    def _read(self, words: Sequence[bytes], child: subprocess.Popen[bytes], entries: list[Delivered]) -> None:
        if words[0] == b"listening":
            self.times_listened += 1
            self.listens = True
            return
        number, channel, length, expected = map(int, words)
        entry = Delivered(number, self.setting.channels[channel], time.time())
        entries.append(entry)
        self.books[0].entries.append(entry)
        self._active = child
        if length != expected:
            self.errors.append(AssertionError(f"{number} has {length} of {expected} bytes"))
        self.may_go_on.wait()

    def kill(self) -> None:
        """Kill the process that reads, with signal 9."""
        if self._active is not None:
            self._active.kill()

    @property
    def judged(self) -> list[Book]:
        """One, with all lives one after the other; what was read of a killed one may have been read late."""
        ends = list(accumulate(map(len, self._lives)))
        return [Book(self.setting.channels, [entry for life in self._lives for entry in life], ends[:-1])]

    def stop(self) -> bool:
        """End it; return whether it has ended. A second call does nothing."""
        self.may_go_on.set()
        self._is_stopping = True
        for child in list(self._children):
            child.kill()
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)
        return self._thread is None or not self._thread.is_alive()

    def status(self) -> Any:
        """Return what a trial reads of it."""
        return SimpleNamespace(queued=0, dropped=0, reconnects=self.reconnects)

    @property
    def may_lose_its_loop(self) -> bool:
        """False: its loops are out of reach."""
        return False

    @property
    def reconnects(self) -> int:
        """How many times it has come back, another process included."""
        return max(0, self.times_listened - 1)

    @property
    def setting_read(self) -> float:  # type: ignore[override]
        """The setting of the wall clock: it reads the machine's."""
        return self.setting.clock.set_by

    @setting_read.setter
    def setting_read(self, set_by: float) -> None:
        """Do nothing."""

    @property
    def _queues(self) -> tuple[Sequence[object], list[Any]]:
        return (), []
