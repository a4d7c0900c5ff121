"""The conformance class is itself tested: each broken backend must fail the test that is named after its fault."""

from __future__ import annotations

import pytest

from pgnotify.testing.conformance import running
from tests.kit.mutants import MUTANTS, Mutant, conformance_of


def failure_of(make_backend, test, patience):
    """The failure of the named test, or None."""
    result = running.result_of(conformance_of(make_backend, patience)(), test)
    return result.detail if result.outcome == running.FAILED else None


@pytest.mark.parametrize("mutant", [pytest.param(each, id=f"{each.__name__}-{each.caught_by}") for each in MUTANTS])
def test_a_mutant_is_caught(mutant, address):
    failures = (failure_of(mutant, mutant.caught_by, patience=0.5) for _ in range(mutant.tries))

    failure = next(filter(None, failures), None)
    assert failure
    assert "it hangs" not in failure


@pytest.mark.parametrize("test", sorted({each.caught_by for each in MUTANTS}))
def test_what_changes_nothing_is_not(test, address):
    assert failure_of(Mutant, test, patience=20) is None
