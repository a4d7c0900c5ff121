"""An Address: its DSN says all that is in it, and its repr() keeps the password."""

from __future__ import annotations

import pytest

from pgnotify.connecting import conninfo
from pgnotify.testing import Address

PASSWORDS = ["right", "p:a@s/s w'or\"d\\%41?&=é", "#[]", "日本", "%", " "]


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_dsn_says_all_of_it(password: str) -> None:
    address = Address("127.0.0.1", 5433, "a/b", "o'dd @user", password)

    assert conninfo.parse(address.dsn) == {
        "host": "127.0.0.1",
        "port": "5433",
        "dbname": "a/b",
        "user": "o'dd @user",
        "password": password,
    }


def test_without_a_password_the_dsn_has_none() -> None:
    assert Address("::1", 5433).dsn == "postgresql://postgres@[::1]:5433/postgres"


def test_the_repr_does_not_show_the_password() -> None:
    address = Address("h", 1, password="hunter2")

    assert f"{address}" == "Address(host='h', port=1, database='postgres', user='postgres', password='***')"
    assert "hunter2" not in f"{address!r} {address!s} {[address]} {address._replace(port=2)}"
    assert repr(Address("h", 1)) == "Address(host='h', port=1, database='postgres', user='postgres', password=None)"
