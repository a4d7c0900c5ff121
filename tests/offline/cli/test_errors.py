"""The line that an error becomes."""

from __future__ import annotations

import pytest

from pgnotify.cli.errors import line_of


class DriverError(Exception):
    """As a driver's: it is not built in."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DriverError("one\n\n  two  words:\nthree"), "one. two words: three"),
        (DriverError({"S": "FATAL", "C": "28P01", "M": "no"}), "FATAL: no"),
        (DriverError({"S": "ERROR", "M": "no", "D": "Because.", "H": "Do not"}), "ERROR: no. Because. Do not"),
        (DriverError({"other": 1}), "{'other': 1}"),
        (DriverError(), "DriverError"),
        (ImportError("no pq wrapper available"), "no pq wrapper available"),
        (KeyError("x"), "KeyError: 'x' (this is a fault of pgnotify: --debug shows where)"),
    ],
)
def test_an_error_is_one_line(error, line):
    assert line_of(error) == line


def test_the_secrets_of_the_arguments_are_not_in_it():
    error = DriverError('invalid "postgresql://ann:hush@h": hush')

    assert line_of(error, ["--dsn=postgresql://ann:hush@h"]) == 'invalid "postgresql://ann:***@h": ***'
