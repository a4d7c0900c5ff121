"""Listener.stop() from everywhere: threads, callbacks, signal handlers, the end of a block and of the program."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest

from pgnotify.connecting import conninfo
from pgnotify.registry import connect_with
from tests.helpers.environment import with_address
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Holding, drains, interrupts_callbacks, is_waiting, listening
from tests.helpers.network import through
from tests.helpers.sending import burst
from tests.helpers.signals import on_signal, send_signal
from tests.helpers.threads import Background, is_in, waits
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

ROOT = Path(__file__).parents[4]
GENEROUS = 5.0  # seconds


def test_a_thread_ends_an_iteration_in_another_one(driver, address, channel):
    listener = Listener(address.dsn, channel, driver=driver)
    iterating = Background(lambda: list(listener))
    eventually(lambda: is_waiting(listener, iterating))

    assert listener.stop(GENEROUS) is True
    iterating.ended()


@blocking_only("threads")
def test_who_asks_for_the_next_one_while_it_is_being_stopped_is_told_that_there_is_none(
    driver, address, proxy, channel
):
    connection = connect_with(driver)(conninfo.parse(through(proxy, address).dsn))
    with closing(connection), Listener(connection, channel, answer_timeout=PATIENCE) as listener:
        proxy.freeze()
        stopping = Background(listener.stop, GENEROUS)
        eventually(lambda: is_in(stopping, "unlisten_many"))
        iterating = Background(lambda: list(listener))
        eventually(lambda: not iterating.is_alive() or is_in(iterating, "wait_until"))
        proxy.thaw()

        iterating.ended()
        stopping.ended()


def test_many_threads_may_stop_it_at_once(driver, address, channel):
    with listening(address.dsn, channel, driver=driver) as listener:
        answers = []
        stopping = [Background(lambda: answers.append(listener.stop(GENEROUS))) for _ in range(8)]
        for each in stopping:
            each.ended()

    assert answers == [True] * 8


@pytest.mark.parametrize("workers", [0, 1])
def test_a_callback_asks_and_it_ends_behind_it(driver, address, session, channel, workers):
    answers = []
    listener = Listener(address.dsn, driver=driver, workers=workers)
    listener.subscribe(channel, lambda _: answers.append(listener.stop()))
    running = Background(listener.run)
    eventually(lambda: listener.status().state == "listening")
    burst(session, channel, 5)
    running.ended()

    assert answers[0] is False
    assert listener.stop(GENEROUS) is True
    assert len(answers) == 1 or workers


@blocking_only("signals")
@pytest.mark.parametrize("started", [False, True], ids=["run", "start"])
def test_a_signal_handler(driver, address, channel, started):
    answers, main = [], threading.main_thread()
    listener = Listener(address.dsn, channel, driver=driver)
    with on_signal(lambda: answers.append(listener.stop(GENEROUS))):
        if started:
            listener.start()
            sending = Background(send_when, lambda: is_in(main, "wait_until", "wait"))
            assert list(listener) == []
        else:
            sending = Background(send_when, lambda: waits(main))
            listener.run()
        sending.ended()

    assert answers == [started]
    assert listener.stop(GENEROUS) is True


def send_when(condition):
    eventually(condition)
    send_signal()


def test_a_with_block_ends_it_whatever_happens_inside(driver, address, session, channel):
    listener = Listener(address.dsn, channel, driver=driver)

    with pytest.raises(ZeroDivisionError), listener:
        1 / listener.status().reconnects

    pid = listener.status().server_pid
    assert pid is not None
    assert listener.status().state == "closed"
    eventually(lambda: session.state_of(pid) is None)


AT_EXIT = textwrap.dedent(
    """
    import sys, threading
    from pgnotify import Listener
    from tests.helpers.environment import given_address

    driver, way = sys.argv[1:]
    listener = Listener(given_address().dsn, "x", driver=driver, heartbeat=0.01)
    if way != "only iterate":
        listener.start()
    if way == "raise":
        raise SystemExit(3)
    if "iterate" in way:
        threading.Thread(target=lambda: list(listener)).start()
        listener.__enter__()
    """
)


@pytest.fixture
def own_database(session, address):
    """The address of a database that nobody else uses."""
    own = address._replace(database="at_exit")
    session.sql(f"CREATE DATABASE {own.database}")
    yield own
    session.sql(f"DROP DATABASE {own.database} WITH (FORCE)")


@pytest.mark.parametrize("way", ["end", "raise", "iterate", "only iterate"])
def test_a_program_that_ends_ends_it_and_says_goodbye_to_the_server(driver, own_database, session, way):
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", AT_EXIT, driver, way],
        env={**with_address(own_database), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stderr) == (3 if way == "raise" else 0, "")
    abandoned = f"""
        SELECT sessions_abandoned FROM pg_catalog.pg_stat_database
        WHERE datname OPERATOR(pg_catalog.=) '{own_database.database}'
        AND sessions OPERATOR(pg_catalog.>) 0 AND numbackends OPERATOR(pg_catalog.=) 0
    """
    eventually(lambda: session.sql(abandoned))
    assert session.sql(abandoned)[0][0] == "0"


# What is queued.


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_queued_is_delivered_if_that_is_wanted(driver, address, session, channel, drain, workers):
    holding = Holding()
    listener = Listener(address.dsn, driver=driver, workers=workers)
    listener.subscribe(channel, holding)
    listener.start()
    burst(session, channel, 50)
    assert holding.entered.wait(PATIENCE)
    # The reading thread that is in a callback has fetched a part, and goes no further.
    eventually(lambda: not workers or listener.status().notifications == 50)
    stopping = Background(listener.stop, GENEROUS, drain)
    eventually(lambda: drain or listener._watch.stop_requested or listener.status().state == "closed")
    eventually(lambda: not drain or drains(listener))
    eventually(lambda: not workers or drain or interrupts_callbacks(listener))
    holding.released.set()
    stopping.ended()

    assert listener.stop(GENEROUS) is True
    assert holding.payloads == [str(number) for number in range(listener.status().notifications if drain else 1)]


def test_an_iteration_gets_what_is_queued_if_that_is_wanted(driver, address, session, channel):
    with listening(address.dsn, channel, driver=driver) as listener:
        burst(session, channel, 50)
        eventually(lambda: listener.status().queued == 50)
        rest = listener.notifications()

        assert listener.stop(GENEROUS, drain=True) is True
        assert [each.payload for each in rest] == [str(number) for number in range(50)]
