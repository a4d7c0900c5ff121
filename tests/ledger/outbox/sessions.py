"""The sessions that store messages: with SQL alone, and with the outbox's functions."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import pgnotify
from pgnotify.testing._wire import Session, literal
from pgnotify.testing.address import Address

T = TypeVar("T")


class Stored(NamedTuple):
    """One message of a transaction."""

    number: int
    channel: str
    payload: str


class SendingSession(ABC):
    """A session that stores messages in transactions."""

    is_connected = False

    @abstractmethod
    def connect(self) -> None:
        """Connect."""

    @abstractmethod
    def hang_up(self) -> None:
        """Disconnect. A second call does nothing."""

    def end(self) -> None:
        """Disconnect for good."""
        self.hang_up()

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def store(self, messages: Sequence[Stored], rng: random.Random) -> None:
        """Store some messages."""

    @abstractmethod
    def run(self, statement: str) -> None:
        """Run a statement."""

    @abstractmethod
    def commit(self) -> None:
        """Commit the transaction."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll it back."""


class Inserting(SendingSession):
    """One that knows nothing of pgnotify: it inserts rows."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def connect(self) -> None:
        self._session = Session(*self._address)
        self.is_connected = True

    def hang_up(self) -> None:
        if self.is_connected:
            self.is_connected = False
            self._session.close()

    def begin(self) -> None:
        self.run("BEGIN")

    def store(self, messages: Sequence[Stored], rng: random.Random) -> None:
        values = ", ".join(f"({literal(channel)}, '{payload}')" for _, channel, payload in messages)
        self.run(f"INSERT INTO public.pgnotify_outbox (channel, payload) VALUES {values}")

    def run(self, statement: str) -> None:
        self._session.sql(statement)

    def commit(self) -> None:
        self.run("COMMIT")

    def rollback(self) -> None:
        self.run("ROLLBACK")


class Notifying(SendingSession):
    """One that calls the outbox, with a driver's connection."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._outbox = pgnotify.Outbox()

    def connect(self) -> None:
        self._connection = self._connect()
        self.is_connected = True

    def hang_up(self) -> None:
        if self.is_connected:
            self.is_connected = False
            with suppress(Exception):  # of whichever driver: it is lost
                self._connection.close()

    def begin(self) -> None:
        """Do nothing: the first statement does."""

    def store(self, messages: Sequence[Stored], rng: random.Random) -> None:
        if rng.random() < 0.5:
            self._outbox.notify_many(self._connection, [(channel, payload) for _, channel, payload in messages])
        else:
            for _, channel, payload in messages:
                self._outbox.notify(self._connection, channel, payload)

    def run(self, statement: str) -> None:
        self._connection.cursor().execute(statement)

    def commit(self) -> None:
        self._connection.commit()

    def rollback(self) -> None:
        self._connection.rollback()


class NotifyingAsync(SendingSession):
    """One that awaits the outbox, with a driver's asynchronous connection, on an event loop of its own."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._connect = connect
        self._outbox = pgnotify.Outbox()
        self._loop = asyncio.new_event_loop()

    def connect(self) -> None:
        self._connection = self._await(self._connect())
        self._has_commit = hasattr(self._connection, "commit")
        self.is_connected = True

    def hang_up(self) -> None:
        if self.is_connected:
            self.is_connected = False
            with suppress(Exception):  # of whichever driver: it is lost
                self._await(asyncio.wait_for(self._connection.close(), 1.0))

    def end(self) -> None:
        super().end()
        self._loop.close()

    def begin(self) -> None:
        if not self._has_commit:
            self.run("BEGIN")

    def store(self, messages: Sequence[Stored], rng: random.Random) -> None:
        if rng.random() < 0.5:
            pairs = [(channel, payload) for _, channel, payload in messages]
            self._await(self._outbox.notify_many_async(self._connection, pairs))
        else:
            for _, channel, payload in messages:
                self._await(self._outbox.notify_async(self._connection, channel, payload))

    def run(self, statement: str) -> None:
        self._await(self._connection.execute(statement))

    def commit(self) -> None:
        if self._has_commit:
            self._await(self._connection.commit())
        else:
            self.run("COMMIT")

    def rollback(self) -> None:
        if self._has_commit:
            self._await(self._connection.rollback())
        else:
            self.run("ROLLBACK")

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)
