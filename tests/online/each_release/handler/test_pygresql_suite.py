"""The scenarios that users of PyGreSQL's handler know from its own test suite, on each kind.

Written anew for the behaviour that they describe; the numbers and words are as small as there.
"""

import pytest

import pgnotify
from tests.helpers import handler_fronts
from tests.helpers.handlers import Recorder
from tests.helpers.threads import Background, waits
from tests.helpers.user import User
from tests.helpers.waiting import eventually

# In the same thread, with a time-out of zero.


@pytest.fixture
def polling(db, record, handler_front):
    """A handler as DB.notification_handler() makes it, that polls."""
    made = []

    def make(event="my_event", arg_dict=None, stop_event=None):
        handler = handler_front.wrap(db).notification_handler(event, record, arg_dict, 0, stop_event)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.close()


def test_a_new_handler_has_what_it_was_given(polling, record):
    arg_dict = {}

    handler = polling("my_event", arg_dict, "my_stop")

    assert (handler.event, handler.stop_event, handler.timeout) == ("my_event", "my_stop", 0)
    assert handler.callback is record
    assert handler.arg_dict is arg_dict
    assert handler.listening is False


def test_closing_the_handler_closes_the_connection(db, user, channel, record, session, handler_front):
    handler = handler_front.make(db, channel, record, timeout=0)
    pid = user.pid

    handler.close()

    assert handler.db is None
    eventually(lambda: not session.sql(f"SELECT FROM pg_stat_activity WHERE pid = {pid}"))


@pytest.mark.handler_fronts("blocking", why=handler_fronts.DELETION)
def test_what_is_sent_after_the_deletion_does_not_arrive(db, channel, record, user, handler_front):
    handler = handler_front.make(db, channel, record, timeout=0)
    handler.listen()
    pgnotify.notify(db, channel, "1")
    pgnotify.notify(db, channel, "2")

    del handler
    pgnotify.notify(db, channel, "3")

    assert [notification.payload for notification in pgnotify.wrap(db).fetch()] == ["1", "2"]
    assert user.listened_to == set()


def test_an_unknown_argument_of_notify_is_a_type_error(polling):
    handler = polling()
    handler.listen()

    with pytest.raises(TypeError):
        handler.notify(invalid=True)

    handler.notify(payload="baz")
    handler.notify(stop=True, payload="buz")
    handler.unlisten()


def test_polling_with_arguments_and_payloads(polling, record):
    arg_dict = {"foo": "bar"}
    handler = polling(arg_dict=arg_dict)
    handler.listen()

    handler.notify(payload="baz")
    handler.notify(payload="biz")
    handler()

    assert record.payloads == ["baz", "biz"]
    assert (arg_dict["foo"], arg_dict["event"], arg_dict["extra"]) == ("bar", handler.event, "biz")
    assert isinstance(arg_dict["pid"], int)
    assert handler.listening is True

    handler.notify(stop=True, payload="buz")
    handler()

    assert record.payloads == ["baz", "biz", "buz"]
    assert (arg_dict["foo"], arg_dict["event"], arg_dict["extra"]) == ("bar", handler.stop_event, "buz")
    assert handler.listening is False
    handler.unlisten()


def test_polling_past_a_wrong_event(polling, record, user):
    handler = polling("good_event")
    handler.listen()
    handler.notify(payload="note 1")
    user.run("NOTIFY bad_event, 'note 2'")
    handler.notify(payload="note 3")

    handler()

    assert record.payloads == ["note 1", "note 3"]
    assert handler.listening is True


def test_polling_up_to_a_wrong_event(polling, record, user):
    handler = polling("good_event")
    handler.listen()
    user.run("LISTEN bad_event")
    handler.notify(payload="note 4")
    user.run("NOTIFY bad_event, 'note 5'")
    handler.notify(payload="note 6")

    with pytest.raises(user.driver.DatabaseError) as caught:
        handler()

    assert str(caught.value) == ('Listening for "good_event" and "stop_good_event", but notified of "bad_event"')
    assert record.payloads == ["note 4"]
    assert handler.listening is False


# In a thread of its own.


class Threaded:
    """A handler that runs in a thread, and somebody who notifies it from another connection."""

    def __init__(self, handler_front, kind, connect, event, arg_dict, timeout, stop_event):
        self.sender = User(kind, connect())
        self.sender.run("SELECT 1")
        self.record = Recorder()
        self.handler = handler_front.make(connect(), event, self.record, arg_dict, timeout, stop_event)
        self.expected = []
        self.loop = Background(self.handler)
        eventually(lambda: self.handler.listening or not self.loop.is_alive())

    def notify_by_handler(self, stop=False, payload=None):
        self._expect(stop, payload)
        self.handler.notify(db=self.sender.db, stop=stop, payload=payload)

    def notify_by_query(self, stop=False, payload=None, run=None):
        self._expect(stop, payload)
        event = self.handler.stop_event if stop else self.handler.event
        (run or self.sender.run)(f'NOTIFY "{event}"' + (f", '{payload}'" if payload else ""))

    def assert_received(self):
        """All that was sent has arrived, in order, with the arguments as they were then."""
        eventually(lambda: len(self.record) >= len(self.expected))
        assert [{**arg_dict, "pid": 1} for arg_dict in self.record] == self.expected

    def assert_received_and_stops(self):
        self.notify_by_handler(stop=True, payload="stop")
        self.assert_received()
        self.loop.ended()
        assert self.handler.listening is False

    def _expect(self, stop, payload):
        event = self.handler.stop_event if stop else self.handler.event
        self.expected.append({**self.handler.arg_dict, "event": event, "pid": 1, "extra": payload or ""})


@pytest.fixture
def start(handler_front, kind, connect):
    """Start a handler in a thread."""
    started = []

    def start(event="async_event", arg_dict=None, timeout=20, stop_event=None):
        started.append(Threaded(handler_front, kind, connect, event, arg_dict, timeout, stop_event))
        return started[-1]

    yield start
    for threaded in started:
        threaded.handler.stop()
        threaded.loop.ended()
        threaded.handler.close()


@pytest.mark.parametrize("notify", [Threaded.notify_by_handler, Threaded.notify_by_query])
def test_only_a_stop(start, notify):
    threaded = start(stop_event="stop_async_event")

    notify(threaded, stop=True)

    threaded.assert_received()
    threaded.loop.ended()
    assert threaded.handler.listening is False


@pytest.mark.parametrize("notify", [Threaded.notify_by_handler, Threaded.notify_by_query])
def test_one_notification_and_a_stop(start, notify):
    threaded = start()

    notify(threaded)
    threaded.assert_received()
    still_listening = threaded.handler.listening

    assert still_listening
    threaded.assert_received_and_stops()


def test_arguments_are_passed_on(start):
    threaded = start("test_args", {"test": 42, "more": 43, "less": 41})

    threaded.notify_by_query()

    threaded.assert_received_and_stops()


def test_arguments_may_be_changed_between_notifications(start):
    arg_dict = {"test": 1}
    threaded = start(arg_dict=arg_dict)

    for _ in range(3):
        threaded.notify_by_query()
    threaded.assert_received()
    arg_dict["test"] += 1
    for _ in range(2):
        threaded.notify_by_handler()
    threaded.assert_received()
    arg_dict["test"] += 1
    for _ in range(3):
        threaded.notify_by_query()

    threaded.assert_received_and_stops()
    assert [arg_dict["test"] for arg_dict in threaded.record] == [1, 1, 1, 2, 2, 3, 3, 3, 3]


def test_one_payload(start):
    threaded = start(arg_dict={"foo": "bar"})

    threaded.notify_by_query(payload="baz")

    threaded.assert_received_and_stops()


def test_quoted_names(start):
    threaded = start("Hello, World!")

    threaded.notify_by_query(payload="How do you do?")

    threaded.assert_received_and_stops()


def test_five_payloads(start):
    threaded = start("gimme_5", {"test": "Gimme 5"})

    for number in range(5):
        threaded.notify_by_query(payload=f"Round {number}")

    threaded.assert_received_and_stops()


def test_each_is_received_immediately(start):
    threaded = start("immediate", {"test": "immediate"})

    for number in range(3):
        threaded.notify_by_query(payload=f"Round {number}")
        threaded.assert_received()

    threaded.assert_received_and_stops()


def test_distinct_ones_in_a_transaction_are_all_received(start):
    threaded = start("transaction", {"transaction": True})

    threaded.sender.begin()
    for number in range(3):
        threaded.notify_by_query(payload=f"Round {number}", run=threaded.sender.sql)
    threaded.sender.commit()

    threaded.assert_received_and_stops()


def test_equal_ones_in_a_transaction_are_received_once(start):
    threaded = start("transaction", {"transaction": True})

    threaded.sender.begin()
    for _ in range(3):
        threaded.notify_by_query(run=threaded.sender.sql)
    threaded.sender.commit()
    del threaded.expected[1:]

    threaded.assert_received_and_stops()


def test_those_of_the_handlers_notify_in_a_transaction_come_with_its_commit(start):
    threaded = start("transaction")

    threaded.sender.begin()
    for number in range(3):
        threaded.notify_by_handler(payload=f"Round {number}")
    eventually(lambda: waits(threaded.loop))
    before = list(threaded.record)
    threaded.sender.commit()

    assert before == []
    threaded.assert_received_and_stops()


def test_no_timeout(start):
    threaded = start(timeout=None)
    eventually(lambda: waits(threaded.loop))

    assert threaded.handler.timeout is None
    assert threaded.handler.listening is True
    threaded.assert_received_and_stops()


def test_a_timeout_of_zero_ends_the_thread_and_keeps_listening(start):
    threaded = start(timeout=0)

    threaded.loop.ended()

    assert threaded.handler.listening is True
    assert threaded.record == []


def test_a_timeout_that_does_not_pass(start):
    threaded = start(timeout=20)
    eventually(lambda: waits(threaded.loop))

    assert threaded.record == []
    threaded.assert_received_and_stops()


def test_a_timeout_that_passes(start):
    threaded = start(timeout=0.01)

    threaded.loop.ended()

    assert threaded.record == [None]
    assert threaded.handler.listening is False
