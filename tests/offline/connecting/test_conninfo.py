"""What a connection string says, and that no message tells the password. Needs no driver and no server."""

from __future__ import annotations

import enum
import os
import re
import socket
import sys

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pgnotify.connecting.conninfo import merge, parse, serialize
from pgnotify.connecting.hosts import Address, hosts, socket_path
from pgnotify.connecting.keywords import KEYWORDS, environment
from pgnotify.connecting.redact import redacted

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
    # URI: the corners
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
    "postgresql+psycopg://h": "postgresql+psycopg://",
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


# --- parse -----------------------------------------------------------------------------------------------------------


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
def test_what_cannot_be_sent_is_refused(dsn: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse(dsn)


# --- merge -----------------------------------------------------------------------------------------------------------


def test_options_override_the_string() -> None:
    merged = merge("postgresql://u@h/d", {"dbname": "e", "port": 5433})

    assert merged == {"user": "u", "host": "h", "dbname": "e", "port": "5433"}


def test_none_leaves_the_option_out_and_the_string_as_it_is() -> None:
    assert merge("host=h", {"host": None, "port": None}) == {"host": "h"}


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
def test_values_become_what_libpq_takes(keyword: str, value: object, text: str) -> None:
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
def test_an_unknown_option_is_named_with_the_right_one(keyword: str, instead: str) -> None:
    with pytest.raises(ValueError, match=f"'{keyword}' is unknown; did you mean '{instead}'"):
        merge("", {keyword: "x"})


def test_an_option_that_resembles_nothing_gets_no_suggestion() -> None:
    with pytest.raises(ValueError, match=r"'xyzzy' is unknown$"):
        merge("", {"xyzzy": 1})


def test_an_option_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(ValueError, match="dbname has NUL"):
        merge("", {"dbname": "a\0"})


def test_requiressl_is_known_in_strings_only() -> None:
    with pytest.raises(ValueError, match="'requiressl' is unknown"):
        merge("", {"requiressl": 1})


# --- serialize -------------------------------------------------------------------------------------------------------

sendable = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
parameter_sets = st.dictionaries(st.sampled_from(sorted(KEYWORDS)), sendable | st.text(" '\\=\t\n\x1c\xa0a"))


@settings(deadline=None)
@given(parameter_sets)
def test_what_is_written_is_read_back(parameters: dict[str, str]) -> None:
    assert parse(serialize(parameters)) == parameters


def test_only_what_needs_quotes_is_quoted() -> None:
    written = serialize({"host": "/tmp", "user": "it's", "dbname": "", "options": "-c a=b"})

    assert written == r"host=/tmp user='it\'s' dbname='' options='-c a=b'"


@pytest.mark.parametrize("parameters", [{"host=x user": "a"}, {"host": "a\0b"}, {"requiressl": "1"}])
def test_what_could_not_be_read_back_is_not_written(parameters: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"unknown|NUL"):
        serialize(parameters)


# --- environment -----------------------------------------------------------------------------------------------------


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


def test_the_table_of_keywords_is_frozen() -> None:
    with pytest.raises(TypeError):
        KEYWORDS["bogus"] = None  # type: ignore[index]


# --- hosts -----------------------------------------------------------------------------------------------------------


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
def test_the_lists_are_taken_apart_in_step(parameters: dict[str, str], addresses: list[Address]) -> None:
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


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_python_connects_to_the_path_of_an_abstract_socket() -> None:
    host = f"@pgnotify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(f"\0{host[1:]}/.s.PGSQL.5432")
        server.listen()

        client.connect(str(socket_path(host, 5432)))


# --- passwords -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("", ""),
        ("host=h  dbname='my db'", "host=h dbname='my db'"),
        ("host=h password='hun ter' user=u", "host=h password=*** user=u"),
        ("sslpassword=hunter oauth_client_secret=hunter", "sslpassword=*** oauth_client_secret=***"),
        ("postgresql://u:hunter@h:5432,[::1]/d?sslmode=require&", "postgresql://u:***@h:5432,[::1]/d?sslmode=require"),
        ("postgres://u@h", "postgres://u@h"),
        ("postgres://:hunter@h", "postgres://:***@h"),
        ("postgresql://h/?user=u@h&p%61ssword=hunter", "postgresql://h?user=u@h&p%61ssword=***"),
        ("postgresql://u:hun@ter@h/d", "postgresql://***"),
        ("postgresql://u:hun/ter@h/d", "postgresql://***"),
        ("postgresql://u:hunter/d", "postgresql://***"),
        ("postgresql://u:hun%ter@h", "postgresql://***"),
        ("dbname=postgresql://u:hunter@h", "dbname=***"),
        ("postgresql:///host%3Dh%20password%3Dhunter", "postgresql://***"),
        ("password=hun ter", "***"),
        ("mysql://u:hunter@h", "***"),
        ("u:hunter@h", "***"),
        ("password=a\0hunter", "***"),
        ("password=hunter\ud800", "***"),
    ],
)
def test_a_redacted_string_shows_everything_but_the_secrets(dsn: str, shown: str) -> None:
    assert redacted(dsn) == shown


PLACES_FOR_A_PASSWORD = [
    "postgresql://u:{}@h:1/d?user=x",
    "postgresql://u:{}@[::1",
    "postgresql://u:{}@h/%",
    "postgresql://u:{}@h?bogus=1",
    "postgresql://u:{}",
    "postgresql://h/d?password={}&user=x",
    "postgresql://h/d?password={}&bogus=x",
    "postgres://h?sslpassword={}&",
    "mysql://u:{}@h",
    "u:{}@h/d",
    "host=h password={} user=x",
    "host=h password={} bogus=x",
    "password='{}' port=x",
    "password='{}",
    "password {}",
    "host=h passwd={}",
]
separators = st.text("/?&=@:,%# '\\\"[]\t\n\0\xa0\ud800", max_size=3) | st.sampled_from(
    ["%zz", "%00", "%41", " =", "' '"]
)


def everything_said_about(dsn: str) -> str:
    said = [redacted(dsn)]
    for step in (parse, lambda text: hosts(parse(text)), lambda text: merge(text, {"port": "x", "bogus": 1})):
        try:
            step(dsn)
        except ValueError as error:
            said += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
    return "\n".join(said)


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(PLACES_FOR_A_PASSWORD), separators)
@example("host=h password={} user=x", " ")
@example("postgresql://h/d?password={}&user=x", "&")
@example("postgresql://u:{}@h:1/d?user=x", "/?=")
def test_no_message_tells_any_part_of_a_password(place: str, separator: str) -> None:
    assume(not (place.endswith("{}") and "@" in separator))  # postgresql://u:pass@word is a string without fault

    said = everything_said_about(place.format(f"hun{separator}hun"))

    assert "hun" not in said


@pytest.mark.parametrize(
    "dsn",
    [
        "password=my hunter=2",
        "password=my hunter",
        "postgresql://h?password=my&hunter=2",
        "postgresql://u:my/pass?hunter=2@h",
        "postgresql://u:1/pass?hunter=2@h",
        "postgresql://u:my?hunter=2",
    ],
)
def test_a_word_that_may_be_the_end_of_a_password_is_not_named(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"at character 13|number [12]") as caught:
        parse(dsn)

    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("value", [b"hunter", ["hunter"], "hunter\0"])
def test_no_message_tells_a_password_given_as_an_option(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="password") as caught:
        merge("", {"password": value})

    assert "hunter" not in str(caught.value)


@settings(deadline=None)
@given(st.sampled_from(["", "postgresql://"]), st.text(st.characters()))
def test_redacting_never_raises(beginning: str, text: str) -> None:
    redacted(beginning + text)
