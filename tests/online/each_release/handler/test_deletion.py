"""NotificationHandler is deleted: it unlistens where that is safe."""

import pytest

from tests.helpers import handler_fronts
from tests.helpers.signals import on_signal, run_with_a_signal
from tests.helpers.threads import Background

pytestmark = pytest.mark.handler_fronts("blocking", why=handler_fronts.DELETION)


def test_a_deleted_handler_unlistens(db, user, channel, record, handler_front):
    handler = handler_front.make(db, channel, record)
    handler.listen()

    del handler

    assert user.listened_to == set()


def test_a_deleted_handler_that_is_not_listening_sends_nothing(db, user, channel, record, handler_front):
    handler = handler_front.make(db, channel, record)
    user.begin()

    del handler  # a warning would be an error

    user.commit()


def test_a_handler_deleted_inside_a_transaction_sends_nothing_and_warns(db, user, channel, record, handler_front):
    handler = handler_front.make(db, channel, record)
    handler.listen()
    both = {handler.event, handler.stop_event}
    user.begin()

    with pytest.warns(ResourceWarning, match="deleted while listening.*transaction"):
        del handler

    user.commit()
    assert user.listened_to == both


def test_a_handler_deleted_in_another_thread_sends_nothing_and_warns(db, user, channel, record, handler_front):
    handlers = [handler_front.make(db, channel, record)]
    handlers[0].listen()
    both = {handlers[0].event, handlers[0].stop_event}

    with pytest.warns(ResourceWarning, match="deleted while listening.*thread"):
        Background(handlers.clear).ended()

    assert user.listened_to == both


def test_a_handler_deleted_after_a_loss_warns(db, user, channel, record, session, handler_front):
    handler = handler_front.make(db, channel, record)
    handler.listen()
    session.terminate(user.pid)

    with pytest.warns(ResourceWarning, match="deleted while listening.*ConnectionLost"):
        del handler


@pytest.mark.drivers("psycopg", "pg8000")  # the others run no Python code during a statement
def test_a_handler_deleted_in_the_midst_of_a_statement_sends_nothing_and_warns(
    db, user, channel, record, session, handler_front
):
    handlers = [handler_front.make(db, channel, record)]
    handlers[0].listen()
    both = {handlers[0].event, handlers[0].stop_event}

    with pytest.warns(ResourceWarning, match="deleted while listening.*busy with a call"), on_signal(handlers.clear):
        run_with_a_signal(user, session)

    assert user.listened_to == both
