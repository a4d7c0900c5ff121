"""What a connection string says. Needs no driver and no server."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnotify.connecting.conninfo import merge, parse, serialize
from pgnotify.connecting.keywords import KEYWORDS

READ = {
    # key=value
    "": {},
    " \t\n\v\f\r": {},
    "host=a port=1": {"host": "a", "port": "1"},
    "host = a\tport\n=\r1": {"host": "a", "port": "1"},
    "host= dbname=x": {"host": "dbname=x"},
    "host=": {"host": ""},
    "host='' dbname=b": {"host": "", "dbname": "b"},
    "host='a b'": {"host": "a b"},
    "host='a'dbname=b": {"host": "a", "dbname": "b"},
    r"password='it\'s' user='\\'": {"password": "it's", "user": "\\"},
    r"password=it\'s\ \\": {"password": "it's \\"},
    "password=it's": {"password": "it's"},
    "password=a\\": {"password": "a"},
    "password=a\\\nb": {"password": "a\nb"},
    "password=a\xa0b\x85c": {"password": "a\xa0b\x85c"},
    "password=日本": {"password": "日本"},
    "password=\udcff": {"password": "\udcff"},
    "host==a": {"host": "=a"},
    "host=a host=b": {"host": "b"},
    "host=a;port=1": {"host": "a;port=1"},
    "requiressl=1": {"sslmode": "require"},
    "requiressl=0": {"sslmode": "prefer"},
    # URI: the examples of the documentation
    "postgresql://": {},
    "postgresql://localhost": {"host": "localhost"},
    "postgresql://localhost:5433": {"host": "localhost", "port": "5433"},
    "postgresql://localhost/mydb": {"host": "localhost", "dbname": "mydb"},
    "postgresql://user@localhost": {"user": "user", "host": "localhost"},
    "postgresql://user:secret@localhost": {"user": "user", "password": "secret", "host": "localhost"},
    "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp": {
        "user": "other",
        "host": "localhost",
        "dbname": "otherdb",
        "connect_timeout": "10",
        "application_name": "myapp",
    },
    "postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=myapp": {
        "host": "host1,host2",
        "port": "123,456",
        "dbname": "somedb",
        "target_session_attrs": "any",
        "application_name": "myapp",
    },
    "postgresql:///mydb?host=localhost&port=5433": {"dbname": "mydb", "host": "localhost", "port": "5433"},
    "postgresql://user@localhost:5433/mydb?options=-c%20synchronous_commit%3Doff": {
        "user": "user",
        "host": "localhost",
        "port": "5433",
        "dbname": "mydb",
        "options": "-c synchronous_commit=off",
    },
    "postgresql://[2001:db8::1234]/database": {"host": "2001:db8::1234", "dbname": "database"},
    "postgresql:///dbname?host=/var/lib/postgresql": {"dbname": "dbname", "host": "/var/lib/postgresql"},
    "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname": {"host": "/var/lib/postgresql", "dbname": "dbname"},
    # URI: corner cases
    "postgres://h": {"host": "h"},
    "postgresql://?host=/tmp": {"host": "/tmp"},
    "postgresql://h:/": {"host": "h"},
    "postgresql://:@/": {},
    "postgresql://:p@h": {"password": "p", "host": "h"},
    "postgresql://u%40:p%2F%3A@h": {"user": "u@", "password": "p/:", "host": "h"},
    "postgresql://u:p:q@h": {"user": "u", "password": "p:q", "host": "h"},
    "postgresql://u:p?q@h": {"user": "u", "password": "p?q", "host": "h"},
    "postgresql://u:p@q@h": {"user": "u", "password": "p", "host": "q@h"},
    "postgresql://u:p/q@h": {"host": "u", "port": "p", "dbname": "q@h"},
    "postgresql://u:p#+@h#+/d#+": {"user": "u", "password": "p#+", "host": "h#+", "dbname": "d#+"},
    "postgresql://h,/d": {"host": "h,", "port": ",", "dbname": "d"},
    "postgresql://h,:5": {"host": "h,", "port": ",5"},
    "postgresql://[::1],[::2]:6,h": {"host": "::1,::2,h", "port": ",6,"},
    "postgresql://[fe80::1%25eth0]:5?port=6": {"host": "fe80::1%eth0", "port": "6"},
    "postgresql://[::1]@h": {"user": "[", "password": ":1]", "host": "h"},
    "postgresql://[::1/]": {"host": "::1/"},
    "postgresql://h%2Cb": {"host": "h,b"},
    "postgresql://h/d/e": {"host": "h", "dbname": "d/e"},
    "postgresql://h?dbname=d&dbname=e&": {"host": "h", "dbname": "e"},
    "postgresql://h?host=&user=": {"host": "", "user": ""},
    "postgresql://h?ho%73t=a?b": {"host": "a?b"},
    "postgresql://h?ssl=true": {"host": "h", "sslmode": "require"},
    "postgresql://h?requiressl=%31": {"host": "h", "sslmode": "require"},
    "postgresql://é/日本?user=%E6%97%A5": {"host": "é", "dbname": "日本", "user": "日"},
    "postgresql://h/%ff": {"host": "h", "dbname": "\udcff"},
    "postgresql:// h : 5 / d ? user = u ": {"host": "h", "port": "5", "dbname": "d", "user": "u"},
    "postgresql://%20h/%2520": {"host": " h", "dbname": "%20"},
}

UNREADABLE = {
    "mydb": "'mydb'",
    "host": "'host'",
    "host=a mydb": "'mydb'",
    "=a": "unknown",
    "bogus=1": "'bogus' is unknown",
    "HOST=a": "did you mean 'host'",
    "ssl=true": "did you mean 'sslmode'",
    "dbnam=d": "did you mean 'dbname'",
    "host=a database=d": "did you mean 'dbname'",
    "host='a": "closing quote for the value of the connection keyword 'host'",
    "host='a\\": "closing quote",
    "host='a''b'": 'no "=" after the word at character 9',
    " \xa0": "character 2",
    "mysql://u@h?a=b": "not with 'mysql://'",
    "postgresql+://h": "postgresql+://",
    "POSTGRESQL+PSYCOPG://h": "POSTGRESQL+PSYCOPG://",
    "POSTGRESQL://h": "not with 'POSTGRESQL://'",
    " postgresql://h": "not with ' postgresql://'",
    "postgresql:h": 'no "="',
    "postgresql://[::1": "host 1",
    "postgresql://h,[]": "host 2",
    "postgresql://[::1]x": "host 1",
    "postgresql://[::1]%20:5": "host 1",
    "postgresql://%zz": 'the host has a "%"',
    "postgresql://h/a%2": 'the dbname has a "%"',
    "postgresql://h/%00": "the dbname has %00",
    "postgresql://h/a b": "the dbname has a space",
    "postgresql://a , b": "the host has a space",
    "postgresql://u%@h": 'the user has a "%"',
    "postgresql://h?host": 'parameter number 1 needs exactly one "="',
    "postgresql://h?user=u&host=a=b": 'parameter number 2 needs exactly one "="',
    "postgresql://h?&host=a": "number 1",
    "postgresql://h?host=a&&": "number 2",
    "postgresql://h?&": "number 1",
    "postgresql://h?host=%zz": "'host' has a \"%\"",
    "postgresql://h?bogus=1": "'bogus' is unknown",
    "postgresql://h?database=d": "did you mean 'dbname'",
    "postgresql://h?ssl=false": "did you mean 'sslmode'",
}


# parse().


@pytest.mark.parametrize("dsn", READ)
def test_a_string_says_what_libpq_reads(dsn: str) -> None:
    assert parse(dsn) == READ[dsn]


@pytest.mark.parametrize("dsn", UNREADABLE)
def test_an_unreadable_string_is_a_value_error_that_names_the_part(dsn: str) -> None:
    with pytest.raises(ValueError, match=re.escape(UNREADABLE[dsn])):
        parse(dsn)


@pytest.mark.parametrize(
    ("dsn", "what"), [("host=a\0b", "NUL at character 7"), ("host=\ud800", "a lone surrogate at character 6")]
)
def test_a_character_that_cannot_be_sent_is_refused(dsn: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse(dsn)


# merge().


def test_options_override_the_string() -> None:
    merged = merge("postgresql://u@h/d", {"dbname": "e", "port": 5433})

    assert merged == {"user": "u", "host": "h", "dbname": "e", "port": "5433"}


def test_none_leaves_the_option_out_and_the_string_as_it_is() -> None:
    assert merge("host=h", {"host": None, "port": None}) == {"host": "h"}


# serialize().

sendable = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
parameter_sets = st.dictionaries(st.sampled_from(sorted(KEYWORDS)), sendable | st.text(" '\\=\t\n\x1c\xa0a"))


@settings(deadline=None)
@given(parameter_sets)
def test_parameters_that_are_written_are_read_back(parameters: dict[str, str]) -> None:
    assert parse(serialize(parameters)) == parameters


def test_only_values_that_need_quotes_are_quoted() -> None:
    written = serialize({"host": "/tmp", "user": "it's", "dbname": "", "options": "-c a=b"})

    assert written == r"host=/tmp user='it\'s' dbname='' options='-c a=b'"


@pytest.mark.parametrize("parameters", [{"host=x user": "a"}, {"host": "a\0b"}, {"requiressl": "1"}])
def test_parameters_that_could_not_be_read_back_are_not_written(parameters: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"unknown|NUL"):
        serialize(parameters)
