"""Arbitrary interleavings of the documented loop with everything that may happen meanwhile, and a model beside it.

The rules are the world: the server, the user's callback, other threads, time. The model says: each
notification that was fetched is delivered once, in order, or is still queued, or was raised as a
`Stray`; the state agrees with the LISTENs that are in force; and the loop never waits while there
is something to do.
"""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import Future

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.handler.loop import Stray, handler_loop
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program import verbs
from pgnotify.program.commands import answering
from pgnotify.program.state import State
from pgnotify.program.watch import Watch
from tests.helpers.play import Clock

CHANNELS = ("jobs", "stop_jobs", "other")
COMMANDS = ("listen", "unlisten", "notify", "close", "stop")


class CallbackError(Exception):
    """What the user's callback raises."""


class SqlError(Exception):
    """What a driver raises for reasons of its own."""


class Loop(RuleBasedStateMachine):
    """One watch, the programs that run over it (a callback may call the handler again), and the model."""

    def __init__(self):
        super().__init__()
        self.event, self.stop_event, self.timeout = "jobs", "stop_jobs", None
        self.clock = Clock()
        self.watch = Watch(self.event, self.stop_event)
        self.stack: list[p.Program] = []
        """Programs that have been started and not ended, each within a callback of the one before."""
        self.actions: list[p.Action] = []
        """What each of these has asked for last."""
        self.answers: list[Future] = []
        # The server and the driver
        self.in_force: set[str] = set()
        self.driver: deque[Notification] = deque()
        self.alive, self.closed = True, False
        self.woken = False
        """Whether a byte is in the wake-up; a wait takes it out."""
        self.left_open = False
        """Whether a LISTEN or UNLISTEN has failed, so that one may be in force though the state is not listening."""
        # The model
        self.numbers = itertools.count()
        self.fetched: list[Notification] = []
        self.accounted: list[Notification] = []
        """Delivered or raised."""
        self.strays: list[Notification] = []
        self.last_news = self.clock.now
        """When the last notification was delivered, or the loop was called."""

    # The user

    @initialize(timeout=st.sampled_from([None, 0, 5.0]))
    def make(self, timeout):
        self.timeout = timeout

    @precondition(lambda self: len(self.stack) < 3 and self.may_call)
    @rule()
    def call_the_handler(self):
        if self.closed:
            return  # the front returns at once
        if self.stack:
            self.deliver_one()
        self.last_news = self.clock.now
        self.stack.append(handler_loop(self.watch, self, self.clock))
        self.actions.append(None)
        self.step(None)

    @property
    def may_call(self):
        return not self.stack or isinstance(self.action, p.Deliver)

    @precondition(lambda self: not self.stack)
    @rule(command=st.sampled_from(COMMANDS))
    def use_the_idle_handler(self, command):
        self.perform(command)

    @precondition(lambda self: self.stack and isinstance(self.action, p.Deliver))
    @rule(command=st.sampled_from(COMMANDS), raises=st.booleans())
    def a_callback_uses_the_handler(self, command, raises):
        self.deliver_one()
        self.perform(command)
        if raises:
            self.raise_from_callback()
        elif self.watch.interrupted or not self.action.at_most:
            self.step(None)

    @precondition(lambda self: self.stack and isinstance(self.action, p.Deliver))
    @rule()
    def a_callback_raises(self):
        self.deliver_one()
        self.raise_from_callback()

    @precondition(lambda self: self.stack and isinstance(self.action, p.ReportTimeout))
    @rule(raises=st.booleans())
    def the_timeout_is_reported(self, raises):
        assert self.watch.state is State.IDLE
        assert self.clock.now == self.last_news + self.timeout
        if raises:
            self.raise_from_callback()
        else:
            self.step(None)

    @rule(timeout=st.sampled_from([None, 0, 5.0]))
    def set_the_timeout(self, timeout):
        if not self.stack or isinstance(self.action, p.Deliver):
            self.timeout = timeout

    # Elsewhere: other threads and signal handlers

    @precondition(lambda self: self.stack)
    @rule(command=st.sampled_from(COMMANDS))
    def somebody_asks(self, command):
        if self.closed:
            return  # refused by the front
        if command == "stop":
            self.watch.request_stop()
        else:
            self.answers.append(Future())
            self.watch.request(answering(self.program(command), self.answers[-1]))
        self.woken = True

    # The server

    @precondition(lambda self: self.in_force)
    @rule(channels=st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=4))
    def notifications_arrive(self, channels):
        for channel in channels:
            if channel in self.in_force or channel == "other":
                self.driver.append(Notification(channel, str(next(self.numbers)), 7))

    @precondition(lambda self: self.alive)
    @rule()
    def the_server_goes_away(self):
        self.alive = False
        self.in_force.clear()

    @precondition(lambda self: not self.stack and self.watch.state is State.LOST)
    @rule()
    def the_connection_is_reopened(self):
        """Some drivers can do this under the same object."""
        self.alive = True

    # What the runner does

    @precondition(lambda self: self.stack and isinstance(self.action, p.Deliver))
    @rule(up_to=st.integers(1, 5))
    def deliver(self, up_to):
        for _ in range(min(self.action.at_most, up_to)):
            self.deliver_one()
            if self.watch.interrupted or not self.action.at_most:
                return self.step(None)
        if not self.action.at_most:
            self.step(None)
        return None

    @precondition(lambda self: self.stack and isinstance(self.action, p.Wait))
    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0]))
    def time_passes(self, seconds):
        """The wait is ended by its time-out, or by what is there, or is a false alarm."""
        if self.action.timeout is not None:
            seconds = min(seconds, self.action.timeout)
        self.clock.now += seconds
        self.woken = False
        self.succeed()

    @precondition(lambda self: self.stack and isinstance(self.action, p.Call))
    @rule()
    def succeed(self):
        if isinstance(self.action, p.Wait):
            self.woken = False
        try:
            outcome = self.call(self.action)
        except ConnectionLost as error:
            self.step(error)
        else:
            self.step(outcome)

    @precondition(lambda self: self.stack and isinstance(self.action, p.Call) and self.alive)
    @rule(error=st.sampled_from([TransactionError, SqlError, KeyboardInterrupt]))
    def fail(self, error):
        """Fail without an effect."""
        if not isinstance(self.action, p.Close):
            self.left_open |= isinstance(self.action, p.Listen | p.Unlisten)
            self.step(error())

    @precondition(lambda self: self.stack and isinstance(self.action, p.Listen | p.Unlisten) and self.alive)
    @rule()
    def be_interrupted_after_the_effect(self):
        """As by Ctrl-C while the driver is in C."""
        self.left_open = True
        self.call(self.action)
        self.step(KeyboardInterrupt())

    def call(self, action):
        """Do what the backend does."""
        if isinstance(action, p.Close):
            self.closed, self.alive = True, False
            self.in_force.clear()
        elif isinstance(action, p.Fetch) and self.driver:
            batch = [self.driver.popleft() for _ in range(min(3, len(self.driver)))]
            self.fetched += batch
            action.queue.extend(batch)
        elif not self.alive:
            raise ConnectionLost("gone")
        elif isinstance(action, p.Listen):
            self.in_force.add(action.channel)
        elif isinstance(action, p.Unlisten):
            self.in_force.discard(action.channel)
        return

    # Helpers

    @property
    def action(self):
        return self.actions[-1]

    def program(self, command):
        if command == "notify":
            return verbs.notify(self.watch, "jobs", "")
        return {"listen": verbs.listen, "unlisten": verbs.unlisten, "close": verbs.close}[command](self.watch)

    def perform(self, command):
        """Run a command to its end in the thread of the loop, as the front does; its error is the user's."""
        if command == "stop":
            return self.watch.request_stop()
        if self.closed and command != "unlisten":
            return None
        self.watch.interrupt()
        program, outcome = self.program(command), None
        try:
            while True:
                action = program.throw(outcome) if isinstance(outcome, Exception) else program.send(outcome)
                try:
                    outcome = self.call(action)
                except ConnectionLost as error:
                    outcome = error
        except (StopIteration, ConnectionLost):
            return None

    def deliver_one(self):
        """Pop a notification, as the front does, and have it counted."""
        assert self.action.at_most <= len(self.watch.queue)
        notification = self.watch.queue.popleft()
        assert notification.channel in (self.event, self.stop_event)
        if notification.channel == self.stop_event:
            assert self.watch.state is not State.LISTENING, "a stop is unlistened before it is delivered"
        self.accounted.append(notification)
        self.actions[-1] = p.Deliver(self.action.at_most - 1)
        self.last_news = self.clock.now

    def raise_from_callback(self):
        """The error passes through every loop that the callback was called in."""
        while self.stack:
            self.actions.pop()
            self.stack.pop().close()
        self.front_returns()

    def step(self, outcome):
        program = self.stack[-1]
        try:
            self.actions[-1] = program.throw(outcome) if isinstance(outcome, BaseException) else program.send(outcome)
        except StopIteration:
            self.program_ends()
        except Stray as stray:
            self.strays.append(stray.notification)
            self.accounted.append(stray.notification)
            self.raise_from_callback_of_the_ended()
        except (ConnectionLost, TransactionError, SqlError, KeyboardInterrupt):
            self.raise_from_callback_of_the_ended()

    def program_ends(self):
        self.stack.pop()
        self.actions.pop()
        if self.stack:  # it was called within a callback, which goes on
            self.last_news = self.clock.now
            self.watch.interrupt()
            self.step(None)
        else:
            self.front_returns()

    def raise_from_callback_of_the_ended(self):
        self.stack.pop()
        self.actions.pop()
        self.raise_from_callback()

    def front_returns(self):
        """Run what was asked for in the last moment, as the front does."""
        while self.watch.commands:
            program, outcome = self.watch.commands.popleft(), None
            try:
                while True:
                    action = program.throw(outcome) if isinstance(outcome, Exception) else program.send(outcome)
                    try:
                        outcome = self.call(action)
                    except ConnectionLost as error:
                        outcome = error
            except (StopIteration, ConnectionLost):
                continue
        assert all(answer.done() for answer in self.answers)

    # What always holds

    @invariant()
    def nothing_is_lost_doubled_or_out_of_order(self):
        assert self.accounted + list(self.watch.queue) == self.fetched

    @invariant()
    def only_a_third_channel_is_raised(self):
        assert {notification.channel for notification in self.strays} <= {"other"}

    @invariant()
    def the_state_agrees_with_the_server(self):
        if not self.alive or (self.stack and isinstance(self.action, p.Listen | p.Unlisten | p.Close)):
            return
        if self.watch.state is State.LISTENING:
            assert self.in_force == set(self.watch.channels)
        elif self.left_open:
            assert self.in_force <= set(self.watch.in_force), "nobody would ever unlisten it"
            self.left_open = bool(self.watch.in_force)
        else:
            assert self.in_force == set()

    @invariant()
    def it_never_waits_while_there_is_something_to_do(self):
        if not self.stack or not isinstance(self.action, p.Wait):
            return
        assert self.watch.state is State.LISTENING
        assert not self.watch.queue
        assert not self.watch.interrupted or self.woken, "a lost wake-up"
        assert self.timeout != 0
        if self.timeout is not None:
            assert self.clock.now + self.action.timeout == self.last_news + self.timeout

    @invariant()
    def closed_is_closed(self):
        if self.closed:
            assert self.watch.state is State.CLOSED

    def teardown(self):
        for program in reversed(self.stack):
            program.close()


TestLoop = Loop.TestCase
TestLoop.settings = settings(
    max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
