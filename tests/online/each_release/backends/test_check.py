"""pgnotify.check on each kind of connection; it knows only a function that returns one."""

from __future__ import annotations

import pgnotify
from pgnotify.testing.conformance import running

# One test of each subject; those that depend most on the driver's own statements.
FEW = (
    "test_a_name_may_have_anything_in_it_that_a_name_can",
    "test_a_payload_of_7999_bytes_is_not_cut",
    "test_in_a_transaction_of_the_users_it_is_sent_when_they_commit",
    "test_a_refusal_does_not_roll_back_the_users_transaction",
    "test_a_termination_ends_the_wait_and_is_a_loss_for_good",
)


def test_a_connection_of_which_nothing_is_told_is_checked(kind, address, monkeypatch):
    monkeypatch.setattr(running, "tests_of", lambda _: FEW)
    table = []

    assert pgnotify.check(lambda: kind.connect(address), tell=table.append), table

    assert table[-1].startswith(f"{len(FEW)} ok, 0 FAILED, 0 skipped, in ")
