"""A PostgreSQL client of a hundred lines, so that tests can send and inspect without any driver.

It speaks only the simple query protocol. It logs in with SCRAM-SHA-256, or without a password, and sends a password
in no other way. It depends neither on the code under test nor on an installed driver.
"""

from __future__ import annotations

import abc
import socket
import struct
import time
from collections.abc import Iterable
from typing import Any

from pgnotify.testing._scram import MECHANISM, ScramClient, ScramError

_CONNECT_SECONDS = 20
_TERMINATE_SECONDS = 20


class SQLError(Exception):
    """The server refused a statement; ``sqlstate`` is the reason."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class SqlSession(abc.ABC):
    """A session that sends, inspects and terminates with statements; subclasses decide how these are run."""

    @abc.abstractmethod
    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""

    def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification."""
        self.sql(f"SELECT pg_catalog.pg_notify({literal(channel)}, {literal(payload)})")

    def notify_all(self, channel: str, payloads: Iterable[str]) -> None:
        """Send notifications in one transaction."""
        array = f"ARRAY[{','.join(map(literal, payloads))}]::pg_catalog.text[]"
        self.sql(
            f"SELECT pg_catalog.count(pg_catalog.pg_notify({literal(channel)}, payload)) "
            f"FROM pg_catalog.unnest({array}) AS payload"
        )

    def terminate(self, pid: int) -> None:
        """End another session, and return when the server no longer has one with this pid."""
        self.sql(f"SELECT pg_catalog.pg_terminate_backend({pid})")  # with a timeout it would check only every 100 ms
        deadline = time.monotonic() + _TERMINATE_SECONDS
        while self.sql(f"SELECT 1 FROM {_session(pid)}"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server did not end session {pid} within {_TERMINATE_SECONDS} seconds")

    def state_of(self, pid: int) -> str | None:
        """Return the state of another session: "idle", "idle in transaction", …; None if it has ended."""
        rows = self.sql(f"SELECT state FROM {_session(pid)}")
        return str(rows[0][0]) if rows else None


class Session(SqlSession):
    """A session on a server, over its own socket; a context manager.

    The arguments are the fields of an `Address`: `Session(*address)`.

    Args:
        host: a name, an address, or the directory of a Unix socket.
        port: the port, also for a socket.
        database: the database to connect to.
        user: the role to connect as.
        password: used only if the server asks for SCRAM-SHA-256.

    Raises:
        SQLError: the server refuses, or wants the password in another way.
    """

    def __init__(
        self,
        host: str,
        port: int,
        database: str = "postgres",
        user: str = "postgres",
        password: str | None = None,
    ) -> None:
        self._socket = _connected(host, port)
        self._stream = self._socket.makefile("rb")
        self._notified: list[tuple[str, str]] = []
        self._password = password
        self._login: ScramClient | None = None
        try:
            self._log_in(database, user)
            self.pid = int(self.sql("SELECT pg_catalog.pg_backend_pid()")[0][0] or 0)
        except BaseException:
            self.close()
            raise

    def sql(self, statement: str) -> list[tuple[str | None, ...]]:
        """Run one statement or several; return the rows of all of them, as text."""
        self._send(b"Q", statement.encode() + b"\0")
        return self._rows_until_ready()

    def listen(self, *channels: str) -> None:
        """Listen to channels; see `received`."""
        for channel in channels:
            self.sql('LISTEN "{}"'.format(channel.replace('"', '""')))

    def received(self) -> list[tuple[str, str]]:
        """Return the (channel, payload) of notifications sent before this call; each is returned once."""
        self.sql("SELECT 1")  # notifications sent so far arrive before the answer to this
        received, self._notified = self._notified, []
        return received

    def end(self) -> None:
        """End the session, and return when the server no longer has it."""
        self._send(b"X", b"")
        self._stream.read()  # the server closes the socket last
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _log_in(self, database: str, user: str) -> None:
        parameters = f"user\0{user}\0database\0{database}\0application_name\0wire\0client_encoding\0UTF8\0\0".encode()
        self._socket.sendall(struct.pack("!ii", len(parameters) + 8, 196608) + parameters)
        try:
            self._rows_until_ready()
        except ScramError as error:
            raise SQLError(str(error)) from error

    def _authenticate(self, body: bytes) -> None:
        """Answer one authentication request (protocol: AuthenticationOk, …SASL, …SASLContinue, …SASLFinal)."""
        (request,), text = struct.unpack_from("!i", body), body[4:]
        login = self._login
        if request == 10 and login is None and MECHANISM.encode() in text.split(b"\0"):
            self._begin_scram()
        elif request == 11 and login is not None:
            self._send(b"p", login.final(text))
        elif request == 12 and login is not None:
            login.verify(text)
        elif request != 0:
            raise SQLError(f"the server asks for a password, but not with {MECHANISM}")
        elif login is not None and not login.verified:
            raise ScramError("the server does not prove that it knows the password")

    def _begin_scram(self) -> None:
        if self._password is None:
            raise SQLError("the server asks for a password")
        self._login = ScramClient(self._password)
        first = self._login.first()
        self._send(b"p", MECHANISM.encode() + b"\0" + struct.pack("!i", len(first)) + first)

    def _send(self, code: bytes, body: bytes) -> None:
        self._socket.sendall(code + struct.pack("!i", len(body) + 4) + body)

    def _rows_until_ready(self) -> list[tuple[str | None, ...]]:
        rows: list[tuple[str | None, ...]] = []
        error: SQLError | None = None
        while True:
            code, body = self._message()
            if code == b"D":
                rows.append(_row(body))
            elif code == b"A":
                channel, payload = body[4:-1].split(b"\0")
                self._notified.append((channel.decode(), payload.decode()))
            elif code == b"E":
                fields = _fields(body)
                error = SQLError(fields.get("M", "?"), fields.get("C", ""))
            elif code == b"R":
                self._authenticate(body)
            if code == b"Z" or (code == b"E" and error is not None and error.sqlstate.startswith(("57P", "28", "3D"))):
                break
        if error is not None:
            raise error
        return rows

    def _message(self) -> tuple[bytes, bytes]:
        head = self._stream.read(5)
        if len(head) < 5:
            raise ConnectionError("the server has closed the connection")
        return head[:1], self._stream.read(struct.unpack("!i", head[1:])[0] - 4)


def _session(pid: int) -> str:
    return f"pg_catalog.pg_stat_activity WHERE pid OPERATOR(pg_catalog.=) {pid}"


def _connected(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(_CONNECT_SECONDS)
        connected.connect(f"{host}/.s.PGSQL.{port}")
    except BaseException:
        connected.close()
        raise
    return connected


def literal(text: str) -> str:
    """Return a string constant without any character that has a meaning to the server, or to a driver on the way."""
    return f"E'{text}'" if text.isalnum() else "E'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    plain = character.isalnum() or ord(character) > 127
    return character if plain else f"\\x{ord(character):02x}"


def _row(body: bytes) -> tuple[str | None, ...]:
    position, values = 2, []
    for _ in range(struct.unpack_from("!h", body)[0]):
        (size,) = struct.unpack_from("!i", body, position)
        position += 4
        values.append(None if size < 0 else body[position : position + size].decode(errors="surrogateescape"))
        position += max(size, 0)
    return tuple(values)


def _fields(body: bytes) -> dict[str, str]:
    return {chr(part[0]): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
