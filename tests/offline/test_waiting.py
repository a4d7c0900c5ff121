"""Waiting for descriptors, and being woken."""

from __future__ import annotations

import math
import select
import signal
import socket
import struct
import threading
import time

import pytest

from pgnotify.waiting import Wakeup, is_cut_off, wait_readable
from tests.helpers.threads import Running


@pytest.fixture
def pair():
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@pytest.fixture
def wakeup():
    made = Wakeup()
    yield made
    made.close()


def readable(descriptor):
    return wait_readable(descriptor, 0)


# is_cut_off


@pytest.mark.skipif(not hasattr(select, "poll"), reason="not applicable: the system does not tell")
def test_a_connection_is_cut_off_after_an_rst_though_there_is_something_to_read():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        there, _ = server.accept()
        there.sendall(b"last words")
        assert wait_readable(here.fileno(), 10)
        assert is_cut_off(here.fileno()) is False

        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()

        assert is_cut_off(here.fileno()) is True
        assert here.recv(100) == b"last words"


def test_a_connection_is_not_cut_off_while_it_can_still_send(pair):
    here, there = pair
    there.shutdown(socket.SHUT_WR)

    assert is_cut_off(here.fileno()) is False


# wait_readable


@pytest.mark.parametrize("timeout", [None, 0, 0.5, 60, math.inf])
def test_what_is_readable_ends_the_wait_at_once(pair, timeout):
    here, there = pair
    there.send(b"x")

    assert wait_readable(here.fileno(), timeout) is True


def test_nothing_to_read_is_a_timeout(pair):
    assert wait_readable(pair[0].fileno(), 0) is False


@pytest.mark.parametrize("seconds", [0.02, 1 / 3 / 10])
def test_a_timeout_is_in_seconds_and_is_never_early(pair, seconds):
    begun = time.monotonic()

    assert wait_readable(pair[0].fileno(), seconds) is False

    assert seconds - 0.001 <= time.monotonic() - begun < seconds + 5


def test_a_fraction_of_a_millisecond_waits_rather_than_spins(pair):
    begun = time.monotonic()

    assert wait_readable(pair[0].fileno(), 0.0001) is False

    assert time.monotonic() - begun >= 0.0001


def test_waiting_for_ever_ends_when_something_comes(pair):
    here, there = pair
    waiting = Running(lambda: wait_readable(here.fileno(), None))

    there.send(b"x")

    assert waiting.ended() is True


@pytest.mark.parametrize("timeout", [1e12, 1e300, math.inf, 10**30])
def test_a_huge_timeout_does_not_overflow(pair, timeout):
    here, there = pair
    waiting = Running(lambda: wait_readable(here.fileno(), timeout))

    there.send(b"x")

    assert waiting.ended() is True


def test_a_closed_peer_ends_the_wait(pair):
    here, there = pair
    there.close()

    assert wait_readable(here.fileno(), None) is True


def test_a_broken_connection_ends_the_wait(pair):
    here, _ = pair
    here.shutdown(socket.SHUT_RDWR)

    assert wait_readable(here.fileno(), None) is True


@pytest.mark.parametrize("has_poll", [True, False])
def test_a_descriptor_that_was_closed_ends_the_wait(has_poll, monkeypatch):
    if not has_poll:  # as on Windows
        monkeypatch.delattr(select, "poll", raising=False)
    here, there = socket.socketpair()
    number = here.fileno()
    here.close()
    there.close()

    assert wait_readable(number, None) is True


def test_being_writable_does_not_end_the_wait(pair):
    assert wait_readable(pair[1].fileno(), 0.01) is False


def test_the_wakeup_ends_the_wait(pair, wakeup):
    wakeup.wake()

    assert wait_readable(pair[0].fileno(), None, wakeup.fileno()) is True


def test_a_wakeup_that_is_quiet_does_not_end_the_wait(pair, wakeup):
    assert wait_readable(pair[0].fileno(), 0.01, wakeup.fileno()) is False


def test_the_descriptor_ends_the_wait_beside_a_wakeup(pair, wakeup):
    here, there = pair
    there.send(b"x")

    assert wait_readable(here.fileno(), None, wakeup.fileno()) is True


@pytest.fixture
def above_1023(pair):
    """A descriptor that select() cannot take."""
    import fcntl
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"not applicable: no more than {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    number = fcntl.fcntl(pair[0].fileno(), fcntl.F_DUPFD_CLOEXEC, 1500)
    duplicate = socket.socket(fileno=number)
    with duplicate:
        yield duplicate
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_descriptor_above_1023_is_waited_for(pair, above_1023):
    number = above_1023.fileno()
    assert number > 1023
    assert wait_readable(number, 0) is False

    pair[1].send(b"x")

    assert wait_readable(number, None) is True


def test_a_wakeup_above_1023_ends_the_wait(pair, above_1023):
    pair[1].send(b"x")
    quiet, other = socket.socketpair()
    with quiet, other:
        assert wait_readable(quiet.fileno(), None, above_1023.fileno()) is True


# Wakeup


def test_a_wakeup_is_quiet_at_first(wakeup):
    assert not readable(wakeup.fileno())


def test_waking_makes_it_readable_until_it_is_cleared(wakeup):
    wakeup.wake()
    assert readable(wakeup.fileno())

    wakeup.clear()
    assert not readable(wakeup.fileno())


def test_a_wake_before_the_wait_is_not_lost(pair, wakeup):
    wakeup.wake()

    assert wait_readable(pair[0].fileno(), None, wakeup.fileno()) is True


def test_a_wakeup_can_be_used_again(wakeup):
    for _ in range(3):
        wakeup.wake()
        assert readable(wakeup.fileno())
        wakeup.clear()

    assert not readable(wakeup.fileno())


@pytest.mark.parametrize("times", [1, 2, 4096, 4097, 50_000])
def test_clear_takes_all(wakeup, times):
    for _ in range(times):
        wakeup.wake()

    wakeup.clear()

    assert not readable(wakeup.fileno())


def test_clearing_what_is_quiet_does_not_block(wakeup):
    wakeup.clear()

    assert not readable(wakeup.fileno())


def test_waking_never_blocks_though_nobody_clears(wakeup):
    def wake_often():
        for _ in range(300_000):
            wakeup.wake()

    Running(wake_often).ended()

    assert readable(wakeup.fileno())


def test_many_threads_wake_at_once(pair, wakeup):
    ready = threading.Barrier(8)

    def wake_often():
        ready.wait()
        for _ in range(2000):
            wakeup.wake()

    waking = [Running(wake_often) for _ in range(8)]

    assert wait_readable(pair[0].fileno(), None, wakeup.fileno()) is True
    for each in waking:
        each.ended()
    wakeup.clear()
    assert not readable(wakeup.fileno())


def test_a_wait_in_a_thread_is_ended_by_a_wake_from_another(pair, wakeup):
    waiting = Running(lambda: wait_readable(pair[0].fileno(), None, wakeup.fileno()))

    wakeup.wake()

    assert waiting.ended() is True


# Signals


@pytest.fixture
def on_signal():
    """The list of the signals that came in; the signal is SIGUSR1."""
    came = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    yield came
    signal.signal(signal.SIGUSR1, before)


def raise_a_signal(timeout, wakeup):
    signal.raise_signal(signal.SIGUSR1)


def wait_for_nothing(timeout, wakeup):
    """Return at once."""


def test_a_wait_gets_its_timeout_and_the_descriptor_and_its_result_is_returned(wakeup):
    assert wakeup.wait(lambda *arguments: arguments, 0.5) == (0.5, wakeup.fileno())


def test_a_signal_wakes_the_main_thread(wakeup, on_signal):
    wakeup.wait(raise_a_signal, None)

    assert readable(wakeup.fileno())
    assert on_signal == [signal.SIGUSR1]


def test_a_signal_after_the_wait_wakes_nobody(wakeup, on_signal):
    wakeup.wait(wait_for_nothing, None)
    signal.raise_signal(signal.SIGUSR1)

    assert not readable(wakeup.fileno())


def test_signals_are_let_go_of_after_an_error(wakeup, on_signal):
    def interrupted(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wakeup.wait(interrupted, None)
    signal.raise_signal(signal.SIGUSR1)

    assert not readable(wakeup.fileno())


def test_who_has_the_signals_already_keeps_them(wakeup, on_signal, pair):
    here, there = pair
    there.setblocking(False)
    signal.set_wakeup_fd(there.fileno())
    try:
        wakeup.wait(raise_a_signal, None)
    finally:
        kept = signal.set_wakeup_fd(-1)

    assert kept == there.fileno()
    assert here.recv(10) == bytes([signal.SIGUSR1])
    assert not readable(wakeup.fileno())


def test_a_signal_wakes_no_wait_of_another_thread(wakeup, on_signal):
    inside, leave = threading.Event(), threading.Event()

    def wait(*_):
        inside.set()
        assert leave.wait(10)

    waiting = Running(lambda: wakeup.wait(wait, None))
    assert inside.wait(10)
    signal.raise_signal(signal.SIGUSR1)
    leave.set()
    waiting.ended()

    assert not readable(wakeup.fileno())


# Closing


def test_waking_after_close_does_nothing(wakeup):
    wakeup.close()

    wakeup.wake()


def test_closing_twice_does_nothing(wakeup):
    wakeup.close()
    wakeup.close()


def test_closing_releases_both_descriptors(wakeup):
    before = socket.socketpair()
    numbers = {each.fileno() for each in before}
    for each in before:
        each.close()
    one = Wakeup()  # takes the numbers that have just become free
    one.close()

    after = socket.socketpair()
    assert {each.fileno() for each in after} == numbers
    for each in after:
        each.close()


def test_a_time_that_has_passed_already_only_looks():
    one, other = socket.socketpair()
    with one, other:
        assert not wait_readable(one.fileno(), -0.5)
        other.send(b"x")
        assert wait_readable(one.fileno(), -0.5)
