"""What the benchmarks say about what they measured; the measuring itself is not tested here."""

from __future__ import annotations

import math

import pytest

from benchmarks import results as file
from benchmarks import tables
from benchmarks.results import BY_HAND, DRAIN_CASES, GROUPS, LIMIT, OWN_WAY, PENDING, Results, handler, number, targets
from benchmarks.ways import WAYS

FIRST = DRAIN_CASES[0]
LISTED = (
    ("handler, psycopg", "ours", "psycopg"),
    ("fetch, psycopg", "ours", "psycopg"),
    ("handler, pg", "ours", "pygresql"),
    ("handler, pgdb", "ours", "pygresql"),
    ("handler, django", "ours", "wrappers"),
    ("pgconn loop, psycopg", "by hand", "psycopg"),
    ("notifies(), psycopg", "own way", "psycopg"),
    ("PyGreSQL's handler, pg", "own way", "pygresql"),
    ("C, libpq", "limit", "libpq"),
)
PAGE = "# Speed\n\n<!-- bench:short -->\nold\n<!-- /bench -->\n\nMore.\n"


def canned(*runs, skipped=()):
    """Return results of these runs: measure, case, way, and a list of the rounds for each value."""
    found = Results(
        {
            "date": "2026-11-22",
            "command": "make bench",
            "machine": {"processor": "AMD EPYC", "cores": 2, "system": "Linux x86_64"},
            "versions": {"Python": "3.11.7", "PostgreSQL": "18.6", "pgnotify": "0.3"},
            "rounds": 3,
            "sizes": {"drain": 100_000},
            "skipped": list(skipped),
            "ways": [
                {"name": name, "group": group, "driver": driver, "connection": name.rpartition(", ")[2]}
                for name, group, driver in LISTED
            ],
            "runs": [],
        }
    )
    for measure, case, way, rounds in runs:
        for values in zip(*rounds.values(), strict=True):
            found.add(measure, case, way, dict(zip(rounds, values, strict=True)))
    return found


def drain(way, *rates, case=FIRST):
    return ("drain", case, way, {"per_second": rates})


def memory(way, *megabytes):
    return ("memory", PENDING, way, {"mb": megabytes})


def target(found, text):
    (held,) = (held for held in targets(found) if held.text == text)
    return held


def row(table, start):
    """Return the cells of the row whose first ones are these."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    (cells,) = (cells for cells in rows if cells[: len(start)] == list(start))
    return cells


# The numbers


def test_the_median_and_the_spread_are_those_of_the_rounds():
    found = canned(drain("handler, psycopg", 700_000, 100_000, 900_000))

    measured = ("drain", FIRST, "handler, psycopg", "per_second")

    assert found.values(*measured) == [700_000, 100_000, 900_000]
    assert found.median(*measured) == 700_000
    assert found.spread(*measured) == (100_000, 900_000)


@pytest.mark.parametrize(
    "measured",
    [
        ("latency", FIRST, "handler, psycopg", "per_second"),
        ("drain", "1 kB, 1 transaction", "handler, psycopg", "per_second"),
        ("drain", FIRST, "C, libpq", "per_second"),
        ("drain", FIRST, "handler, psycopg", "cpu_us"),
    ],
)
def test_what_was_not_measured_is_no_number(measured):
    found = canned(drain("handler, psycopg", 700_000))

    assert (found.values(*measured), found.median(*measured), found.spread(*measured)) == ([], None, None)


def test_what_a_machine_cannot_measure_is_not_counted():
    found = canned(memory("handler, pg", None, 60.0, 61.0))

    assert found.values("memory", PENDING, "handler, pg", "mb") == [60.0, 61.0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"per_second of drain, 'handler, pg', is (nan|inf)"):
        canned(drain("handler, pg", value))


def test_a_way_that_is_not_listed_is_refused():
    with pytest.raises(ValueError, match=r"'handler, psycopq', which is not among the ways"):
        canned(drain("handler, psycopq", 1.0))


def test_a_group_that_there_is_not_is_refused():
    data = canned().data
    data["ways"][0]["group"] = "theirs"

    with pytest.raises(ValueError, match=r"'handler, psycopg' is of the group 'theirs'"):
        Results(data)


def test_the_file_gives_back_what_was_written(tmp_path):
    found = canned(
        drain("handler, psycopg", 1.5, 2.5), memory("handler, pg", None), skipped=['a "C" compiler\n "runs": null']
    )

    file.write(found, tmp_path / "results.json")

    assert file.read(tmp_path / "results.json").data == found.data


def test_the_file_has_a_line_for_each_run(tmp_path):
    file.write(canned(drain("handler, psycopg", 1.5, 2.5)), tmp_path / "results.json")

    lines = (tmp_path / "results.json").read_text().splitlines()

    assert len([line for line in lines if '"measure": "drain"' in line]) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0, "0"),
        (704_123, "704,000"),
        (999.6, "1,000"),
        (61.04, "61.0"),
        (9.996, "10.0"),
        (1.4, "1.40"),
        (0.0371, "0.0371"),
        (-0.5, "-0.500"),
    ],
)
def test_a_number_has_three_digits(value, shown):
    assert number(value) == shown


# The targets


def test_a_target_that_is_met_is_shown_as_met():
    found = canned(drain("handler, psycopg", 460_000), drain("notifies(), psycopg", 100_000))

    held = target(found, "handler on psycopg : its notifies()")

    assert (held.measured, held.met, held.verdict, str(held.wanted)) == (4.6, True, "met", "≥ 2.3")


def test_a_target_that_is_missed_is_shown_as_missed():
    found = canned(drain("handler, psycopg", 229_000), drain("notifies(), psycopg", 100_000))

    held = target(found, "handler on psycopg : its notifies()")

    assert (held.measured, held.met, held.verdict) == (2.29, False, "missed")
    assert row(tables.targets_table(found), [held.text])[2:4] == ["2.29", "missed"]


def test_the_boundary_counts_as_met():
    found = canned(
        drain("handler, psycopg", 230_000),
        drain("notifies(), psycopg", 100_000),
        memory("handler, psycopg", 50),
        memory("handler, pg", 150),
        ("idle", "", "handler, psycopg", {"wakeups": [0]}),
        ("import", "pgnotify", "", {"ms": [15.0]}),
    )

    assert [held.met for held in targets(found) if held.measured is not None] == [True] * 5


@pytest.mark.parametrize(("milliseconds", "verdict"), [(150, "met"), (151, "missed")])
def test_the_command_line_starts_within_a_limit(milliseconds, verdict):
    found = canned(("start", file.HELP, "", {"ms": [milliseconds]}))

    assert target(found, "pgnotify --help, the whole process").verdict == verdict


def test_results_without_processes_have_no_target_for_them():
    assert "pgnotify --help, the whole process" not in {held.text for held in targets(canned())}


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(15.0004, "15.0004 ms"), (14.9999, "15.0 ms"), (15.04, "15.04 ms")]
)
def test_rounding_does_not_make_a_missed_target_look_met(milliseconds, shown):
    found = canned(("import", "pgnotify", "", {"ms": [milliseconds]}))

    held = target(found, "import pgnotify")

    assert held.shown == shown
    assert held.verdict == ("met" if milliseconds <= 15 else "missed")


def test_the_ratio_is_that_of_the_medians():
    found = canned(drain("handler, psycopg", 1, 6, 9), drain("notifies(), psycopg", 2, 1, 8))

    assert target(found, "handler on psycopg : its notifies()").measured == 6 / 2


def test_the_other_cases_are_in_the_detail():
    found = canned(
        drain("handler, psycopg", 3),
        drain("notifies(), psycopg", 1),
        drain("handler, psycopg", 2, case="1 kB, 1 transaction"),
        drain("notifies(), psycopg", 4, case="1 kB, 1 transaction"),
    )

    assert target(found, "handler on psycopg : its notifies()").detail == "1 kB, 1 transaction: 0.500"


def test_a_missing_way_is_not_measured():
    found = canned(drain("handler, psycopg", 460_000))

    held = target(found, "handler on psycopg : its notifies()")

    assert (held.measured, held.met, held.verdict) == (None, None, "not measured")
    assert held.detail == "not measured: notifies(), psycopg"
    assert row(tables.targets_table(found), [held.text])[2:4] == ["\N{EN DASH}", "not measured"]


def test_without_any_run_no_target_is_met():
    assert {held.verdict for held in targets(canned())} == {"not measured"}


def test_what_stood_still_is_not_measured():
    found = canned(drain("handler, psycopg", 460_000), drain("notifies(), psycopg", 0))

    assert target(found, "handler on psycopg : its notifies()").verdict == "not measured"


def test_the_best_and_the_worst_driver_count():
    found = canned(
        ("latency", "", "handler, psycopg", {"p50": [110]}),
        ("latency", "", "handler, pg", {"p50": [170]}),
        ("latency", "", "handler, django", {"p50": [120]}),
        ("latency", "", "notifies(), psycopg", {"p50": [900]}),
        ("latency", "", LIMIT, {"p50": [100]}),
    )

    best = target(found, "latency p50 : the C program's, best driver")
    worst = target(found, "latency p50 : the C program's, worst driver")

    assert (best.measured, best.met, best.detail) == (1.1, True, "psycopg; not measured: pgdb")
    assert (worst.measured, worst.met, worst.detail) == (1.7, False, "pg; not measured: pgdb")


def test_without_the_c_program_the_latency_is_not_held_to_it():
    found = canned(("latency", "", "handler, psycopg", {"p50": [110]}))

    held = target(found, "latency p50 : the C program's, worst driver")

    assert (held.met, held.detail) == (None, "not measured: C, libpq")


def test_the_kind_that_gains_least_from_notify_many_counts():
    found = canned(
        ("publish", "", "handler, psycopg", {"one_us": [90], "many_us": [3]}),
        ("publish", "", "handler, pg", {"one_us": [90], "many_us": [5]}),
        ("publish", "", "pgconn loop, psycopg", {"one_us": [80]}),
    )

    held = target(found, "notify_many of 1,000 : 1,000 \N{MULTIPLICATION SIGN} notify")

    assert (held.measured, held.verdict) == (18, "missed")
    assert held.detail == "pg; not measured: pgdb, django"


def test_pygresql_is_allowed_more_memory():
    found = canned(
        memory("handler, psycopg", 0.4),
        memory("handler, django", 51),
        memory("handler, pg", 61),
        memory("handler, pgdb", 62),
        memory("notifies(), psycopg", 900),
    )

    others = target(found, "peak memory, 1,000,000 pending")
    pygresql = target(found, "peak memory, 1,000,000 pending, PyGreSQL")

    assert (others.shown, others.verdict, others.detail) == ("51.0 MB", "missed", "django")
    assert (pygresql.shown, pygresql.verdict, pygresql.detail) == ("62.0 MB", "met", "pgdb")


def test_one_driver_that_wakes_up_misses_the_target():
    found = canned(
        ("idle", "", "handler, psycopg", {"wakeups": [0, 0, 0]}),
        ("idle", "", "handler, pg", {"wakeups": [0, 1, 1]}),
    )

    held = target(found, "wake-ups while idle")

    assert (str(held.wanted), held.shown, held.verdict) == ("0", "1", "missed")
    assert held.detail == "pg; not measured: pgdb, django"


def test_where_all_are_equal_none_is_named():
    found = canned(
        *(("idle", "", f"handler, {kind}", {"wakeups": [0]}) for kind in ("psycopg", "pg", "pgdb", "django"))
    )

    assert target(found, "wake-ups while idle").detail == "all of them"


# The tables


def test_there_is_a_row_for_each_way_the_drivers_together():
    ways = [line.split("|")[2].strip() for line in tables.ways_table(canned()).splitlines()[2:]]

    assert ways == [
        "handler, psycopg",
        "pgconn loop, psycopg",
        "notifies(), psycopg",
        "handler, pg",
        "handler, pgdb",
        "PyGreSQL's handler, pg",
        "handler, django",
        "C, libpq",
    ]


def test_a_row_has_each_number_in_its_place():
    found = canned(
        ("drain", FIRST, "handler, psycopg", {"per_second": [700e3, 600e3, 800e3], "cpu_us": [1.4, 1.5, 1.3]}),
        drain("handler, psycopg", 500e3, case="14 B, 100 transactions"),
        drain("handler, psycopg", 400e3, case="1 kB, 1 transaction"),
        drain("handler, psycopg", 300e3, case="1 kB, 100 transactions"),
        ("latency", "", "handler, psycopg", {"p50": [61], "p99": [162], "max": [3063]}),
        memory("handler, psycopg", 0.4),
        ("idle", "", "handler, psycopg", {"wakeups": [12], "cpu_ms": [2.5]}),
    )

    cells = row(tables.ways_table(found), ["psycopg", "handler, psycopg", "ours"])

    numbers = ["700", "600\N{EN DASH}800", "500", "400", "300", "1.40", "61.0", "162", "3,060", "0.400", "12", "2.50"]
    assert cells[3:] == numbers


def test_what_was_not_measured_is_a_dash():
    cells = row(tables.ways_table(canned()), ["", "notifies(), psycopg", "own way"])

    assert cells[3:] == ["\N{EN DASH}"] * 12


def test_the_columns_are_padded_to_one_width():
    lines = tables.ways_table(canned(drain("handler, psycopg", 700e3))).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert len({tuple(i for i, character in enumerate(line) if character == "|") for line in lines}) == 1


def test_who_sends_has_a_row_and_a_ratio_if_many_were_sent():
    found = canned(
        ("publish", "", "handler, pg", {"one_us": [90], "many_us": [3]}),
        ("publish", "", "pgconn loop, psycopg", {"one_us": [80]}),
    )

    table = tables.publish_table(found)

    assert row(table, ["handler, pg"])[1:] == ["90.0", "3.00", "30.0"]
    assert row(table, ["pgconn loop, psycopg"])[1:] == ["80.0", "\N{EN DASH}", "\N{EN DASH}"]
    assert len(table.splitlines()) == 4


def test_channels_and_handlers_are_counted_upwards():
    found = canned(
        ("channels", "1000", "fetch, psycopg", {"us": [3], "cpu_us": [2]}),
        ("channels", "1", "fetch, psycopg", {"us": [1.5], "cpu_us": [1]}),
        ("handlers", "1000", "handler, psycopg", {"cpu_us": [7], "kb": [170], "commits_per_second": [209]}),
        ("handlers", "10", "handler, psycopg", {"cpu_us": [2], "kb": [160], "commits_per_second": [6130]}),
    )

    channels, handlers = tables.channels_table(found), tables.handlers_table(found)

    assert row(channels, ["way"])[1:] == ["1", "1,000", "CPU 1", "CPU 1,000"]
    assert row(channels, ["fetch, psycopg"])[1:] == ["1.50", "3.00", "1.00", "2.00"]
    assert [line.split("|")[1].strip() for line in handlers.splitlines()[2:]] == ["10", "1,000"]
    assert row(handlers, ["1,000"])[1:] == ["7.00", "170", "209"]


def test_imports_are_in_the_order_measured():
    found = canned(("import", "pgnotify", "", {"ms": [11, 12, 10]}), ("import", "pg", "", {"ms": [20]}))

    table = tables.import_table(found)

    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == ["pgnotify", "pg"]
    assert row(table, ["pgnotify"])[1:] == ["11.0", "10.0\N{EN DASH}12.0"]


def test_the_short_table_has_the_ratios_of_each_kind():
    found = canned(
        ("drain", FIRST, "handler, psycopg", {"per_second": [704_123], "cpu_us": [1.4]}),
        drain("notifies(), psycopg", 352_061.5),
        drain("pgconn loop, psycopg", 1_408_246),
        ("latency", "", "handler, psycopg", {"p50": [61]}),
        memory("handler, psycopg", 0.4),
        ("idle", "", "handler, psycopg", {"wakeups": [0]}),
    )

    table = tables.short_table(found)

    assert row(table, ["psycopg"])[1:] == ["704,000", "2.00", "0.500", "1.40 µs", "61.0 µs", "0.400 MB", "0"]
    assert row(table, ["`pgdb`"])[1:] == ["\N{EN DASH}"] * 7
    assert len(table.splitlines()) == 2 + len(BY_HAND)


def test_a_table_without_rows_says_so():
    assert tables.channels_table(canned()) == "Not measured."


def test_the_report_says_where_when_and_with_what():
    report = tables.report(canned(skipped=["C on libpq: there is no C compiler"]))

    for said in (
        "2026-11-22, `make bench`, medians of 3 rounds",
        "AMD EPYC, 2 cores, Linux x86_64",
        "Python 3.11.7, PostgreSQL 18.6, pgnotify 0.3",
        "C on libpq: there is no C compiler",
    ):
        assert said in report


def test_the_report_has_all_tables():
    found = canned(
        drain("handler, psycopg", 1),
        ("publish", "", "handler, pg", {"one_us": [90], "many_us": [3]}),
        ("channels", "1", "fetch, psycopg", {"us": [1.5], "cpu_us": [1]}),
        ("handlers", "1", "handler, psycopg", {"cpu_us": [7], "kb": [170], "commits_per_second": [209]}),
        ("import", "pgnotify", "", {"ms": [11]}),
        ("start", "pgnotify --help", "", {"ms": [110]}),
    )

    report = tables.report(found)

    for table in ("targets", "ways", "publish", "channels", "handlers", "import", "start"):
        assert getattr(tables, f"{table}_table")(found) in report


# In a page


def test_a_table_replaces_what_stands_between_its_markers():
    page = tables.put_into(PAGE, {"short": r"| \1 |", "long": "| b |"})

    assert page == "# Speed\n\n<!-- bench:short -->\n\n| \\1 |\n\n<!-- /bench -->\n\nMore.\n"
    assert tables.put_into(page, {"short": r"| \1 |"}) == page


def test_a_page_may_take_many_tables():
    page = tables.put_into(PAGE + PAGE.replace("short", "long"), {"short": "| a |", "long": "| b |"})

    assert page.count("# Speed") == 2
    assert page.index("| a |") < page.index("More.") < page.index("| b |")


def test_a_page_without_markers_stays():
    assert tables.put_into("# Speed\n", {"short": "| a |"}) == "# Speed\n"


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (PAGE.replace("short", "shrot"), "<!-- bench:shrot --> names no table, there are short, long"),
        (PAGE.replace("<!-- /bench -->", ""), "<!-- bench:short --> has no end"),
        (
            PAGE.replace("<!-- /bench -->", "<!-- bench:long -->"),
            "<!-- bench:short --> has no end before <!-- bench:long",
        ),
        (PAGE.replace("<!-- bench:short -->", ""), "<!-- /bench --> ends nothing, on line 5"),
    ],
)
def test_a_marker_that_is_unknown_or_has_no_end_is_refused(page, names):
    with pytest.raises(ValueError, match=names):
        tables.put_into(page, {"short": "| a |", "long": "| b |"})


# The names that both sides of the benchmarks must agree on


def test_the_ways_that_the_targets_name_are_measured():
    named = {*BY_HAND.values(), *OWN_WAY.values(), *(handler(kind) for kind in BY_HAND), LIMIT}

    assert named - {way.name for way in WAYS} == set()
    assert {way.group for way in WAYS} == set(GROUPS)


def test_each_way_is_named_under_its_kind():
    for table in (BY_HAND, OWN_WAY):
        assert {way.rpartition(", ")[2]: way for way in table.values()} == table
