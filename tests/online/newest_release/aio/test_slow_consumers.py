"""Slow consumers on an event loop: reading goes on, memory is bounded, and each has gaps of its own."""

from __future__ import annotations

import asyncio

import pgnotify
from tests.helpers.sending import send_numbers

COUNT, QUEUE = 5_000, 100


def test_a_slow_callback_and_a_stuck_stream_do_not_stop_the_reading(driver, address, session, channel):
    """5 MB are sent, more than the system's buffers hold: if the listener did not read, the server's queue would."""

    async def main():
        started, going_on, slow, events = asyncio.Event(), asyncio.Event(), [], []

        async def callback(notification):
            started.set()
            await going_on.wait()
            slow.append(number_of(notification))

        options = {"driver": driver, "queue_size": QUEUE, "on_listening": events.append}
        async with pgnotify.AsyncListener(address.dsn, **options) as listener:
            quick = []
            listener.subscribe(channel, lambda notification: quick.append(number_of(notification)))
            await listener.subscribe(channel, callback).wait_listening()
            async with listener.subscription(channel) as stuck:
                await asyncio.to_thread(send_numbers, session, channel, COUNT, 1000)
                session.notify(f"{channel} end")
                await started.wait()
                while len(quick) < COUNT:
                    await asyncio.sleep(0.01)
                assert quick == list(range(1, COUNT + 1))
                assert listener.status().queued <= 2 * QUEUE + 1  # the rest was dropped, and is in no memory of ours
                assert await queue_usage(session) == 0

                items = [await anext(stuck) for _ in range(QUEUE + 1)]
                assert [number_of(each) for each in items[:-1]] == list(range(1, QUEUE + 1))
                assert items[-1].dropped == COUNT - QUEUE
                going_on.set()
                while not any(event.gap for event in events):
                    await asyncio.sleep(0.01)
                assert slow == list(range(1, len(slow) + 1))
                (gap,) = [event.gap for event in events if event.gap]
                assert len(slow) + gap.dropped == COUNT
                assert QUEUE <= len(slow) <= QUEUE + 1  # and the one that was called

    asyncio.run(main())


async def queue_usage(session):
    """Return how full the server's queue is, once it has cleared it, which it does from time to time."""
    return float(session.sql("SELECT pg_catalog.pg_notification_queue_usage()")[0][0])


def number_of(notification):
    return int(notification.payload.strip("."))
