"""Nothing is lost or doubled when the server crashes, although transaction ids come again; see `tests/soak`."""

from __future__ import annotations

import pytest

from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from tests.soak.crashes import SETTINGS, Crashes
from tests.soak.promotions import promote_one

pytestmark = pytest.mark.drivers("psycopg")


def test_kill_9_of_the_server_and_of_one_backend_loses_and_doubles_nothing():
    try:
        started = TemporaryPostgreSQL(settings=SETTINGS)
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with started as server:
        counts = Crashes(server, seed=1).run(lambda crashes: crashes >= 5)

    assert counts.holds, counts
    assert counts.ids_again, counts
    assert counts.committed, counts


def test_a_reader_of_the_old_primary_that_comes_late_has_no_effect_twice():
    try:
        promote_one(seed=1)
    except NoPostgreSQL as error:
        pytest.skip(str(error))
