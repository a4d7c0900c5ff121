"""Which errors come from a signal handler, and so are the answer of nobody."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from pgnotify.program.interruption import is_interruption


class TimeLimit(TimeoutError):
    """As task queues have one: it looks like an error of the network."""


def exceed(*_):
    raise TimeLimit


def exceed_deeper(*_):
    exceed()


class Limits:
    def exceed(self, number, frame):
        raise TimeLimit

    def __call__(self, number, frame):
        raise TimeLimit


@pytest.fixture
def error_of():
    """A function that returns the error that a signal handler raises."""
    before = signal.getsignal(signal.SIGUSR1)

    def raised(handler):
        signal.signal(signal.SIGUSR1, handler)
        try:
            signal.raise_signal(signal.SIGUSR1)
        except BaseException as error:
            return error
        raise AssertionError("nothing was raised")

    yield raised
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=repr)
def test_an_error_beyond_exception_is_one(error):
    assert is_interruption(error)


@pytest.mark.parametrize(
    "handler",
    [exceed, exceed_deeper, partial(exceed, 1), Limits().exceed, Limits()],
    ids=["function", "deeper", "partial", "method", "object"],
)
def test_what_a_signal_handler_raises_is_one_whatever_its_class(error_of, handler):
    assert is_interruption(error_of(handler))


def test_the_same_error_is_none_if_no_signal_handler_raised_it():
    with pytest.raises(TimeLimit) as raised:
        exceed()

    assert not is_interruption(raised.value)


def test_an_error_that_was_never_raised_is_none():
    assert not is_interruption(ValueError())


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, print])
def test_handlers_that_are_no_python_code_do_not_matter(handler):
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert not is_interruption(ValueError())
    finally:
        signal.signal(signal.SIGUSR1, before)
