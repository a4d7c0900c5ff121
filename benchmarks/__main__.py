"""Starts a server, measures, and writes the results, the tables and the picture.

python -m benchmarks [--rounds 5] [--only REGEX] [--quick] [--output DIRECTORY] [--publish]
python -m benchmarks --results FILE [--output DIRECTORY] [--publish]
python -m benchmarks --profile WAY
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import pgnotify
from benchmarks import results, tables
from benchmarks.compiling import CannotCompileError, Compiled, compiled
from benchmarks.drawing import performance
from benchmarks.measuring import PROC, QUICK, Bench, Sizes, Values, connections_needed
from benchmarks.results import IDLE_HANDLERS, Results
from benchmarks.ways import C
from pgnotify.testing import TemporaryPostgreSQL
from tests.kinds import DISTRIBUTIONS

ROUNDS = 5
ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "benchmarks"
DOCS = ROOT / "docs"
PUBLISHED = ROOT / "benchmarks" / "published"
PAGE = DOCS / "why" / "performance.md"
"""Its tables are made from the results; see `tables.put_into`."""


def main() -> None:
    """Do as the arguments say."""
    options = _options()
    if options.profile is not None:
        print(_profiled(options.profile))
        return
    if options.results is not None:
        found = results.read(options.results)
    else:
        with tempfile.TemporaryDirectory() as directory:
            found = _measured(options, Path(directory))
    written = _write(found, options.output)
    print(tables.report(found))
    print(f"written: {', '.join(map(str, written))}")
    if options.publish:
        publish(found)


def publish(found: Results) -> None:
    """Put the results where the documentation shows them."""
    results.write(found, PUBLISHED / "performance.json")
    performance.draw(found, DOCS / "images")
    PAGE.write_text(tables.put_into(PAGE.read_text(), tables.by_name(found)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=pgnotify.__doc__)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="how often each way is measured (default: %(default)s)"
    )
    parser.add_argument(
        "--only", default="", metavar="REGEX", help='of "measure, case, way", such as "drain.*psycopg2"'
    )
    parser.add_argument("--quick", action="store_true", help="measure little, to see that everything runs")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="directory (default: %(default)s)")
    parser.add_argument(
        "--publish", action="store_true", help="put the results into docs/ and benchmarks/published/, too"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="measure nothing, show earlier results")
    parser.add_argument(
        "--profile", metavar="WAY", help='only show where the time goes, for a way such as "handler, psycopg"'
    )
    return parser.parse_args()


def _profiled(way: str) -> str:
    with TemporaryPostgreSQL() as server:
        return Bench(server.address, None, Sizes()).profile(way)


def _measured(options: argparse.Namespace, directory: Path) -> Results:
    sizes = QUICK if options.quick else Sizes()
    program: Compiled | None = None
    skipped = []
    try:
        program = compiled(directory)
    except CannotCompileError as error:
        skipped.append(f"{C.name}: {error}")
    with TemporaryPostgreSQL(settings={"max_connections": connections_needed(sizes)}) as server:
        bench = Bench(server.address, program and program.path, sizes)
        found = Results(
            {
                "date": date.today().isoformat(),
                "command": _command(options),
                "machine": machine(),
                "versions": versions(server.version, program),
                "rounds": options.rounds,
                "sizes": sizes._asdict(),
                "skipped": [*skipped, *bench.skipped()],
                "ways": [
                    {
                        "name": way.name,
                        "group": way.group,
                        "driver": way.driver,
                        "connection": way.connection,
                        "section": way.section,
                    }
                    for way in bench.ways()
                ],
                "runs": [],
            }
        )
        for line in found.data["skipped"]:
            say(f"left out: {line}")
        _measure(bench, found, options.rounds, re.compile(options.only))
    return found


def _command(options: argparse.Namespace) -> str:
    """Return the command that repeats the measurement; the destination of the results makes no difference."""
    parts = [f"--rounds {options.rounds}"] if options.rounds != ROUNDS else []
    parts += [f"--only '{options.only}'"] if options.only else []
    parts += ["--quick"] if options.quick else []
    return f"python -m benchmarks {' '.join(parts)}" if parts else "make bench"


def _measure(bench: Bench, found: Results, rounds: int, only: re.Pattern[str]) -> None:
    tasks = [task for task in bench.tasks() if only.search(title(*task[:3]))]
    for number in range(rounds):
        for task in tasks:
            if number == 0 or not task.once:
                add(found, f"round {number + 1} of {rounds}", *task[:3], task.run())
    for case, idle in (("", bench.idle), (IDLE_HANDLERS, bench.idle_handlers)):
        if PROC.exists() and only.search(title("idle", case, "")):
            for way, values in idle():
                add(found, "once", "idle", case, way, values)


def add(found: Results, when: str, measure: str, case: str, way: str, values: Values) -> None:
    """Add the values of one measurement, and say them."""
    rounded = {name: None if value is None else float(f"{value:.5g}") for name, value in values.items()}
    found.add(measure, case, way, rounded)
    said = ", ".join(f"{name} {results.number(value)}" for name, value in rounded.items())
    say(f"{when}: {title(measure, case, way)}: {said}")


def title(measure: str, case: str, way: str) -> str:
    """Return the name of a measurement."""
    return ", ".join(filter(None, (measure, case, way)))


def say(line: str) -> None:
    """Tell the user, beside the results."""
    print(line, file=sys.stderr, flush=True)


def _write(found: Results, directory: Path) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / name for name in ("results.json", "report.md")]
    results.write(found, paths[0])
    paths[1].write_text(tables.report(found))
    return [*paths, *performance.draw(found, directory)]


def machine() -> dict[str, Any]:
    """Return what this runs on."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown processor"


def versions(postgresql: str, program: Compiled | None = None) -> dict[str, str]:
    """Return the versions of all that plays a part."""
    versions = {"Python": platform.python_version(), "PostgreSQL": postgresql, "pgnotify": pgnotify.__version__}
    for name in (*DISTRIBUTIONS, "asyncpg", "uvloop", "sse-starlette"):
        try:
            versions[name.removesuffix("-binary")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if program is not None:
        versions["libpq of the C program"] = program.libpq
    return versions


if __name__ == "__main__":
    main()
