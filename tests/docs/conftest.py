"""A database for each page, and the number of blocks in the summary."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgnotify.testing._wire import Session
from tests.docs.running import Page, environment
from tests.kinds import Address


@pytest.fixture
def page(address: Address, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page to be run, with a database of its own. Roles that it makes are removed at the end."""
    name = f"page_{uuid.uuid4().hex}"
    roles = {*session.sql("SELECT rolname FROM pg_catalog.pg_roles")}
    session.sql(f"CREATE DATABASE {name}")
    own = address._replace(database=name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for variable, value in environment(own).items():
        monkeypatch.setenv(variable, value)
    with Page(own, tmp_path) as opened:
        yield opened
    session.sql(f"DROP DATABASE {name} WITH (FORCE)")
    for (role,) in {*session.sql("SELECT rolname FROM pg_catalog.pg_roles")} - roles:
        session.sql(f'DROP ROLE "{role}"')


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many blocks were run."""
    count: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        count.update(dict(report.user_properties) if "tests/docs" in report.nodeid.replace(os.sep, "/") else {})
    if count:
        kinds = ", ".join(f"{number} {kind}" for kind, number in count.most_common())
        terminalreporter.write_line(f"blocks of the documentation: {kinds}")
