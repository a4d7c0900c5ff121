"""What is between a client and its server: a proxy, or a server that is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pgnotify.testing._proxy import Proxy
from pgnotify.testing.address import Address
from tests.helpers.waiting import eventually


def through(proxy: Proxy, address: Address) -> Address:
    """Return the address by way of a proxy."""
    return address._replace(host=proxy.host, port=proxy.port)


def until_arrived(proxy: Proxy, channel: str, count: int) -> None:
    """Return when so many notifications have gone through the proxy since `Proxy.record`.

    Their sender's commit says nothing of that: a session that is ended first does not send them any more.
    """
    eventually(lambda: proxy._links[-1].down.recorded.count(channel.encode()) == count, "all is sent")


@contextmanager
def silent_server() -> Iterator[int]:
    """Give the port of a server that accepts, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        yield listening_socket.getsockname()[1]


@contextmanager
def refused() -> Iterator[int]:
    """Give a port that nobody listens on, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
