"""Prints which tests fail on which mutant."""

from __future__ import annotations

import pgnotify
from pgnotify.testing.conformance import running
from tests.kit.mutants import MUTANTS, conformance_of


def _print_all() -> None:
    for mutant in (pgnotify.wrap, *MUTANTS):
        make = mutant if isinstance(mutant, type) else lambda connection: pgnotify.wrap(connection).backend
        failed = [
            result for result in running.results_of(conformance_of(make, 1.0)) if result.outcome == running.FAILED
        ]
        print(f"{mutant.__name__}: {len(failed)} tests fail")  # noqa: T201
        for result in failed:
            print(f"    {result.name}: {result.detail.splitlines()[0][:100]}")  # noqa: T201


if __name__ == "__main__":
    _print_all()
