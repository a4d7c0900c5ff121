"""A message is a named tuple of five fields, and a notification."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone

import pytest

from pgnotify import Message, Notification

SENT_AT = datetime(2026, 11, 26, 12, 30, 15, 123456, tzinfo=timezone.utc)
MESSAGE = Message("orders", "paid", 7, 42, SENT_AT)


def test_it_is_a_tuple_of_five_fields():
    channel, payload, pid, number, sent_at = MESSAGE
    assert (channel, payload, pid, number, sent_at) == ("orders", "paid", 7, 42, SENT_AT)
    assert (MESSAGE.channel, MESSAGE.payload, MESSAGE.pid, MESSAGE.id, MESSAGE.sent_at) == MESSAGE
    assert Message(channel="orders", payload="paid", pid=7, id=42, sent_at=SENT_AT) == MESSAGE
    assert MESSAGE._fields == Message.__match_args__ == tuple(MESSAGE._asdict())
    assert len(MESSAGE) == 5


def test_code_that_takes_a_notification_takes_it():
    match MESSAGE:
        case Notification(channel, payload, pid):
            assert (channel, payload, pid) == ("orders", "paid", 7)
        case _:
            pytest.fail("it is no Notification")
    assert not isinstance(Notification("orders", "paid", 7), Message)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_it_is_one(protocol):
    again = pickle.loads(pickle.dumps(MESSAGE, protocol))
    assert (type(again), again) == (Message, MESSAGE)


@pytest.mark.parametrize("copied", [copy.copy(MESSAGE), copy.deepcopy(MESSAGE), Message._make(MESSAGE)])
def test_a_copy_of_it_is_one(copied):
    assert (type(copied), copied) == (Message, MESSAGE)


def test_a_field_of_a_copy_is_another():
    later = MESSAGE._replace(sent_at=SENT_AT + timedelta(1), id=43)
    assert type(later) is Message
    assert later == ("orders", "paid", 7, 43, SENT_AT + timedelta(1))
    with pytest.raises(TypeError):
        MESSAGE._replace(extra=1)


def test_its_repr_names_the_fields():
    assert repr(MESSAGE) == f"Message(channel='orders', payload='paid', pid=7, id=42, sent_at={SENT_AT!r})"


def test_it_has_no_dict_and_a_hash():
    assert not hasattr(MESSAGE, "__dict__")
    assert hash(MESSAGE) == hash(tuple(MESSAGE))
    with pytest.raises(AttributeError):
        MESSAGE.id = 43  # type: ignore[misc]
