"""The doctor's statements: each names every schema, and none writes."""

from __future__ import annotations

import pytest

from pgnotify.cli.examination import catalog
from tests.helpers.unqualified import WITH_PGLAST, unqualified

STATEMENTS = {name: text for name, text in vars(catalog).items() if name.isupper() and not name.startswith("_")}


@WITH_PGLAST
@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_a_statement_names_every_schema(statement):
    assert unqualified(statement) == []


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_a_statement_only_reads(statement):
    assert statement.startswith("SELECT ")
