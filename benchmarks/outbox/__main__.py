"""Starts two servers, measures the ways to store messages, and writes the results and the tables.

python -m benchmarks.outbox [--rounds 3] [--only REGEX] [--quick] [--output DIRECTORY] [--publish]
python -m benchmarks.outbox --results FILE [--output DIRECTORY] [--publish]

PgQue's Python package has no tables: PGNOTIFY_BENCH_PGQUE_SQL says where sql/pgque.sql of its repository is.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from benchmarks import results
from benchmarks.__main__ import DOCS, PUBLISHED, ROOT, add, machine, say, title, versions
from benchmarks.outbox import tables
from benchmarks.outbox.measuring import QUICK, Bench, Sizes
from benchmarks.results import Results
from benchmarks.tables import put_into
from pgnotify.testing import TemporaryPostgreSQL

ROUNDS = 3
OUTPUT = ROOT / "build" / "benchmarks-outbox"
PAGE, FILE = DOCS / "why" / "performance-outbox.md", PUBLISHED / "performance-outbox.json"
PEERS = ("pgque-py", "pgqueuer", "procrastinate")


def main() -> None:
    """Do as the arguments say."""
    options = _options()
    found = _measured(options) if options.results is None else results.read(options.results)
    options.output.mkdir(parents=True, exist_ok=True)
    results.write(found, options.output / "results.json")
    (options.output / "report.md").write_text(tables.report(found))
    print(tables.report(found))
    if options.publish:
        results.write(found, FILE)
        PAGE.write_text(put_into(PAGE.read_text(), tables.by_name(found)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="REGEX", help='of "measure, case, way", such as "drain.*durable"')
    parser.add_argument("--quick", action="store_true", help="measure little, to see that everything runs")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="directory (default: %(default)s)")
    parser.add_argument(
        "--publish", action="store_true", help="put the results into docs/ and benchmarks/published/, too"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="measure nothing, show earlier results")
    return parser.parse_args()


def _measured(options: argparse.Namespace) -> Results:
    sizes = QUICK if options.quick else Sizes()
    with ExitStack() as stack:
        server = stack.enter_context(TemporaryPostgreSQL())
        with_fsync = server if options.quick else stack.enter_context(TemporaryPostgreSQL(settings={"fsync": "on"}))
        bench = Bench(server.address, with_fsync.address, sizes)
        fields = ("name", "group", "driver")
        found = Results(
            {
                "date": date.today().isoformat(),
                "command": _command(options),
                "machine": machine(),
                "versions": {**versions(server.version), **_peers()},
                "rounds": options.rounds,
                "sizes": sizes._asdict(),
                "skipped": bench.skipped(),
                "ways": [
                    {**{field: getattr(way, field) for field in fields}, "connection": way.kind} for way in bench.ways()
                ],
                "runs": [],
            }
        )
        for line in found.data["skipped"]:
            say(f"left out: {line}")
        only = re.compile(options.only)
        tasks = [task for task in bench.tasks() if only.search(title(*task[:3]))]
        for number in range(options.rounds):
            for task in tasks:
                if number == 0 or not task.once:
                    add(found, f"round {number + 1} of {options.rounds}", *task[:3], task.run())
    return found


def _command(options: argparse.Namespace) -> str:
    """Return the command that repeats the measurement."""
    parts = ["python -m benchmarks.outbox"]
    parts += [f"--rounds {options.rounds}"] if options.rounds != ROUNDS else []
    parts += [f"--only '{options.only}'"] if options.only else []
    parts += ["--quick"] if options.quick else []
    return " ".join(parts)


def _peers() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    installed = {}
    for name in PEERS:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


if __name__ == "__main__":
    main()
