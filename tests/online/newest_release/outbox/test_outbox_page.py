"""The examples on the page about the outbox run in order, and print what stands below them."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pgnotify
from pgnotify.testing._wire import Session
from tests.helpers.waiting import PATIENCE
from tests.kinds import Address

pytestmark = pytest.mark.drivers("psycopg")

PAGE = (Path(__file__).parents[4] / "docs" / "how-to" / "outbox.md").read_text()
EXAMPLES = re.findall(r"^```py\n(.*?)^```(?:\n\n```\n(.*?)^```)?$", PAGE, re.DOTALL | re.MULTILINE)
[SQL] = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TABLES = """
    CREATE TABLE public.orders (id int8, amount int8);
    CREATE TABLE public.totals (orders int8);
    INSERT INTO public.totals VALUES (0);
"""


@pytest.fixture
def page(address: Address, session: Session) -> Iterator[Address]:
    """A database of its own with the tables and roles of the page."""
    name = f"page_{uuid.uuid4().hex}"
    session.sql(f"CREATE DATABASE {name}")
    session.sql("CREATE ROLE shop")
    session.sql("CREATE ROLE billing")
    address = address._replace(database=name)
    with Session(*address) as own:
        own.sql(TABLES)
    yield address
    session.sql(f"DROP DATABASE {name} WITH (FORCE)")
    session.sql("DROP ROLE shop")
    session.sql("DROP ROLE billing")


def test_the_examples_print_what_the_page_says(page: Address, capsys: pytest.CaptureFixture[str]):
    names: dict[str, Any] = {"dsn": page.dsn, "pgnotify": pgnotify}
    printed = []

    for code, _ in EXAMPLES:
        exec(code, names)
        printed.append(capsys.readouterr().out)

    assert printed == [says for _, says in EXAMPLES]
    assert len(EXAMPLES) == 9
    asyncio.run(asyncio.wait_for(names["main"](), PATIENCE))
    assert capsys.readouterr().out == "sent 1\n"
    with Session(*page) as session:
        assert session.sql("SELECT orders FROM public.totals") == [("3",)]
        session.sql(SQL)
        session.sql("INSERT INTO public.orders (id) VALUES (5)")
    with pgnotify.Listener(page.dsn, "orders", outbox=names["outbox"], durable="billing") as listener:
        payloads = [message.payload for message in listener.notifications(PATIENCE, stop_after=3)]
    assert [payload[:5] for payload in payloads] == ["xxxxx", "4", "5"]
