"""What a signal handler that raises leaves of a Listener whose main thread reads; the ledger has more of them."""

from __future__ import annotations

import threading

import pytest

from pgnotify import Listener
from pgnotify.listener.gap import Reason
from tests import kinds
from tests.helpers.listeners import Told
from tests.helpers.network import through
from tests.helpers.signals import on_signal, send_signal
from tests.helpers.threads import Background, is_in
from tests.helpers.waiting import eventually


class TimeLimit(Exception):
    """What a task queue's signal handler raises."""


def test_a_time_limit_in_a_statement_blames_no_callback(driver, address, proxy, session, channel):
    told, errors, payloads, raised = Told(), [], [], []

    def raise_time_limit():
        raised.append(1)
        raise TimeLimit

    def strike():
        main = threading.main_thread()
        told.next()
        proxy.blackhole()
        try:
            eventually(lambda: is_in(main, "check"))
            send_signal()
            if kinds.FIRST[driver].interruptible:  # otherwise Python runs the signal handler after the answer
                eventually(lambda: raised)
        finally:
            proxy.thaw()

    def receive(notification):
        payloads.append(notification.payload)
        listener.stop()

    def on_error(error, notification):
        errors.append(error)

    listener = Listener(through(proxy, address).dsn, driver=driver, on_listening=told, on_error=on_error, heartbeat=0.2)
    listener.subscribe(channel, receive)
    with on_signal(raise_time_limit):
        striking = Background(strike)
        with pytest.raises(TimeLimit):
            listener.run()
        striking.ended()
    sending = Background(lambda: eventually(lambda: session.notify(channel, "later") or payloads))
    listener.run()
    sending.ended()

    assert errors == []
    assert {*payloads} == {"later"}
    assert {gap.reason for gap in told.gaps} <= {Reason.CONNECTION_LOST}
    assert "transaction" not in (listener.status().last_error or "")
