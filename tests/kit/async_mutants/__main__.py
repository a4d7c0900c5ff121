"""Prints which tests fail on which mutant."""

from __future__ import annotations

from pgnotify.testing.conformance import running
from tests.kit.async_mutants import MUTANTS, conformance_of, threaded


def _print_all() -> None:
    for mutant in (threaded, *MUTANTS):
        failed = [
            result for result in running.results_of(conformance_of(mutant, 1.0)) if result.outcome == running.FAILED
        ]
        print(f"{mutant.__name__}: {len(failed)} tests fail")  # noqa: T201
        for result in failed:
            print(f"    {result.name}: {result.detail.splitlines()[0][:100]}")  # noqa: T201


if __name__ == "__main__":
    _print_all()
