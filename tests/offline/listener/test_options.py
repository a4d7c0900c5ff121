"""The options of a Listener: which values are refused, with which message, and that the Listener has the same."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields

import pytest

from pgnotify.connecting.backoff import Backoff
from pgnotify.listener import Listener
from pgnotify.listener.observer import Observer
from pgnotify.listener.options import Options


class Lacking:
    """An observer without two of its methods."""

    def state_changed(self, name, state):
        """Do nothing."""

    def checked(self, name, round_trip, queue_usage):
        """Do nothing."""

    def __repr__(self):
        return "<lacking>"


class Watching(Observer):
    """An observer that overrides nothing."""

    def __repr__(self):
        return "<watching>"


TOO_BIG = 10**400  # for a float

REFUSED = [
    ("on_listening", 5, TypeError, "on_listening must be a function, not 5"),
    ("on_listening", "print", TypeError, "on_listening must be a function, not 'print'"),
    ("on_error", 5, TypeError, "on_error must be a function, not 5"),
    ("on_error", "ignore", TypeError, "on_error must be a function, not 'ignore'"),
    ("workers", -1, ValueError, "workers must be at least 0, not -1"),
    ("workers", True, TypeError, "workers must be an int, not bool"),
    ("workers", 1.5, TypeError, "workers must be an int, not float"),
    ("workers", None, TypeError, "workers must be an int, not NoneType"),
    ("queue_size", 0, ValueError, "queue_size must be at least 1, not 0"),
    ("queue_size", False, TypeError, "queue_size must be an int, not bool"),
    ("queue_size", "1000", TypeError, "queue_size must be an int, not str"),
    ("queue_size", None, TypeError, "queue_size must be an int, not NoneType"),
    ("heartbeat", 0, ValueError, "heartbeat must be positive and finite, not 0"),
    ("heartbeat", -0.5, ValueError, "heartbeat must be positive and finite, not -0.5"),
    ("heartbeat", float("inf"), ValueError, "heartbeat must be positive and finite, not inf"),
    ("heartbeat", float("nan"), ValueError, "heartbeat must be positive and finite, not nan"),
    ("heartbeat", TOO_BIG, ValueError, "heartbeat is an integer that no float can hold; it must be finite"),
    ("heartbeat", "30", TypeError, "heartbeat must be a number of seconds, not str"),
    ("heartbeat", True, TypeError, "heartbeat must be a number of seconds, not bool"),
    ("answer_timeout", 0, ValueError, "answer_timeout must be positive and finite, not 0"),
    ("answer_timeout", -1, ValueError, "answer_timeout must be positive and finite, not -1"),
    ("answer_timeout", float("inf"), ValueError, "answer_timeout must be positive and finite, not inf"),
    ("answer_timeout", float("nan"), ValueError, "answer_timeout must be positive and finite, not nan"),
    ("answer_timeout", TOO_BIG, ValueError, "answer_timeout is an integer that no float can hold; it must be finite"),
    ("answer_timeout", None, TypeError, "answer_timeout must be a number of seconds, not NoneType"),
    ("backoff", 1.0, TypeError, "backoff must be a Backoff, not 1.0"),
    ("backoff", None, TypeError, "backoff must be a Backoff, not None"),
    ("name", 5, TypeError, "name must be a str, not 5"),
    ("name", b"cache", TypeError, "name must be a str, not b'cache'"),
    (
        "observer",
        Lacking(),
        TypeError,
        "observer must be a subclass of pgnotify.Observer: <lacking> lacks received, gap_announced",
    ),
    ("outbox", 5, TypeError, "outbox must be a pgnotify.Outbox, not int"),
    ("outbox", "pgnotify_outbox", TypeError, "outbox must be a pgnotify.Outbox, not str"),
    ("durable", "billing", TypeError, "durable needs an outbox: pass outbox=pgnotify.Outbox(), too"),
    ("durable", 5, TypeError, "durable must be a str, not int"),
    ("durable", "", ValueError, "durable is empty, PostgreSQL needs at least one character"),
    ("start", "all", TypeError, "start needs an outbox: pass outbox=pgnotify.Outbox(), too"),
    ("start", "old", ValueError, "start must be 'new' or 'all', not 'old'"),
    ("start", None, ValueError, "start must be 'new' or 'all', not None"),
]


@pytest.mark.parametrize(("option", "value", "error", "message"), REFUSED, ids=lambda each: str(each)[:40])
def test_a_bad_value_is_refused_with_the_option_the_value_and_the_limit(option, value, error, message):
    with pytest.raises(error) as refusal:
        Options(**{option: value})

    assert str(refusal.value) == message


def test_every_option_is_refused_some_value_except_the_driver():
    """Which drivers there are is known to the source of connections, which refuses the others."""
    refused = {option for option, *_ in REFUSED}

    assert [field.name for field in fields(Options) if field.name not in refused] == ["driver"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("on_listening", print),
        ("on_error", print),
        ("on_error", "raise"),
        ("workers", 0),
        ("queue_size", 1),
        ("heartbeat", None),
        ("heartbeat", 0.001),
        ("answer_timeout", 1),
        ("backoff", Backoff(0, 0)),
        ("name", ""),
        ("observer", Watching()),
    ],
    ids=str,
)
def test_a_value_at_the_limit_is_kept(option, value):
    assert getattr(Options(**{option: value}), option) is value


def test_the_options_are_the_keyword_arguments_of_the_listener_with_the_same_types_and_defaults():
    parameters = inspect.signature(Listener.__init__).parameters.values()
    keywords = [each for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]

    assert [(each.name, each.annotation, each.default) for each in keywords] == [
        (field.name, field.type, field.default) for field in fields(Options)
    ]


@pytest.mark.parametrize("option", [field.name for field in fields(Options)])
def test_an_option_cannot_be_changed(option):
    options = Options()

    with pytest.raises(FrozenInstanceError):
        setattr(options, option, None)


@pytest.mark.parametrize(("name", "title"), [(None, "pgnotify"), ("", "pgnotify"), ("cache", "cache")])
def test_without_a_name_the_title_is_the_librarys(name, title):
    assert Options(name=name).title == title
