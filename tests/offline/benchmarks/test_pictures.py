"""The pictures in the documentation have the measured numbers, and are legible on a phone and in the dark.

The drawing needs matplotlib, which only the session `quick_bench` has. Here the files are read.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.drawing import paper, performance
from benchmarks.drawing.ways import KINDS, MARKS, driver_name, is_drawn

ROOT = Path(__file__).parents[3]
IMAGES = ROOT / "docs" / "images"
BY_DRIVER = ["performance.svg", "performance-latency.svg"]
PHONE = 375 - 2 * 16  # the pixels beside the margins of a page

picture = pytest.mark.parametrize("name", performance.PICTURES)


@pytest.fixture(scope="module")
def measured():
    return results.read(ROOT / "benchmarks" / "published" / "performance.json")


def texts(name):
    return [
        "".join(each.itertext()).strip() for each in ET.parse(IMAGES / name).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_the_picture_of_the_speed_has_the_numbers_that_were_measured(measured):
    speeds = [
        results.number(measured.median("drain", results.DRAIN_CASES[0], way.name, "per_second") / 1000)
        for way in measured.ways
        if way.kind in KINDS and is_drawn(way, "handler")
    ]

    assert len(speeds) >= 4
    assert [speed for speed in speeds if speed not in texts("performance.svg")] == []


def test_the_picture_of_many_has_the_numbers_that_were_measured(measured):
    commits = [
        results.number(measured.median("handlers", case, results.handler("psycopg"), "commits_per_second"))
        for case in measured.cases("handlers")
    ]

    assert len(commits) == 4
    assert [each for each in commits if each not in texts("performance-many.svg")] == []


@pytest.mark.parametrize("name", BY_DRIVER)
def test_each_driver_and_each_mark_is_named(name, measured):
    drivers = {driver_name(way) for way in measured.ways if way.kind in KINDS}

    assert drivers | {mark.text for mark in MARKS.values()} <= {*texts(name)}
    assert any(str(measured.data["date"]) in each for each in texts(name))


def test_a_mark_is_told_without_its_colour():
    markers = [mark.marker for mark in MARKS.values()]

    assert len({*markers}) == len(markers)


@picture
def test_on_a_phone_every_letter_is_legible(name):
    svg = (IMAGES / name).read_text()
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])
    sizes = [float(size) * PHONE / width for size in re.findall(r"font-size: ([\d.]+)px", svg)]

    assert min(sizes) >= 8.4
    assert sorted(sizes)[len(sizes) // 2] >= 9.4


@picture
def test_every_colour_has_another_one_at_night(name):
    svg = (IMAGES / name).read_text()
    styles = " ".join(re.findall(r'style="([^"]*)"', svg))

    assert "@media (prefers-color-scheme: dark)" in svg
    assert {*re.findall(r"#[0-9a-f]{6}", styles)} - paper.AT_NIGHT.keys() - {"#000000"} == set()


def test_an_axis_with_powers_of_ten_says_that_it_is_logarithmic():
    said = [each for each in texts("performance-many.svg") if "logarithmic" in each]

    assert len(said) == 5  # one of the memory, two of the channels, two of the handlers
