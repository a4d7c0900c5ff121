"""Shutting down a connection from outside, on sockets without a server."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
import traceback
from contextlib import suppress

import pytest

from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.connecting.watchdog import watchdog
from pgnotify.errors import ConnectionLost, Unanswered
from tests.helpers.interrupting import AVAILABLE, Interruption
from tests.helpers.threads import Background, is_in
from tests.helpers.waiting import PATIENCE, eventually

KEEP_ALIVE = {
    "SO_KEEPALIVE": socket.SOL_SOCKET,
    "TCP_KEEPIDLE": socket.IPPROTO_TCP,
    "TCP_KEEPINTVL": socket.IPPROTO_TCP,
    "TCP_KEEPCNT": socket.IPPROTO_TCP,
    "TCP_USER_TIMEOUT": socket.IPPROTO_TCP,
}


@pytest.fixture
def pair():
    """A connected pair of Unix sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def tcp(server):
    """The client's end of a TCP connection."""
    with socket.create_connection(server.getsockname()) as client:
        yield client


@pytest.fixture
def peer(tcp, server):
    """The server's end of it."""
    with server.accept()[0] as accepted:
        yield accepted


@pytest.fixture
def socket_handle(pair):
    with SocketHandle(pair[0].fileno()) as made:
        yield made


def is_watched(socket_handle):
    """Return whether the watchdog still looks at a call on this connection."""
    return any(watch._bite.__self__ is socket_handle for watch in watchdog._watches)


def reads_nothing(plug, error=None):
    """Block until the connection ends, and then raise the error if one is given."""
    assert plug.recv(1) == b""
    if error is not None:
        raise error


def shut_down_elsewhere(socket_handle, error):
    """Have another thread shut down the connection, and then raise an error."""
    Background(socket_handle.shut_down).ended()
    raise error


# Shutting down.


def test_a_call_that_is_blocked_in_another_thread_ends_at_once(pair, socket_handle):
    reading = Background(reads_nothing, pair[0])
    eventually(lambda: is_in(reading, "reads_nothing"))

    socket_handle.shut_down()

    reading.ended()
    assert socket_handle.was_shut_down


def test_later_calls_fail_and_the_peer_sees_the_end(pair, socket_handle):
    ours, theirs = pair

    socket_handle.shut_down()

    with pytest.raises(BrokenPipeError):
        ours.send(b"x")
    assert theirs.recv(1) == b""


def test_a_connection_that_was_left_alone_was_not_shut_down(pair, socket_handle):
    pair[1].send(b"x")

    assert pair[0].recv(1) == b"x"
    assert not socket_handle.was_shut_down


def test_it_may_be_shut_down_twice(socket_handle):
    socket_handle.shut_down()
    socket_handle.shut_down()

    assert socket_handle.was_shut_down


def test_it_may_be_shut_down_when_the_peer_has_reset_it(tcp, peer):
    with SocketHandle(tcp.fileno()) as socket_handle:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionResetError):
            tcp.recv(1)

        socket_handle.shut_down()

        assert socket_handle.was_shut_down


def test_it_is_shut_down_though_the_driver_has_closed_its_own_descriptor(pair, socket_handle):
    pair[0].close()

    socket_handle.shut_down()

    assert pair[1].recv(1) == b""


def test_shutting_down_after_closing_leaves_the_new_owner_of_the_number_alone(pair):
    socket_handle = SocketHandle(pair[0].fileno())
    socket_handle.close()
    others = [socket.socketpair() for _ in range(3)]  # one of them has the number now

    socket_handle.shut_down()

    assert not socket_handle.was_shut_down
    for one, other in others:
        with one, other:
            one.send(b"x")
            assert other.recv(1) == b"x"


def test_another_connection_that_has_the_drivers_old_number_is_not_shut_down(pair):
    socket_handle = SocketHandle(pair[0].fileno())
    pair[0].close()
    other = socket.socketpair()  # has the number now

    socket_handle.shut_down()
    socket_handle.close()

    with other[0], other[1]:
        other[0].send(b"x")
        assert other[1].recv(1) == b"x"


def test_it_may_be_closed_twice_and_the_connection_stays(pair, socket_handle):
    socket_handle.close()
    socket_handle.close()

    pair[1].send(b"x")
    assert pair[0].recv(1) == b"x"


def test_a_signal_handler_during_the_shutdown_waits_for_nothing(pair):
    socket_handle = SocketHandle(pair[0].fileno())
    returned_in_handler = []

    def interrupt(*_, **__):
        returned_in_handler.append(socket_handle.shut_down())
        returned_in_handler.append(socket_handle.close())

    socket_handle._socket = InterruptedShutdown(socket_handle._socket, interrupt)
    socket_handle.shut_down()

    assert returned_in_handler == [None, None]
    assert socket_handle.was_shut_down
    assert pair[1].recv(1) == b""


class InterruptedShutdown:
    """A socket whose shutdown() is interrupted by a signal and then made again."""

    def __init__(self, plug, interrupt):
        self._plug, self._interrupt = plug, interrupt

    def shutdown(self, how):
        self._plug.shutdown(how)
        self._interrupt()
        self._plug.shutdown(how)  # fails, as the socket is shut down already

    def __getattr__(self, name):
        return getattr(self._plug, name)


def test_shutting_down_does_not_wait_for_another_thread_that_is_closing(pair):
    socket_handle = SocketHandle(pair[0].fileno())
    held, release = threading.Event(), threading.Event()

    def hold():
        with socket_handle._lock:
            held.set()
            release.wait(PATIENCE)

    holding = Background(hold)
    held.wait(PATIENCE)
    Background(socket_handle.shut_down).ended()  # would time out if it waited
    release.set()
    holding.ended()
    socket_handle.close()


def test_a_closed_descriptor_is_refused_and_none_is_left_open(pair):
    number = pair[0].fileno()
    pair[0].close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        SocketHandle(number)


def test_a_file_that_is_not_a_socket_is_refused_and_no_descriptor_is_left_open():
    with open(os.devnull) as file:
        before = len(os.listdir("/dev/fd"))
        with pytest.raises(OSError, match="non-socket"):
            SocketHandle(file.fileno())

        assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("blocking", [True, False])
def test_the_drivers_socket_stays_blocking_or_not_whatever_the_default_time_out_is(pair, blocking):
    pair[0].setblocking(blocking)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5)
    try:
        with SocketHandle(pair[0].fileno()):
            assert os.get_blocking(pair[0].fileno()) is blocking
    finally:
        socket.setdefaulttimeout(before)


# A deadline.


def test_a_body_that_is_in_time_changes_nothing(pair, socket_handle):
    with socket_handle.deadline(PATIENCE):
        pair[1].send(b"x")
        assert pair[0].recv(1) == b"x"

    assert not socket_handle.was_shut_down
    assert not is_watched(socket_handle)


def test_a_body_that_takes_longer_is_ended_and_unanswered(pair, socket_handle):
    began = time.monotonic()

    with pytest.raises(Unanswered, match=r"^no answer within 0\.05 s$") as caught, socket_handle.deadline(0.05):
        reads_nothing(pair[0], OSError("the driver's own"))

    assert 0.05 <= time.monotonic() - began < PATIENCE
    assert repr(caught.value.__cause__) == repr(OSError("the driver's own"))
    assert socket_handle.was_shut_down
    assert not is_watched(socket_handle)


def test_a_body_that_returns_too_late_is_unanswered_too(pair, socket_handle):
    with pytest.raises(Unanswered) as caught, socket_handle.deadline(0.05):
        reads_nothing(pair[0])

    assert caught.value.__cause__ is None


def test_the_cause_is_the_drivers_error_even_if_a_backend_has_wrapped_it(pair, socket_handle):
    wrapped = ConnectionLost("lost")
    wrapped.__cause__ = OSError("the driver's own")

    with pytest.raises(Unanswered) as caught, socket_handle.deadline(0.05):
        reads_nothing(pair[0], wrapped)

    assert caught.value.__cause__ is wrapped.__cause__


def test_an_error_of_a_body_that_is_in_time_passes(socket_handle):
    with pytest.raises(LookupError, match="its own"), socket_handle.deadline(PATIENCE):
        raise LookupError("its own")

    assert not socket_handle.was_shut_down
    assert not is_watched(socket_handle)


def test_without_a_limit_there_is_no_watch(socket_handle):
    with socket_handle.deadline(None):
        assert not is_watched(socket_handle)


@pytest.mark.parametrize("seconds", [float("inf"), 1e300])
def test_a_limit_may_have_any_length(socket_handle, seconds):
    with socket_handle.deadline(seconds):
        pass

    assert not socket_handle.was_shut_down


def test_a_call_that_somebody_else_shuts_down_gets_the_drivers_error(pair, socket_handle):
    with pytest.raises(OSError, match="the driver's own"), socket_handle.deadline(PATIENCE):
        shut_down_elsewhere(socket_handle, OSError("the driver's own"))

    assert socket_handle.was_shut_down


def test_a_limit_that_passes_after_somebody_else_has_shut_down_is_not_the_reason(socket_handle):
    def body():
        socket_handle.shut_down()
        eventually(lambda: not is_watched(socket_handle))
        raise OSError("the driver's own")

    with pytest.raises(OSError, match="the driver's own"), socket_handle.deadline(0.05):
        body()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_whether_in_time_or_not(pair, socket_handle, error):
    with pytest.raises(error), socket_handle.deadline(0.05):
        reads_nothing(pair[0], error())

    assert not is_watched(socket_handle)


def test_a_ctrl_c_in_the_body_leaves_no_watch(pair, socket_handle):
    def body():
        Background(signal.pthread_kill, threading.main_thread().ident, signal.SIGINT)
        pair[0].recv(1)

    with pytest.raises(KeyboardInterrupt), socket_handle.deadline(PATIENCE):
        body()

    assert not socket_handle.was_shut_down
    assert not is_watched(socket_handle)


# Keepalive.


def options(plug):
    return {name: plug.getsockopt(level, getattr(socket, name)) for name, level in KEEP_ALIVE.items()}


def kept_alive(plug, idle=10, interval=2, count=3, user_timeout=15):
    with SocketHandle(plug.fileno()) as socket_handle:
        socket_handle.keep_alive(idle, interval, count, user_timeout)
    return options(plug)


linux_only = pytest.mark.skipif(
    not all(hasattr(socket, name) for name in KEEP_ALIVE),
    reason="not applicable: the system does not have all options",
)


@linux_only
def test_a_fresh_tcp_connection_gets_all_options(tcp):
    assert kept_alive(tcp) == {
        "SO_KEEPALIVE": 1,
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPINTVL": 2,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": 15_000,
    }


@linux_only
@pytest.mark.parametrize("name", ["TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"])
def test_an_option_that_is_already_set_stays(tcp, name):
    tcp.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), 77)
    others = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}

    assert kept_alive(tcp) == {**others, name: 77}


@linux_only
@pytest.mark.parametrize(("given", "taken"), [(0.01, 1), (1, 1), (1.2, 2), (1e9, 32767)])
def test_times_are_rounded_up_to_whole_seconds(tcp, given, taken):
    found = kept_alive(tcp, idle=given, interval=given, user_timeout=given)

    assert (found["TCP_KEEPIDLE"], found["TCP_KEEPINTVL"], found["TCP_USER_TIMEOUT"]) == (taken, taken, taken * 1000)


def test_an_option_that_the_system_does_not_have_is_left_out(tcp, monkeypatch):
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)

    with SocketHandle(tcp.fileno()) as socket_handle:
        socket_handle.keep_alive(10, 2, 3, 15)

    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_unix_socket_gets_no_options(pair):
    with SocketHandle(pair[0].fileno()) as socket_handle:
        socket_handle.keep_alive(10, 2, 3, 15)

    assert not pair[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_connection_that_has_ended_is_not_an_error(tcp):
    socket_handle = SocketHandle(tcp.fileno())
    socket_handle.shut_down()
    socket_handle.keep_alive(10, 2, 3, 15)
    socket_handle.close()
    socket_handle.keep_alive(10, 2, 3, 15)


# Forks.


def in_child(function):
    """Run a function in a forked child, and return whether it succeeded."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            os.write(2, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def reaches(status):
    """Return whether any descriptor of this process is of the same socket."""
    for number in map(int, os.listdir("/dev/fd")):
        with suppress(OSError):  # the descriptor of the listing itself
            if os.path.samestat(os.fstat(number), status):
                return True
    return False


def test_a_child_that_forgets_cannot_reach_the_parents_connection(pair, socket_handle):
    ours, theirs = pair

    socket_of_the_parent = os.fstat(ours.fileno())

    def forget():
        socket_handle.forget_in_child()
        assert not reaches(socket_of_the_parent)
        assert os.fstat(ours.fileno()).st_rdev == os.stat(os.devnull).st_rdev
        with pytest.raises(OSError, match="non-socket"):
            ours.send(b"goodbye")
        with pytest.raises(OSError, match="non-socket"):
            ours.shutdown(socket.SHUT_RDWR)
        socket_handle.shut_down()
        socket_handle.forget_in_child()
        socket_handle.close()

    assert reaches(socket_of_the_parent)
    assert in_child(forget)
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_a_child_that_has_not_forgotten_shuts_nothing_down(pair, socket_handle):
    assert in_child(socket_handle.shut_down)

    pair[0].send(b"x")
    assert pair[1].recv(1) == b"x"


def test_forgetting_leaves_the_new_owner_of_the_number_alone(pair, socket_handle):
    pair[0].close()
    other = socket.socketpair()

    def forget():
        socket_handle.forget_in_child()
        other[0].send(b"x")

    with other[0], other[1]:
        assert in_child(forget)
        assert other[1].recv(1) == b"x"


def test_a_child_can_forget_though_a_thread_of_the_parent_held_the_lock(socket_handle):
    held, release = threading.Event(), threading.Event()

    def hold():
        with socket_handle._lock:
            held.set()
            release.wait(PATIENCE)

    def forget():
        signal.alarm(10)  # ends the child if it waits
        socket_handle.forget_in_child()
        socket_handle.close()

    holding = Background(hold)
    held.wait(PATIENCE)
    try:
        assert in_child(forget)
    finally:
        release.set()
        holding.ended()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.skipif(not AVAILABLE, reason="not applicable: this Python runs signal handlers at other places")
def test_a_signal_handler_that_raises_leaves_no_deadline_behind(pair):
    here, there = pair
    count = None
    place = 0
    while count is None or place <= count:
        interruption = Interruption(place, interrupt)
        with (
            SocketHandle(here.fileno()) as handle,
            suppress(KeyboardInterrupt),
            interruption.here(),
            handle.deadline(60.0),
        ):
            pass
        assert not is_watched(handle), interruption.where
        count = interruption.count if count is None else count
        place += 1
    there.send(b"x")
    assert here.recv(1) == b"x"
    assert count > 10


def interrupt():
    raise KeyboardInterrupt
