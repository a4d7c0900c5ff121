"""Which keywords exist, which environment variables set them, and which values they accept."""

from __future__ import annotations

import enum

import pytest

from pgnotify.connecting.conninfo import merge
from pgnotify.connecting.keywords import KEYWORDS, environment


def test_the_table_of_keywords_is_frozen() -> None:
    with pytest.raises(TypeError):
        KEYWORDS["bogus"] = None  # type: ignore[index]


# The environment.


def test_the_environment_gives_defaults_by_keyword() -> None:
    environ = {
        "PGHOST": "h",
        "PGDATABASE": "d",
        "PGCONNECT_TIMEOUT": "5",
        "PGPASSFILE": "/f",
        "PATH": "/bin",
        "PGTZ": "x",
    }

    assert environment(environ) == {"host": "h", "dbname": "d", "connect_timeout": "5", "passfile": "/f"}


def test_the_environment_of_the_process_is_read_when_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGAPPNAME", "tests")

    assert environment()["application_name"] == "tests"


def test_a_variable_that_is_set_but_empty_counts() -> None:
    assert environment({"PGHOST": ""}) == {"host": ""}


def test_the_old_variable_for_tls_yields_to_the_new_one() -> None:
    assert environment({"PGREQUIRESSL": "1"}) == {"sslmode": "require"}
    assert environment({"PGREQUIRESSL": "0"}) == {}
    assert environment({"PGREQUIRESSL": "1", "PGSSLMODE": "verify-full"}) == {"sslmode": "verify-full"}


# Values.


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("password", "", ""),
        ("port", 5432, "5432"),
        ("keepalives", True, "1"),
        ("keepalives", False, "0"),
        ("connect_timeout", 10.0, "10"),
        ("connect_timeout", 0.5, "1"),
        ("tcp_user_timeout", 1500.1, "1501"),
    ],
)
def test_values_take_the_form_that_libpq_reads(keyword: str, value: object, text: str) -> None:
    assert merge("", {keyword: value}) == {keyword: text}


def test_an_enumeration_counts_by_its_value() -> None:
    class Mode(str, enum.Enum):
        SAFE = "verify-full"

    class Port(int, enum.Enum):
        MAIN = 5433

    assert merge("", {"sslmode": Mode.SAFE, "port": Port.MAIN}) == {"sslmode": "verify-full", "port": "5433"}


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("host", b"h"), ("host", ["h"]), ("host", True), ("sslmode", False), ("port", 5432.0), ("dbname", object())],
)
def test_a_value_of_another_type_is_a_type_error_that_names_the_option(keyword: str, value: object) -> None:
    with pytest.raises(TypeError, match=keyword):
        merge("", {keyword: value})


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_time_without_end_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="connect_timeout must be finite"):
        merge("", {"connect_timeout": value})


@pytest.mark.parametrize(
    ("keyword", "instead"),
    [("database", "dbname"), ("username", "user"), ("pass", "password"), ("passwd", "password"), ("prot", "port")],
)
def test_an_unknown_option_is_named_and_the_right_one_suggested(keyword: str, instead: str) -> None:
    with pytest.raises(ValueError, match=f"'{keyword}' is unknown; did you mean '{instead}'"):
        merge("", {keyword: "x"})


def test_an_option_that_resembles_no_other_gets_no_suggestion() -> None:
    with pytest.raises(ValueError, match=r"'xyzzy' is unknown$"):
        merge("", {"xyzzy": 1})


def test_an_option_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="dbname has NUL"):
        merge("", {"dbname": "a\0"})


def test_requiressl_is_known_in_strings_only() -> None:
    with pytest.raises(ValueError, match="'requiressl' is unknown"):
        merge("", {"requiressl": 1})
