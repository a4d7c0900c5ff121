"""The password file, where it does not depend on libpq; the rest is compared with libpq's own answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgnotify.connecting.hosts import Address
from pgnotify.connecting.passfile import password_for


@pytest.fixture
def file(tmp_path) -> Path:
    path: Path = tmp_path / "passwords"
    path.touch(0o600)
    return path


@pytest.mark.parametrize("host", ["localhost", "/var/run/postgresql", "/tmp"])
def test_localhost_stands_for_the_default_socket_directory_too(file, host: str):
    file.write_text("localhost:*:*:*:hunter")

    assert password_for(Address(host, None, 5432), "d", "u", file) == "hunter"


@pytest.mark.parametrize("host", ["/elsewhere", "127.0.0.1", "/tmp/"])
def test_localhost_stands_for_nothing_else(file, host: str):
    file.write_text("localhost:*:*:*:hunter")

    assert password_for(Address(host, None, 5432), "d", "u", file) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o777])
def test_a_file_that_others_can_read_is_ignored_with_a_warning_that_shows_no_password(file, mode: int):
    file.write_text("*:*:*:*:hunter")
    file.chmod(mode)

    with pytest.warns(UserWarning, match=f"is ignored: its mode is {mode:04o}") as caught:
        assert password_for(Address("h", None, 5432), "d", "u", file) is None

    assert "hunter" not in str(caught[0].message)


def test_a_pipe_or_a_directory_is_ignored_with_a_warning(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)

    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.warns(UserWarning, match="is ignored: it is not a plain file"):
            assert password_for(Address("h", None, 5432), "d", "u", path) is None


def test_a_missing_file_is_not_worth_a_warning(tmp_path):
    assert password_for(Address("h", None, 5432), "d", "u", tmp_path / "missing") is None
