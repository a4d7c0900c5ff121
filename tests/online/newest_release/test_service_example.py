"""The service of docs/how-to/deploy.md, as systemd and Kubernetes treat it: its signals, its words, its probes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing._wire import Session
from tests.helpers.waiting import PATIENCE, eventually
from tests.kinds import Address

SERVICE = Path(__file__).parents[3] / "examples" / "service.py"


class Service(subprocess.Popen[str]):
    """The service as a process, with a socket in systemd's place."""

    def __init__(self, address: Address, directory: Path) -> None:
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(directory / "notify"))
        self.systemd.settimeout(PATIENCE)
        environment = os.environ | {"NOTIFY_SOCKET": str(directory / "notify"), "PGPASSWORD": address.password or ""}
        command = [sys.executable, str(SERVICE), address._replace(password=None).dsn]
        super().__init__(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = self.line().removeprefix("probes at port ")

    def line(self) -> str:
        """Return the next line of its output."""
        assert self.stdout is not None
        return self.stdout.readline().removesuffix("\n")

    def until_told(self, words: str) -> None:
        """Read what systemd is told until these words are in it."""
        while words not in self.systemd.recv(1000).decode():
            pass

    def answer(self, path: str) -> int:
        """Return the status of a probe."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def ends_after(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; return the exit code, and what it has still written to its output and its errors."""
        self.send_signal(number)
        self.send_signal(signal.SIGCONT)
        out, err = self.communicate(timeout=PATIENCE)
        return self.returncode, out, err


@contextmanager
def started(address: Address, directory: Path) -> Iterator[Service]:
    with Service(address, directory) as service, service.systemd:
        try:
            yield service
        finally:
            service.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_is_ready_works_and_ends_at_a_signal(address: Address, session: Session, tmp_path: Path, number):
    with started(address, tmp_path) as service:
        service.until_told("STATUS=listening\nREADY=1")
        assert (service.answer("/ready"), service.answer("/alive")) == (200, 200)

        session.notify("orders", "1")
        assert service.line() == "order 1"
        service.send_signal(signal.SIGSTOP)  # so that these are unread when the signal comes
        session.notify_all("orders", map(str, range(2, 12)))
        code, out, _ = service.ends_after(number)

        assert code == 0
        assert out.splitlines() == [f"order {number}" for number in range(2, 12)]
        service.until_told("STOPPING=1")


def test_it_is_alive_and_not_ready_while_the_server_is_away(tmp_path: Path):
    with TemporaryPostgreSQL() as server:
        address = server.address
        server.stop()
        with started(address, tmp_path) as service:
            service.until_told("WATCHDOG=1")
            assert (service.answer("/ready"), service.answer("/alive")) == (503, 200)

            server.start()
            service.until_told("READY=1")

            eventually(lambda: service.answer("/ready") == 200)
            server.stop()
            eventually(lambda: service.answer("/ready") == 503)
            assert service.answer("/alive") == 200
            assert service.ends_after(signal.SIGTERM)[0] == 0


def test_a_missing_database_ends_it_with_a_code_at_which_systemd_starts_it_again(address: Address, tmp_path: Path):
    with started(address._replace(database="missing"), tmp_path) as service:
        _, err = service.communicate(timeout=PATIENCE)

        assert service.returncode == 1
        assert 'database "missing" does not exist' in err
