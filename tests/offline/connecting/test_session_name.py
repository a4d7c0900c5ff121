"""The name that a listener's session has on the server."""

from __future__ import annotations

import os
import sys

import pytest

from pgnotify.connecting.session_name import MAX_NAME_BYTES, fitted, name_for_unnamed, session_name


@pytest.mark.parametrize(
    ("argument", "program"),
    [
        ("/srv/app/manage.py", "manage.py"),
        ("/usr/bin/gunicorn", "gunicorn"),
        ("/usr/lib/python3/celery/__main__.py", "celery"),
        ("-c", "python"),
        ("", "python"),
    ],
)
def test_the_default_has_the_program_and_the_process(monkeypatch, argument, program):
    monkeypatch.setattr(sys, "argv", [argument])

    assert session_name(None) == f"pgnotify: {program} {os.getpid()}"


def test_an_interpreter_without_arguments_has_a_default_too(monkeypatch):
    monkeypatch.delattr(sys, "argv")

    assert session_name(None) == f"pgnotify: python {os.getpid()}"


def test_a_name_that_was_given_is_taken_alone():
    assert session_name("orders' worker") == "orders' worker"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x" * 63, "x" * 63),
        ("a" * 40 + "z" * 40 + " 4711", "a" * 30 + "..." + "z" * 25 + " 4711"),
        ("é" * 7, "é" * 7),
        ("é" * 20 + "z" * 20, "é" * 3 + "..." + "é" + "z" * 20),
        ("a\0b\nc\ud800d\x7f", "a?b?c?d?"),
    ],
)
def test_a_name_that_is_too_long_keeps_its_beginning_and_its_end(name, shown):
    assert fitted(name) == shown


def test_a_long_program_does_not_hide_the_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"/bin/{'日' * 100}"])

    name = session_name(None)

    assert name.startswith("pgnotify: ")
    assert name.endswith(f" {os.getpid()}")
    assert sum(1 if each.isascii() else 12 for each in name) <= MAX_NAME_BYTES


@pytest.mark.parametrize("variable", [None, "né€"])
def test_a_name_for_a_connection_of_the_users_can_be_sent_in_any_encoding(monkeypatch, variable):
    monkeypatch.setenv("PGAPPNAME", variable or "")

    assert name_for_unnamed("né€") == r"n\xc3\xa9\xe2\x82\xac"
