"""The scripts in examples/ run as processes, and do what they say. Others have tests beside what they are for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgnotify.testing._wire import Session
from tests.docs.blocks import ROOT
from tests.docs.running import Page, environment
from tests.helpers.waiting import PATIENCE

EXAMPLES = ROOT / "examples"

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start(page: Page) -> Iterator[Start]:
    """A function that starts a script on a database of its own; it is ended after the test."""
    with ExitStack() as started:

        def run(script: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, str(EXAMPLES / script), ""],  # the variables say where the database is
                env=os.environ | environment(page.address),
                stdout=subprocess.PIPE,
                text=True,
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield run


@pytest.fixture
def database(page: Page) -> Iterator[Session]:
    """A session in that database."""
    with Session(*page.address) as session:
        yield session


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_a_mirror_shows_each_change_and_reads_again_after_a_gap(start: Start, database: Session):
    database.sql("CREATE TABLE public.orders (id pg_catalog.int8 PRIMARY KEY, item pg_catalog.text)")
    database.sql("INSERT INTO public.orders VALUES (1, 'two books')")
    mirror = start("mirror.py")
    assert line(mirror) == "read everything: [(1, 'two books')]"

    database.sql("INSERT INTO public.orders VALUES (2, 'a lamp')")
    database.notify("orders", "2")
    assert line(mirror) == "read row 2: [(1, 'two books'), (2, 'a lamp')]"

    database.sql("DELETE FROM public.orders WHERE id OPERATOR(pg_catalog.=) 1")  # nobody is told
    [(pid,)] = database.sql(
        "SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name OPERATOR(pg_catalog.=) 'mirror'"
    )
    database.terminate(int(pid or 0))
    assert line(mirror) == "read again, after a gap: connection lost: [(2, 'a lamp')]"

    mirror.send_signal(signal.SIGTERM)
    assert mirror.wait(PATIENCE) == 0


def test_a_consumer_of_an_outbox_counts_each_order_once_though_it_is_killed(start: Start, database: Session):
    def send(*payloads: str) -> None:
        rows = ", ".join(f"('orders', '{payload}')" for payload in payloads)
        database.sql(f"INSERT INTO public.pgnotify_outbox (channel, payload) VALUES {rows}")

    first = start("outbox_consumer.py")
    assert line(first) == "reading"
    send("1", "2")
    assert line(first) == "counted ['1', '2']"
    first.kill()
    first.wait(PATIENCE)
    send("3")

    second = start("outbox_consumer.py")
    assert [line(second), line(second)] == ["reading", "counted ['3']"]
    second.send_signal(signal.SIGTERM)

    assert second.wait(PATIENCE) == 0
    assert database.sql("SELECT orders FROM public.totals") == [("3",)]


def scripts() -> list[Path]:
    """Return the files in examples/ that are programs, without the distributions, which have tests of their own."""
    return [
        path
        for path in sorted(EXAMPLES.rglob("*.py"))
        if not path.relative_to(EXAMPLES).parts[0].startswith("backend-")
    ]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_each_example_has_a_test(script: Path):
    tests = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    others = [path.read_text() for path in scripts()]

    is_tested = any(script.name in text or f'"{script.stem}:' in text for text in tests)
    assert is_tested or any(f"from {script.stem} import" in text for text in others)


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_each_example_is_on_the_page_of_the_examples(script: Path):
    page = (ROOT / "docs" / "how-to" / "examples.md").read_text()

    assert f"examples/{script.relative_to(EXAMPLES).as_posix()}" in page
