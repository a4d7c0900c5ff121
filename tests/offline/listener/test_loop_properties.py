"""Arbitrary faults in the listener's loop, and a model beside it: nothing vanishes outside of a gap.

The rules are the world: senders, the server, the network, the user. The model says: what was sent to a channel of
which the user has been told that it is listened to is delivered once and in order, or lies in a gap that is announced.
"""

from __future__ import annotations

import itertools
from collections import deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pgnotify.errors import ConnectionLost, Unanswered
from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import utc
from pgnotify.listener.loop import listener_loop
from pgnotify.notification import Notification
from pgnotify.program import actions as p
from pgnotify.program.state import State
from pgnotify.protocol import Health
from tests.helpers.play_listener import EPOCH, OPENED, Lasting, Passing

CHANNELS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch):
    for module in ("protocol", "listener.loop", "listener.channels"):
        monkeypatch.setattr(f"pgnotify.{module}.MOST_CHANNELS", 2)


class World(RuleBasedStateMachine):
    """One loop, its server, and who sends."""

    def __init__(self):
        super().__init__()
        self.lasting = Lasting("a", "b")
        self.watch, self.clock = self.lasting.watch, self.lasting.clock
        # The server and the driver
        self.alive = False
        self.in_force: set[str] = set()
        self.driver: deque[Notification] = deque()
        self.at_most = len(CHANNELS)
        """How many channels the backend can listen to or unlisten in one round trip."""
        # The model
        self.numbers = itertools.count()
        self.fetched: list[Notification] = []
        self.told: set[str] = set()
        """The channels that the user takes for listened to."""
        self.due: dict[str, tuple[str, float, int]] = {}
        """What is to be delivered or lies in a gap: channel and moment of each payload, and the clock's setting."""
        self.gaps = []
        self.program = listener_loop(self.watch, self.lasting)
        self.action = self.program.send(None)

    # Senders and faults

    @rule(channel=st.sampled_from(CHANNELS), later=st.sampled_from([0.0, 1.0]))
    def somebody_sends(self, channel, later):
        self.clock.now += later
        payload = str(next(self.numbers))
        if channel in self.told:
            moment = EPOCH + self.lasting.set_by + self.clock.now
            self.due[payload] = (channel, moment, self.lasting.setting)
        if self.alive and channel in self.in_force:
            self.driver.append(Notification(channel, payload, 7))
        self.clock.now += later

    @rule(notices=st.booleans())
    def the_connection_ends(self, notices):
        self.alive = False
        if not notices:
            self.driver.clear()  # a reset: what is in the socket is gone

    @rule(channel=st.sampled_from(CHANNELS))
    def the_server_forgets(self, channel):
        self.in_force.discard(channel)

    @rule(channels=st.sets(st.sampled_from(CHANNELS)))
    def the_user_wants(self, channels):
        for channel in self.told - channels:
            self.told.discard(channel)
            self.due = {payload: what for payload, what in self.due.items() if what[0] != channel}
        self.lasting.want(*sorted(channels))

    @rule(at_most=st.integers(1, len(CHANNELS)))
    def the_backend_can_do(self, at_most):
        self.at_most = at_most

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(seconds=st.sampled_from([-7200.0, -1.0, 1.0, 3600.0]))
    def somebody_sets_the_clock(self, seconds):
        self.lasting.set_clock(seconds)

    # The runner

    @rule(steps=st.integers(1, 8))
    def go_on(self, steps):
        for _ in range(steps):
            self.succeed()

    @precondition(lambda self: not isinstance(self.action, p.Deliver | p.Disconnect))
    @rule(error=st.sampled_from([Passing, ConnectionLost, Unanswered]))
    def fail(self, error):
        if isinstance(self.action, p.Tell):
            self.step(isinstance(self.action.event, ListenInForce) and self.take_in(self.action.event, ok=False))
            return
        if isinstance(error, ConnectionLost):
            self.alive = False
        self.step(error())

    def succeed(self):
        try:
            outcome = self.call(self.action)
        except ConnectionLost as error:
            outcome = error
        self.step(outcome)

    def call(self, action):
        match action:
            case p.Deliver(at_most):
                return self.lasting.deliver(at_most)
            case p.Tell(ListenInForce() as news):
                return self.take_in(news, ok=True)
            case p.Tell():
                return None
            case p.Connect():
                if not self.alive:
                    self.alive, self.in_force, self.driver = True, set(), deque()
                return OPENED
            case p.Disconnect():
                self.alive = False
                self.driver.clear()
                return None
            case p.Wait(timeout):
                self.clock.now += min(timeout, 5.0)
                return None
            case p.Fetch() if self.driver:
                batch = [self.driver.popleft() for _ in range(min(2, len(self.driver)))]
                self.fetched += batch
                action.queue.extend(batch)
                return None
        if not self.alive:
            raise ConnectionLost("gone")
        match action:
            case p.AskHealth():
                return Health(False, 0.0, 42, frozenset(self.in_force))
            case p.ListenMany(channels):
                self.in_force.update(channels[: self.at_most])
                return channels[self.at_most :]
            case p.UnlistenMany(channels):
                self.in_force.difference_update(channels[: self.at_most])
                return channels[self.at_most :]
        return None

    def take_in(self, news, ok):
        if ok:
            self.told.update(channel for channel in news.channels if channel in self.watch.wanted.channels)
            self.gaps.append(news.gap)
        return ok

    def step(self, outcome):
        self.action = self.program.throw(outcome) if isinstance(outcome, Exception) else self.program.send(outcome)

    # What always holds

    @invariant()
    def what_was_fetched_is_delivered_once_and_in_order(self):
        assert self.lasting.got + list(self.watch.queue) == self.fetched

    @invariant()
    def it_never_waits_while_there_is_something_to_do(self):
        if isinstance(self.action, p.Wait):
            assert not self.watch.queue
            assert self.watch.to_announce is None

    def teardown(self):
        """Let the world be well for a minute, and see what has become of all."""
        well_since = self.clock.now
        for _ in range(400):
            self.clock.now += 0.5
            self.succeed()
            if isinstance(self.action, p.Wait) and self.is_settled() and self.clock.now > well_since + 120:
                break
        else:
            raise AssertionError(f"it does not come to rest, but asks for {self.action}")
        delivered = {notification.payload for notification in self.lasting.got}
        for payload, (channel, moment, setting) in self.due.items():
            if payload not in delivered and setting in self.lasting.settings_read:
                assert self.lies_in_a_gap(channel, moment), f"{payload} on {channel} has vanished"
        for gap in filter(None, self.gaps):
            assert gap.lost_at <= gap.restored_at
        self.program.close()

    def is_settled(self):
        watch = self.watch
        return watch.state is State.LISTENING and set(watch.wanted.channels) == self.in_force and not self.driver

    def lies_in_a_gap(self, channel, moment):
        return any(
            gap is not None and channel in gap.channels and gap.lost_at <= utc(moment) <= gap.restored_at
            for gap in self.gaps
        )


TestWorld = World.TestCase
TestWorld.settings = settings(
    max_examples=300, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
