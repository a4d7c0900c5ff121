"""A web server in a process of its own, as users start it, and clients of its event streams."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, TracebackType

from pgnotify.testing.address import Address
from tests.helpers.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(path: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str((EXAMPLES / path).parent))  # as --app-dir does
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.path[0]
    return module


def libpq_variables(address: Address) -> dict[str, str]:
    """Return the environment that leads libpq, and so every driver that pgnotify opens, to a server."""
    return {
        "PGHOST": address.host,
        "PGPORT": str(address.port),
        "PGDATABASE": address.database,
        "PGUSER": address.user,
        "PGPASSWORD": address.password or "",
    }


class WebServer:
    """uvicorn with an application of the examples; a context manager. It accepts requests as soon as it is made.

    Args:
        app: its module in examples/web, and its name, such as ``"with_starlette:app"``.
        address: of the database.
        port: to listen to; 0 for any free one.
    """

    def __init__(self, app: str, address: Address, port: int = 0) -> None:
        command = [sys.executable, "-m", "uvicorn", "--no-access-log", f"--app-dir={EXAMPLES / 'web'}"]
        self._process = subprocess.Popen(
            [*command, f"--port={port}", app],
            env=os.environ | libpq_variables(address),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = self._port_in_log()
        self.url = f"http://127.0.0.1:{self.port}"

    def terminate(self) -> str:
        """Send SIGTERM, and wait for the end. Return the log since the start; fail if the end does not come."""
        self._process.terminate()
        return self._process.communicate(timeout=PATIENCE)[1]

    def __enter__(self) -> WebServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def _port_in_log(self) -> int:
        assert self._process.stderr is not None
        log = ""
        for line in self._process.stderr:
            log += line
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                return int(found[1])
        self._process.communicate()
        raise AssertionError(f"the server has ended at once:\n{log}")


class EventStream:
    """A client that reads server-sent events, and does not connect again. `open` makes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = ""

    @classmethod
    async def open(cls, port: int, path: str) -> EventStream:
        """Send a request, and return when the response has begun."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return cls(reader, writer)

    async def take(self) -> str | None:
        """Return the next event, as it was sent; None when the response has ended as it should."""
        while "\n\n" not in self._received:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            self._received += (await self._reader.readexactly(size)).decode()
            await self._reader.readexactly(2)
            if not size:
                self._writer.close()
                return None
        event, _, self._received = self._received.partition("\n\n")
        return event

    def abort(self) -> None:
        """End the connection during the response."""
        self._writer.transport.abort()
