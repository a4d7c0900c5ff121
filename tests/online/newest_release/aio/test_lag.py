"""A link that swallows everything never holds up the event loop, whatever is asked on it."""

from __future__ import annotations

import asyncio

from tests.helpers.lag import ticks_under_a_black_hole


def test_no_call_holds_up_the_loop(driver, address, proxy, session):
    free, ticks, worst = asyncio.run(ticks_under_a_black_hole(driver, proxy, address, session.notify))
    print(f"{driver}: {ticks} turns, {free} on a free loop; worst lag {worst * 1000:.1f} ms")  # noqa: T201  # the figure
    assert ticks > free / 4, f"the loop was held up for {worst:.3f} s"
