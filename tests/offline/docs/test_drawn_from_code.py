"""What the documentation says is drawn from the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import results, tables
from benchmarks.drawing import states
from benchmarks.outbox import tables as outbox_tables
from benchmarks.outbox import targets as outbox_targets

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PUBLISHED = ROOT / "benchmarks" / "published"


@pytest.mark.parametrize("file", states.PICTURES)
def test_the_picture_of_the_states_is_that_of_the_table(file):
    drawn = states.PICTURES[file]()

    assert ">listening</text>" in drawn
    assert (DOCS / "images" / file).read_text() == drawn


def test_the_numbers_of_the_page_are_those_that_were_measured():
    measured = results.read(PUBLISHED / "performance.json")
    text = (DOCS / "why" / "performance.md").read_text()

    assert {*re.findall("<!-- bench:(.*?) -->", text)} == {*tables.by_name(measured)}
    assert tables.put_into(text, tables.by_name(measured)) == text


def test_the_numbers_were_all_measured_in_one_run_of_one_command():
    measured = results.read(PUBLISHED / "performance.json")

    assert measured.data["command"] == "make bench"
    assert [target.text for target in results.targets(measured) if target.met is None] == []


def test_the_numbers_of_the_outbox_are_those_that_were_measured():
    measured = results.read(PUBLISHED / "performance-outbox.json")
    text = (DOCS / "why" / "performance-outbox.md").read_text()

    assert tables.put_into(text, outbox_tables.by_name(measured)) == text
    assert [target.text for target in outbox_targets.targets(measured) if target.met is None] == []
