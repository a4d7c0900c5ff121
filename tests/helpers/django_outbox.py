"""A Django project with the app of the outbox, which does the steps that its arguments name.

Its input is a connection string.
"""

from __future__ import annotations

import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction

from pgnotify.connecting.conninfo import parse
from pgnotify.outbox.django import outbox


def configure(dsn: str) -> None:
    """Have two databases, of which one is not PostgreSQL."""
    where = parse(dsn)
    default = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": where["dbname"],
        "HOST": where["host"],
        "PORT": where["port"],
        "USER": where["user"],
        "PASSWORD": where.get("password", ""),
    }
    settings.configure(
        INSTALLED_APPS=["pgnotify.outbox.django"],
        PGNOTIFY_OUTBOX={"name": "my box", "schema": "box", "senders": ["box_sender"]},
        DATABASES={"default": default, "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    django.setup()


def show() -> None:
    call_command("sqlmigrate", "pgnotify_outbox", "0001")


def migrate() -> None:
    call_command("migrate")
    call_command("migrate", database="other")  # it makes nothing there
    call_command("migrate", "pgnotify_outbox", "zero", database="other")


def check() -> None:
    call_command("makemigrations", check=True)


def send() -> None:
    try:
        with transaction.atomic():
            outbox().notify(connection, "orders", "rolled back")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with transaction.atomic():
        outbox().notify(connection, "orders", "committed")
    outbox().notify(connection, "orders", "at once")


def migrate_back() -> None:
    call_command("migrate", "pgnotify_outbox", "zero")


STEPS = {"show": show, "migrate": migrate, "check": check, "send": send, "migrate back": migrate_back}

if __name__ == "__main__":
    configure(sys.stdin.read())
    for step in sys.argv[1:]:
        STEPS[step]()
