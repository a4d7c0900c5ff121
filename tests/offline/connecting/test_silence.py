"""A peer that sends is not silent, on sockets whose bytes the system counts and on others."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from pgnotify.connecting import silence
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.errors import Unanswered
from tests.helpers.threads import Running
from tests.helpers.waiting import PATIENCE, eventually

SILENCE = 0.2
LONG_SILENCE = 1.0  # a peer that sends is not this silent even on a busy machine


@pytest.fixture(params=["tcp", "unix", "tcp that is not counted"])
def pair(request, monkeypatch):
    """Our end of a connection, and the peer's."""
    if request.param == "tcp that is not counted":
        monkeypatch.setattr(silence, "_bytes_received", lambda peer: None)
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            ours = socket.create_connection(listening.getsockname())
            theirs = listening.accept()[0]
    with ours, theirs:
        ours.settimeout(PATIENCE)
        yield ours, theirs


@contextmanager
def sending(peer, data, each_seconds):
    """Have the peer send this again and again."""
    over = threading.Event()

    def send():
        while not over.wait(each_seconds):
            try:
                peer.sendall(data)
            except OSError:  # the connection was shut down
                return

    sender = Running(send)
    try:
        yield
    finally:
        over.set()
        sender.ended()


def read_for(ours, seconds):
    """Read as a driver does while it waits for an answer; raise if the connection ends."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if not ours.recv(65536):
            raise ConnectionError("the end")


def test_what_arrives_before_the_answer_is_a_sign_of_life(pair):
    ours, theirs = pair

    with sending(theirs, b"x" * 10_000, 0.005), SocketHandle(ours.fileno()) as handle, handle.silence(LONG_SILENCE):
        read_for(ours, LONG_SILENCE * 1.5)

    assert not handle.was_shut_down


def test_silence_ends_the_call(pair):
    ours, _ = pair
    began = time.monotonic()

    with SocketHandle(ours.fileno()) as handle:
        with pytest.raises(Unanswered, match=r"no answer within 0\.2 s") as caught, handle.silence(SILENCE):
            read_for(ours, PATIENCE)
        assert handle.was_shut_down

    assert SILENCE <= time.monotonic() - began < PATIENCE
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_silence_after_a_flow_ends_the_call(pair):
    ours, theirs = pair
    theirs.sendall(b"x" * 10_000)

    with SocketHandle(ours.fileno()) as handle, pytest.raises(Unanswered), handle.silence(SILENCE):
        read_for(ours, PATIENCE)


def test_a_peer_that_only_drips_is_silent(pair, monkeypatch):
    ours, theirs = pair
    # A byte can be seen where none is counted, so there only the longest answer ends it.
    monkeypatch.setattr(silence, "LONGEST_ANSWER", 5)

    with (
        sending(theirs, b"x", 0.02),
        SocketHandle(ours.fileno()) as handle,
        pytest.raises(Unanswered),
        handle.silence(SILENCE),
    ):
        read_for(ours, PATIENCE)


def test_a_flow_without_an_answer_does_not_last_for_ever(pair, monkeypatch):
    ours, theirs = pair
    monkeypatch.setattr(silence, "LONGEST_ANSWER", 3)

    with (
        sending(theirs, b"x" * 10_000, 0.005),
        SocketHandle(ours.fileno()) as handle,
        pytest.raises(Unanswered),
        handle.silence(SILENCE),
    ):
        read_for(ours, PATIENCE)


def test_bytes_that_the_driver_has_not_read_yet_are_not_the_peers_silence(pair):
    ours, theirs = pair
    theirs.sendall(b"x")

    with SocketHandle(ours.fileno()) as handle, handle.silence(SILENCE):
        threading.Event().wait(SILENCE * 3)  # the driver has no time

    assert not handle.was_shut_down


def test_the_end_of_a_connection_is_no_sign_of_life(pair):
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)

    with SocketHandle(ours.fileno()) as handle, pytest.raises(Unanswered), handle.silence(SILENCE):
        eventually(lambda: handle.was_shut_down)  # a driver that does not notice


def test_an_answer_in_time_changes_nothing(pair):
    ours, theirs = pair

    with SocketHandle(ours.fileno()) as handle, handle.silence(PATIENCE):
        theirs.send(b"x")
        assert ours.recv(1) == b"x"

    assert not handle.was_shut_down


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_the_silence_may_have_any_length(pair, seconds):
    with SocketHandle(pair[0].fileno()) as handle, handle.silence(seconds):
        pass

    assert not handle.was_shut_down


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="not applicable: the system does not count")
def test_bytes_are_counted_whoever_reads_them():
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as ours:
        theirs = listening.accept()[0]
        with theirs:
            theirs.sendall(b"x" * 12_345)
            eventually(lambda: silence._bytes_received(ours) == 12_345)
            assert len(ours.recv(10_000)) == 10_000
            assert silence._bytes_received(ours) == 12_345
