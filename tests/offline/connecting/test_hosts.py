"""Which addresses host, hostaddr and port name."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from pgnotify.connecting.hosts import Address, hosts, socket_path


@pytest.mark.parametrize(
    ("parameters", "addresses"),
    [
        ({"host": "h"}, [("h", None, 5432)]),
        ({"host": "h", "port": "5433"}, [("h", None, 5433)]),
        ({"host": "a,b", "port": "5433"}, [("a", None, 5433), ("b", None, 5433)]),
        ({"host": "a,b", "port": "1,2"}, [("a", None, 1), ("b", None, 2)]),
        ({"host": "a,b", "port": ",2"}, [("a", None, 5432), ("b", None, 2)]),
        ({"host": "a", "port": " +007 "}, [("a", None, 7)]),
        ({"hostaddr": "::1,::2"}, [("", "::1", 5432), ("", "::2", 5432)]),
        ({"host": "a,b", "hostaddr": ",::2"}, [("a", None, 5432), ("b", "::2", 5432)]),
        ({"host": "", "hostaddr": "::1"}, [("", "::1", 5432)]),
    ],
)
def test_the_lists_are_split_in_step(parameters: dict[str, str], addresses: list[Address]) -> None:
    assert hosts(parameters) == addresses


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"host": "a,b,c", "port": "1,2"}, "could not match 2 port numbers to 3 hosts"),
        ({"port": "1,2"}, "could not match 2 port numbers to 1 hosts"),
        ({"host": "a,b", "hostaddr": "::1"}, "could not match 2 host names to 1 hostaddr values"),
    ],
)
def test_lists_of_different_length_are_refused_in_the_words_of_libpq(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hosts(parameters)


@pytest.mark.parametrize("port", ["0", "65536", "-5", "x", " ", "0x10", "1_0", "\u0661", "9" * 5000, "5432x"])
def test_a_port_is_a_number_from_1_to_65535(port: str) -> None:
    with pytest.raises(ValueError, match="port 2 of 2 must be a number from 1 to 65535"):
        hosts({"host": "a,b", "port": f"1,{port}"})


def test_the_default_host_is_the_directory_that_has_a_socket_for_the_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    empty, used = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("used")
    (used / ".s.PGSQL.5433").touch()
    monkeypatch.setattr("pgnotify.connecting.hosts.SOCKET_DIRECTORIES", (str(empty), str(used)))

    addresses = hosts({"host": ",", "port": "5432,5433"})

    assert addresses == [("localhost", None, 5432), (str(used), None, 5433)]


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("/tmp", "/tmp/.s.PGSQL.5433"),
        ("@pg", "\0pg/.s.PGSQL.5433"),
        ("localhost", None),
        ("", None),
    ],
)
def test_a_directory_as_host_means_its_unix_socket(host: str, path: str | None) -> None:
    assert socket_path(host, 5433) == path


def test_an_address_with_hostaddr_is_never_a_unix_socket() -> None:
    assert Address("/tmp", None, 5433).unix_socket == "/tmp/.s.PGSQL.5433"
    assert Address("/tmp", "127.0.0.1", 5433).unix_socket is None


@pytest.mark.skipif(sys.platform != "linux", reason="not applicable: abstract sockets are Linux's")
def test_python_connects_to_the_path_of_an_abstract_socket() -> None:
    host = f"@pgnotify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(f"\0{host[1:]}/.s.PGSQL.5432")
        server.listen()

        client.connect(str(socket_path(host, 5432)))


@pytest.mark.parametrize("name", ["word@host", "my?secret", "hun&ter", "a=b", "@my@secret"])
def test_a_name_that_no_host_has_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"host 2 of 2 has '[@?&=]', which no host name has; .* write it as %"
    ) as caught:
        hosts({"host": f"localhost,{name}"})

    assert name not in str(caught.value)


def test_a_socket_directory_may_have_any_name() -> None:
    assert hosts({"host": "/a@b?c=d&e"})[0].unix_socket == "/a@b?c=d&e/.s.PGSQL.5432"
