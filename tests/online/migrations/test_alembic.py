"""The revision on the page about the outbox makes it with Alembic, and removes it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

import pgnotify
from pgnotify.testing._wire import Session
from tests.helpers.waiting import PATIENCE
from tests.kinds import Address

alembic = pytest.importorskip("alembic")
pytest.importorskip("sqlalchemy")

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "outbox.md").read_text()
[REVISION] = re.findall(r"^```\w+\n([^`]*^from alembic import op\n.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
# As `alembic init` writes it, without the logs.
ENVIRONMENT = """
import sqlalchemy
from alembic import context

if context.is_offline_mode():
    context.configure(url=context.config.get_main_option("sqlalchemy.url"), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = sqlalchemy.create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""


@pytest.fixture
def config(tmp_path: Path, address: Address) -> Any:
    """A project with one revision."""
    from alembic.config import Config

    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001_outbox.py").write_text(REVISION)
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    config = Config(output_buffer=io.StringIO())
    config.set_main_option("script_location", str(tmp_path))
    url = address.dsn.replace("postgresql://", "postgresql+psycopg://")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def test_the_recipe_makes_it_and_removes_it(config: Any, address: Address, session: Session):
    from alembic import command

    outbox = pgnotify.Outbox()
    command.upgrade(config, "head")
    try:
        with pgnotify.Listener(address.dsn, "orders", outbox=outbox) as listener:
            with pgnotify.connect(address.dsn) as connection:
                outbox.notify(connection, "orders", "sent")
            payloads = [message.payload for message in listener.notifications(PATIENCE, stop_after=1)]
        assert payloads == ["sent"]
    finally:
        command.downgrade(config, "base")
        session.sql("DROP TABLE public.alembic_version")
    assert session.sql("SELECT relname FROM pg_catalog.pg_class WHERE relname LIKE 'pgnotify%'") == []


def test_the_recipe_prints_its_sql(config: Any):
    from alembic import command

    command.upgrade(config, "head", sql=True)

    assert pgnotify.Outbox().install_sql().strip().rstrip(";") in config.output_buffer.getvalue()
