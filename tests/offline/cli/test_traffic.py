"""What arrives on each channel, in numbers."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from pgnotify.cli.top.traffic import Traffic
from pgnotify.listener.gap import Gap, Listening, Reason
from pgnotify.notification import Notification


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def traffic(clock):
    return Traffic(["a", "b"], clock)


def receive(traffic, channel, *payloads):
    for payload in payloads:
        traffic.receive(Notification(channel, payload, 1))


def test_sizes_are_in_bytes(traffic):
    receive(traffic, "a", "", "日", "x")

    a, b = traffic.channels.values()
    assert (a.notifications, a.bytes, a.largest) == (3, 4, 3)
    assert a.mean == pytest.approx(4 / 3)
    assert (b.notifications, b.mean, b.latest_at) == (0, 0.0, None)


def test_the_rate_is_that_between_the_latest_two_ticks(traffic, clock):
    receive(traffic, "a", *"1234")
    clock.now += 2
    traffic.tick()
    assert [channel.rate for channel in traffic.channels.values()] == [2.0, 0.0]

    receive(traffic, "b", "1")
    clock.now += 0.5
    traffic.tick()
    assert [channel.rate for channel in traffic.channels.values()] == [0.0, 2.0]


def test_a_gap_counts_for_its_channels(traffic):
    moment = datetime.now(timezone.utc)
    gap = Gap(Reason.CONNECTION_LOST, moment, moment, ("b",))
    traffic.listening(Listening(("a", "b"), None, None))
    traffic.listening(Listening(("b",), None, gap))

    assert [channel.gaps for channel in traffic.channels.values()] == [0, 1]
    assert traffic.latest_gap is gap


def test_a_wait_ends_with_the_reason(traffic):
    assert traffic.wait(0.0001)
    traffic.end(None)
    assert not traffic.wait(60)
    traffic.end(BrokenPipeError())
    with pytest.raises(BrokenPipeError):
        traffic.wait(60)
