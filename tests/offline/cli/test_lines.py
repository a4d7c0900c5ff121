"""The line that a notification becomes."""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgnotify.cli.lines import Began, Received, json_line, plain, printable
from pgnotify.listener.gap import Gap, Listening, Reason
from pgnotify.notification import Notification

# All of Unicode, and the surrogates, among which are the bytes that could not be decoded.
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["\x1b[2J", "a\r\nb", "\x9b31m", "\u202e", "\\n"]
)


def received(payload, channel="jobs"):
    return Received(0.25, Notification(channel, payload, 7))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("日本 é \xa0 '\"", "日本 é \xa0 '\""),
        ('{"path": "C:\\\\new"}', '{"path": "C:\\\\new"}'),  # a payload in JSON stays one
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\udcff\ud800", r"\xff\ud800"),
        ("\u2028\u202e", r"\u2028\u202e"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == shown


@given(TEXTS, TEXTS)
def test_a_plain_line_is_one_line_without_control_characters(channel, payload):
    line = plain(timestamps=False, colours=False)(received(payload, channel))

    assert line.count("\t") == 1
    assert len(line.splitlines()) == 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in line.replace("\t", ""))
    line.encode()


@given(TEXTS, TEXTS)
def test_a_json_line_is_one_line_that_holds_the_payload_exactly(channel, payload):
    line = json_line(received(payload, channel))

    assert len(line.splitlines()) == 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in line)
    assert json.loads(line.encode()) == {
        "type": "notification",
        "time": "1970-01-01T00:00:00.250000+00:00",
        "channel": channel,
        "payload": payload,
        "pid": 7,
    }


def test_listening_and_a_gap_are_objects_of_their_own():
    moments = [datetime(2026, 11, 27, 1, minute, tzinfo=timezone.utc) for minute in (1, 2)]
    gap = Gap(Reason.CONNECTION_LOST, *moments, ("a", "b"))

    first, again = (json.loads(json_line(Began(0.0, Listening(("a", "b"), None, each)))) for each in (None, gap))

    assert first == {"type": "listening", "time": "1970-01-01T00:00:00.000000+00:00", "channels": ["a", "b"]}
    assert again == {
        "type": "gap",
        "time": "1970-01-01T00:00:00.000000+00:00",
        "reason": "connection lost",
        "lost_at": "2026-11-27T01:01:00.000000+00:00",
        "restored_at": "2026-11-27T01:02:00.000000+00:00",
        "channels": ["a", "b"],
        "dropped": 0,
    }


def test_a_plain_line_has_the_local_time_with_its_zone():
    line = plain(timestamps=True, colours=False)(received("x"))

    moment = datetime.fromisoformat(line.partition("\t")[0])
    assert (moment.timestamp(), moment.tzinfo is not None) == (0.25, True)


def test_colours_are_around_the_names_only():
    assert plain(timestamps=False, colours=True)(received("x")) == "\x1b[36mjobs\x1b[0m\tx"
