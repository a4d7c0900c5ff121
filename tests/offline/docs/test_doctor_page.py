"""The page on the doctor has a row for each finding, state and question."""

from __future__ import annotations

import re
from pathlib import Path

from pgnotify.cli.findings import FINDINGS, State

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "doctor.md").read_text()


def rows(columns):
    """Return the cells of the rows with so many columns, without heads."""
    found = re.findall(rf"^\|((?:[^|\n]+\|){{{columns}}})$", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in row.rstrip("|").split("|")] for row in found]


def test_there_is_a_row_for_each_finding_with_its_question_and_a_remedy():
    assert [(name, question) for name, question, remedy in rows(3)[2:] if remedy] == [
        (finding.name, type(finding).__doc__.splitlines()[0]) for finding in FINDINGS
    ]


def test_there_is_a_row_for_each_state():
    names = [name for name, _ in rows(2)]

    assert names[names.index("ok") :][: len(State)] == [str(state) for state in State]
