"""Where a server embeds Python: each driver in a first thread that is not the main one, and in a subinterpreter."""

from __future__ import annotations

import pytest

from tests.helpers.embedding import FIRST_THREAD, SUBINTERPRETER, run_in
from tests.helpers.environment import with_address

USE = """
    import pgnotify
    from pgnotify.registry import connect_with
    from tests.helpers.environment import given_address

    driver, dsn = {driver!r}, given_address().dsn

    def send(event):
        with pgnotify.connect(dsn, driver=driver) as connection:
            connection.notify("embedded", "to the listener")

    def use():
        with pgnotify.connect(dsn, driver=driver) as connection:
            handler = connection.notification_handler("embedded", lambda message: received.append(message["extra"]))
            handler.listen()
            handler.notify(payload="to the handler")
            handler.notify(stop=True)
            handler()
        for start in (False, True):
            listener = pgnotify.Listener(dsn, "embedded", driver=driver, on_listening=send)
            if start:
                listener.start()
            received.append(next(listener.notifications(timeout=20)).payload)
            received.append(listener.stop())

    received = []
    try:
        connect_with(driver)
    except ImportError as error:
        print(repr(error))
    else:
        use()
        print(received)
"""


@pytest.mark.parametrize("place", [FIRST_THREAD, SUBINTERPRETER])
def test_a_handler_and_a_listener_run(driver, address, place):
    printed = run_in(place, USE.format(driver=driver), with_address(address))

    if place == SUBINTERPRETER and printed.startswith("ImportError"):
        pytest.skip(f"not applicable: {printed.strip()}")
    assert printed == "['to the handler', '', 'to the listener', True, 'to the listener', True]\n"
