"""Which parameters the service file and the environment add."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgnotify.connecting import defaults
from pgnotify.connecting.defaults import with_defaults, with_verification

SERVICES: dict[str, dict[str, str]] = {
    "[a]\nhost=db1,db2\nport=1\n": {"host": "db1,db2", "port": "1"},
    "  [a] \n  host=db\nhost=other\n# c\n\n[b]\nhost=of-b\n[a]\nport=7": {"host": "db"},
    "[ax]\nhost=other\n[a]\nhost=db": {"host": "db"},
    "[a]z\nhost=db\n": {"host": "db"},
    "not read\n[a]\r\nhost=db\r\n": {"host": "db"},
    "[a]\nhost=\nuser= x y \n": {"host": "", "user": " x y"},
    "[a]\noptions=-c a=b\n": {"options": "-c a=b"},
    "[a]\n": {},
}
"""The parameters of the service "a" in each file; the test against libpq reads them, too."""
UNREADABLE = {
    "[a]\nhost = db\n": "syntax error in service file .*, line 2",
    "[a]\n\nhost\n": "syntax error in service file .*, line 3",
    "[a]\nservice=b\n": "nested service specifications not supported in service file .*, line 2",
}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """A function that writes a service file, and returns the environment that leads to it."""

    def write(text: str) -> dict[str, str]:
        (tmp_path / "services").write_bytes(text.encode())
        return {"PGSERVICEFILE": str(tmp_path / "services"), "PGSYSCONFDIR": str(tmp_path)}

    return write


@pytest.mark.parametrize(("text", "found"), SERVICES.items())
def test_the_parameters_of_a_service_are_added(written, text, found):
    assert with_defaults({"service": "a"}, written(text)) == found


@pytest.mark.parametrize(("text", "message"), UNREADABLE.items())
def test_a_file_that_libpq_would_not_read_is_refused(written, text, message):
    with pytest.raises(ValueError, match=message):
        with_defaults({"service": "a"}, written(text))


def test_the_string_goes_before_the_service_and_that_before_the_environment(written):
    environ = written("[a]\nhost=of the service\nuser=of the service\n")
    environ |= {"PGSERVICE": "a", "PGHOST": "of the environment", "PGDATABASE": "of the environment"}

    assert with_defaults({"user": "of the string"}, environ) == {
        "host": "of the service",
        "user": "of the string",
        "dbname": "of the environment",
    }


def test_a_service_of_the_string_goes_before_that_of_the_environment(written):
    environ = written("[a]\nhost=of a\n[b]\nhost=of b\n") | {"PGSERVICE": "a"}

    assert with_defaults({"service": "b"}, environ) == {"host": "of b"}


def test_a_service_that_no_file_has_is_left_to_libpq(written):
    assert with_defaults({"service": "other"}, written("[a]\nhost=db\n")) == {"service": "other"}


def test_a_file_that_is_named_must_exist(tmp_path):
    with pytest.raises(ValueError, match=r"service file .*nosuch.* not found"):
        with_defaults({"service": "a"}, {"PGSERVICEFILE": str(tmp_path / "nosuch")})


@pytest.mark.parametrize("place", ["home", "PGSYSCONFDIR", "system"])
def test_the_file_of_the_home_or_of_the_system_is_read(monkeypatch, tmp_path, place):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(defaults, "SYSTEM_DIRECTORIES", (tmp_path / "nosuch", tmp_path / "system"))
    (tmp_path / place).mkdir()
    (tmp_path / place / (".pg_service.conf" if place == "home" else "pg_service.conf")).write_text("[a]\nhost=db\n")
    environ = {"PGSYSCONFDIR": str(tmp_path / place)} if place == "PGSYSCONFDIR" else {}

    assert with_defaults({"service": "a"}, environ) == {"host": "db"}


def test_a_service_that_the_home_does_not_have_may_be_the_systems(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".pg_service.conf").write_text("[a]\nhost=of the home\n")
    (tmp_path / "pg_service.conf").write_text("[a]\nhost=of the system\n[b]\nhost=of the system\n")
    environ = {"PGSYSCONFDIR": str(tmp_path)}

    assert with_defaults({"service": "a"}, environ) == {"host": "of the home"}
    assert with_defaults({"service": "b"}, environ) == {"host": "of the system"}


def test_a_look_up_by_ldap_is_not_made_and_stays(written):
    environ = written("[a]\nldap://ldap.example.org/dc=example?description?one?(cn=a)\nhost=db\n")

    assert with_defaults({"service": "a"}, environ) == {
        "ldap": "://ldap.example.org/dc=example?description?one?(cn=a)",
        "host": "db",
    }


def test_what_nobody_can_read_is_not_shown(written):
    with pytest.raises(ValueError, match="syntax error") as caught:
        with_defaults({"service": "a"}, written("[a]\npassword is=secret\n"))

    assert "secret" not in str(caught.value)


def test_the_sslmode_that_system_roots_require_may_be_the_services(written):
    weak = written("[a]\nsslrootcert=system\nsslmode=require\n")
    with pytest.raises(ValueError, match='weak sslmode "require"'):
        with_verification({"service": "a"}, weak)

    assert with_verification({"service": "a"}, written("[a]\nsslrootcert=system\n")) == {
        "service": "a",
        "sslmode": "verify-full",
    }
