"""The asynchronous conformance class is itself tested: each broken backend must fail the test named after its fault."""

from __future__ import annotations

import pytest

from pgnotify.aio.loop import Loop
from pgnotify.aio.threaded import ThreadedBackend
from pgnotify.testing.async_conformance.cancelling import Cancelling
from pgnotify.testing.async_conformance.looping import Looping
from pgnotify.testing.conformance import running
from tests.kit.async_mutants import MUTANTS, SHARED, conformance_of, threaded

OWN_TESTS = [name for cls in (Cancelling, Looping) for name in vars(cls) if name.startswith("test_")]


@pytest.fixture(autouse=True)
def _nothing_stays(session):
    """End the connections of mutants that hang: the class leaves those open."""
    others = "pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    before = {pid for (pid,) in session.sql(f"SELECT pid FROM {others}")}
    yield
    for (pid,) in session.sql(f"SELECT pid FROM {others}"):
        if pid not in before:
            session.sql(f"SELECT pg_terminate_backend({pid})")


def failure_of(make_backend, test, patience):
    """The failure of the named test, or None."""
    result = running.result_of(conformance_of(make_backend, patience)(), test)
    return result.detail if result.outcome == running.FAILED else None


@pytest.mark.parametrize("mutant", [pytest.param(each, id=f"{each.__name__}-{each.caught_by}") for each in MUTANTS])
def test_a_mutant_is_caught(mutant, address):
    failure = failure_of(mutant, mutant.caught_by, patience=0.5)

    assert failure
    assert "it hangs" not in failure


@pytest.mark.parametrize("mutant", [pytest.param(each, id=f"{each.__name__}-{each.caught_by}") for each in SHARED])
def test_a_mutant_that_blocks_is_caught_through_the_loop(mutant, address):
    def make_backend(connection):
        return ThreadedBackend(mutant(connection), Loop())

    failure = failure_of(make_backend, mutant.caught_by, patience=0.5)

    assert failure
    assert "it hangs" not in failure


@pytest.mark.parametrize("test", [*OWN_TESTS, *(each.caught_by for each in SHARED)])
def test_what_changes_nothing_is_not(test, address):
    assert failure_of(threaded, test, patience=20) is None


def test_each_test_of_what_only_an_asynchronous_backend_promises_has_a_mutant():
    assert {each.caught_by for each in MUTANTS} == set(OWN_TESTS)
