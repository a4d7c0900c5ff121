"""What a listener tells of itself."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from datetime import datetime, timezone

import pytest

from pgnotify.listener.gap import Gap, Listening, Reason, utc
from pgnotify.listener.status import Status

STATUS = Status(
    name="pgnotify",
    state="listening",
    since=datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
    channels=("jobs", "日本"),
    notifications=3,
    bytes=30,
    dropped=0,
    queued=1,
    gaps=2,
    reconnects=2,
    attempts=0,
    delivering=True,
    server_pid=42,
    behind_pooler=False,
    ignored=("日本",),
    last_error=None,
    round_trip=0.001,
    queue_usage=0.25,
    unread=0.5,
    known_good_at=datetime(2024, 1, 2, 3, 4, 6, tzinfo=timezone.utc),
    last_error_at=datetime(2024, 1, 2, 3, 4, 4, 500_000, tzinfo=timezone.utc),
    callback_errors=1,
)


def test_as_a_dict_it_goes_through_json_unchanged():
    told = STATUS.as_dict()

    assert json.loads(json.dumps(told)) == told
    assert told["since"] == "2024-01-02T03:04:05+00:00"
    assert told["known_good_at"] == "2024-01-02T03:04:06+00:00"
    assert told["last_error_at"] == "2024-01-02T03:04:04.500000+00:00"
    assert told["channels"] == ["jobs", "日本"]
    assert told["ignored"] == ["日本"]


def test_as_a_dict_it_has_all_that_it_knows():
    assert list(STATUS.as_dict()) == [field.name for field in fields(Status)]


def test_what_is_not_known_is_none_there_too():
    nothing = replace(STATUS, server_pid=None, round_trip=None, queue_usage=None)

    assert {key for key, value in nothing.as_dict().items() if value is None} == {
        "server_pid",
        "last_error",
        "round_trip",
        "queue_usage",
        "durable",
    }


def test_it_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        STATUS.state = "closed"


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_own_text(reason):
    assert str(reason) == f"{reason}" == reason.value
    assert json.dumps(reason) == f'"{reason.value}"'


def test_moments_are_aware_and_in_utc():
    assert utc(0.5) == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=timezone.utc)


def test_a_gap_that_nobody_could_count_has_dropped_none():
    assert Gap(Reason.CONNECTION_LOST, utc(0), utc(1), ("jobs",)).dropped == 0


def test_an_event_cannot_be_changed():
    event = Listening(("jobs",), object(), None)

    with pytest.raises(FrozenInstanceError):
        event.gap = "none"
