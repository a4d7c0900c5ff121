"""A link that swallows everything never holds up the event loop, with a native driver."""

from __future__ import annotations

import pytest

from tests.helpers.lag import ticks_under_a_black_hole


@pytest.mark.parametrize("name", ["asyncpg", "psycopg_async"])
async def test_no_call_holds_up_the_loop(name, address, proxy, session):
    pytest.importorskip(name.removesuffix("_async"))
    free, ticks, worst = await ticks_under_a_black_hole(name, proxy, address, session.notify)
    print(f"{name}: {ticks} turns, {free} on a free loop; worst lag {worst * 1000:.1f} ms")  # noqa: T201  # the figure
    assert ticks > free / 4, f"the loop was held up for {worst:.3f} s"
