"""No log and no message shows a password."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pgnotify.connecting.conninfo import merge, parse
from pgnotify.connecting.hosts import hosts
from pgnotify.connecting.redact import place_of, redacted


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("", ""),
        ("host=h  dbname='my db'", "host=h dbname='my db'"),
        ("host=h password='hun ter' user=u", "host=h password=*** user=u"),
        ("sslpassword=hunter oauth_client_secret=hunter", "sslpassword=*** oauth_client_secret=***"),
        ("scram_client_key=hunter scram_server_key=hunter", "scram_client_key=*** scram_server_key=***"),
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
def test_a_redacted_string_shows_everything_except_the_secrets(dsn: str, shown: str) -> None:
    assert redacted(dsn) == shown


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("host=h", "h:5432"),
        ("host=h port=5433 dbname='my db' user=u password=hunter", "h:5433/my db"),
        ("hostaddr=127.0.0.1", "127.0.0.1:5432"),
        ("postgresql://u:hunter@[::1]:5433,h/d", "[::1]:5433,h:5432/d"),
        ("postgresql://u:hunter@a,b,c,d/d?sslpassword=hunter", "a:5432,b:5432,c:5432,…/d"),
        ("host=/run/postgresql", "/run/postgresql:5432"),
        ("service=prod", "service prod"),
        ("service=prod host=h", "h:5432"),
        ("postgresql://u:hun/ter@h/d", "***"),
        ("postgresql://u:12/hunter@h", "***"),
        ("postgresql://u:hun@ter@h/d", "***"),
        ("dbname=postgresql://u:hunter@h host=h", "***"),
        ("postgresql://u:hunter", "***"),
        ("password=hun ter", "***"),
    ],
)
def test_a_place_is_where_a_string_leads_to_without_its_user_and_secrets(dsn, shown, monkeypatch):
    for variable in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(variable, raising=False)

    assert place_of(dsn) == shown


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
def test_no_message_shows_any_part_of_a_password(place: str, separator: str) -> None:
    assume(not (place.endswith("{}") and "@" in separator))  # postgresql://u:pass@word is a valid string

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
def test_no_message_shows_a_password_given_as_an_option(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="password") as caught:
        merge("", {"password": value})

    assert "hunter" not in str(caught.value)


@settings(deadline=None)
@given(st.sampled_from(["", "postgresql://"]), st.text(st.characters()))
def test_redacting_never_raises(beginning: str, text: str) -> None:
    redacted(beginning + text)
