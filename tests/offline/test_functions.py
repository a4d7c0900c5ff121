"""Functions of the user's: one whose call runs nothing is refused where it is passed, and not where it is called."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import types
import warnings
from unittest import mock

import pytest

from pgnotify import Listener, NotificationHandler, Observer, UnknownBackend, check, register, wrap
from pgnotify.limits import name_of
from pgnotify.testing import MemoryServer, Notifications


async def asynchronous(*arguments):
    """An async function."""


def generator(*arguments):
    yield arguments


async def async_generator(*arguments):
    yield arguments


@types.coroutine
def generator_based(*arguments):
    yield arguments


def wrapped_for_await(*arguments):
    """A function that is called like an async one, and is marked so."""
    return asynchronous(*arguments)


if hasattr(inspect, "markcoroutinefunction"):  # since Python 3.12
    inspect.markcoroutinefunction(wrapped_for_await)
else:
    wrapped_for_await._is_coroutine = asyncio.coroutines._is_coroutine


class Callback:
    """Callbacks in the other forms that a class has."""

    async def method(self, *arguments):
        """A method."""

    @classmethod
    async def of_class(cls, *arguments):
        """A method of the class."""

    @staticmethod
    async def static(*arguments):
        """A function in the class."""


class Called:
    async def __call__(self, *arguments):
        """What a call of the object runs."""


class CalledStatically:
    @staticmethod
    async def __call__(*arguments):
        """What a call of the object runs."""


class CalledGenerator:
    def __call__(self, *arguments):
        yield arguments


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Python 3.14 warns where mock still uses asyncio.iscoroutinefunction()
    SPECIFIED = mock.create_autospec(asynchronous)

RUN_NOTHING = {
    "async function": (asynchronous, "a coroutine"),
    "lambda with yield": (lambda *arguments: (yield), "a generator"),
    "generator function": (generator, "a generator"),
    "async generator function": (async_generator, "an async generator"),
    "generator-based": (generator_based, "a generator"),
    "marked": (wrapped_for_await, "a coroutine"),
    "method": (Callback().method, "a coroutine"),
    "class method": (Callback.of_class, "a coroutine"),
    "static method": (Callback.static, "a coroutine"),
    "staticmethod object": (staticmethod(asynchronous), "a coroutine"),
    "partial": (functools.partial(functools.partial(asynchronous, 1), 2), "a coroutine"),
    "partial of a method": (functools.partial(Callback().method, 1), "a coroutine"),
    "object": (Called(), "a coroutine"),
    "object, statically": (CalledStatically(), "a coroutine"),
    "object, generator": (CalledGenerator(), "a generator"),
    "partial of an object": (functools.partial(Called(), 1), "a coroutine"),
    "method of an object": (types.MethodType(Called(), 1), "a coroutine"),
    "AsyncMock": (mock.AsyncMock(), "a coroutine"),
    "specified mock": (SPECIFIED, "a coroutine"),
}


@functools.wraps(asynchronous)
def runs_it(*arguments):
    return asyncio.run(asynchronous(*arguments))


RUN = {
    "function": lambda *arguments: None,
    "built-in": print,
    "class": Callback,
    "class of such objects": Called,
    "partial": functools.partial(print, 1),
    "wrapper that runs it": runs_it,
    "cached": functools.cache(print),
    "Mock": mock.Mock(),
    "MagicMock": mock.MagicMock(),
    "method of a list": [].append,
}

WHERE = {
    "handler": (lambda function, server: NotificationHandler(server.connect(), "jobs", function), "callback"),
    "connection": (lambda function, server: wrap(server.connect()).notification_handler("jobs", function), "callback"),
    "handler, later": (
        lambda function, server: setattr(NotificationHandler(server.connect(), "jobs", print), "callback", function),
        "callback",
    ),
    "subscribe": (lambda function, server: Listener(server.connect).subscribe("jobs", function), "callback"),
    "on_listening": (lambda function, server: Listener(server.connect, on_listening=function), "on_listening"),
    "on_error": (lambda function, server: Listener(server.connect, on_error=function), "on_error"),
    "source": (lambda function, server: Listener(function), "source"),
    "observer": (lambda function, server: Listener(server.connect, observer=Watching(function)), "observer.received"),
    "register": (lambda function, server: register("driver_of_nobody", function), "factory"),
    "expect": (
        lambda function, server: Notifications(server.connect()).expect_none(None, function),
        "payload",
    ),
}

# The class that takes a coroutine function in the same place.
AWAITED_BY = {
    **dict.fromkeys(("handler", "connection", "handler, later"), "AsyncNotificationHandler"),
    **dict.fromkeys(("subscribe", "on_listening", "on_error", "source"), "AsyncListener"),
}


class Watching(Observer):
    """An observer with one method of the test's."""

    def __init__(self, received):
        self.received = received


@pytest.fixture
def server():
    with MemoryServer() as server:
        yield server


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("function", RUN_NOTHING)
def test_a_function_whose_call_runs_nothing_is_refused_at_once(server, function, where):
    (value, makes), (pass_in, what) = RUN_NOTHING[function], WHERE[where]

    with pytest.raises(TypeError) as refusal:
        pass_in(value, server)

    hint = f"; use pgnotify.{AWAITED_BY[where]}, which awaits it" if where in AWAITED_BY else ""
    assert str(refusal.value) == (
        f"{what} must be a function that runs when it is called, not {name_of(value)}: "
        f"a call only makes {makes}, which nobody would run" + (hint if makes == "a coroutine" else "")
    )


class Secretive:
    """An object whose repr() has a password."""

    def __repr__(self):
        return "Secretive(password='opensesame')"

    async def __call__(self):
        pass

    async def method(self):
        pass


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (functools.partial(asynchronous, "password=opensesame"), "asynchronous()"),
        (functools.partial(functools.partial(Secretive()), 1), f"{__name__}.Secretive"),
        (Secretive().method, "method()"),
        (Secretive(), f"{__name__}.Secretive"),
    ],
)
@pytest.mark.parametrize("where", WHERE)
def test_a_refusal_names_the_function_and_shows_no_argument_of_it(server, function, named, where):
    with pytest.raises(TypeError, match=f"not {re.escape(named)}: a call only makes a coroutine") as refusal:
        WHERE[where][0](function, server)

    assert "opensesame" not in str(refusal.value)


@pytest.mark.parametrize("where", [where for where in WHERE if where != "expect"])  # that wants a listening collector
@pytest.mark.parametrize("function", RUN)
def test_a_function_that_runs_is_accepted(server, function, where, monkeypatch):
    monkeypatch.setattr("pgnotify.registry._registered", {})

    WHERE[where][0](RUN[function], server)


def test_a_handler_keeps_its_callback_when_a_new_one_is_refused(server):
    handler = NotificationHandler(server.connect(), "jobs", print)

    with pytest.raises(TypeError):
        handler.callback = asynchronous

    assert handler.callback is print


@pytest.mark.parametrize("factory", [generator, async_generator])
def test_the_factory_of_a_check_must_not_be_a_generator_function(factory):
    with pytest.raises(TypeError, match=r"^connection_factory must be a function that runs when"):
        check(factory)


def test_the_factory_of_a_check_that_is_async_makes_asynchronous_connections():
    with pytest.raises(UnknownBackend, match=r"^no asynchronous backend fits a builtins\.NoneType"):
        check(asynchronous)
