"""No repr, no error, no traceback and no log shows a secret of a connection string, whatever the driver says."""

from __future__ import annotations

import logging
import traceback
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import pgnotify
from pgnotify.connecting.conninfo import parse, serialize
from pgnotify.connecting.source import Source
from pgnotify.registry import DRIVERS
from tests.helpers.listeners import Told, listening
from tests.kinds import Address

pytestmark = pytest.mark.drivers(*DRIVERS)

SECRET = "hun ter'\\é%@:/?&=hun"


def everything_said_of(error: BaseException | None) -> str:
    """Return what a log, a debugger or a report shows of an error and of those below it."""
    said = []
    while error is not None:
        said += [str(error), repr(error), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "".join(said)


@pytest.fixture
def dsn_with_secrets(request: pytest.FixtureRequest, address: Address) -> str:
    """A connection string of the server, with a secret that it does not need."""
    form, dsn = request.param, address.dsn
    if form == "URI":
        return f"{dsn}{'&' if '?' in dsn else '?'}sslpassword={quote(SECRET, safe='')}"
    if form == "URI, encoded name":
        return f"{dsn}{'&' if '?' in dsn else '?'}ssl%70assword={quote(SECRET, safe='')}"
    return serialize(parse(dsn) | {"sslpassword": SECRET})


@pytest.mark.parametrize("dsn_with_secrets", ["URI", "URI, encoded name", "pairs"], indirect=True)
def test_no_repr_shows_a_secret(driver: str, dsn_with_secrets: str):
    with pgnotify.connect(dsn_with_secrets, driver=driver) as connection:
        handler = pgnotify.NotificationHandler(connection, "event", print)
        objects = (connection, connection.backend, handler, handler.close, connection.notification_handler)

        assert "hun" not in "".join(map(repr, objects)) + "".join(map(str, objects))
        assert type(connection.connection).__qualname__ in repr(connection)


@pytest.mark.parametrize("dsn_with_secrets", ["URI", "pairs"], indirect=True)
def test_no_log_and_no_error_of_a_listener_shows_a_secret(
    driver: str, dsn_with_secrets: str, session, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    told = Told()

    with listening(dsn_with_secrets, "channel", driver=driver, on_listening=told) as listener:
        pid = pgnotify.wrap(told.next().connection).backend.server_pid
        said = [repr(listener), repr(listener.status())]
        session.terminate(pid)
        assert told.next().gap is not None
        said += [repr(listener.status()), str(listener.status().last_error)]

    assert "lost" in caplog.text
    assert "hun" not in caplog.text + "".join(said)


def test_a_source_that_returns_the_same_connection_is_not_shown_with_its_secrets(driver: str, address: Address):
    separator = "&" if "?" in address.dsn else "?"
    connection = pgnotify.connect(f"{address.dsn}{separator}sslpassword=hunter", driver=driver).connection
    source = Source(lambda: connection, None, None, 5.0)
    backend = source.open()
    with pytest.raises(pgnotify.SourceError) as caught:
        source.open()
    backend.close()

    assert "hun" not in everything_said_of(caught.value)


# Nothing listens on port 1.
PLACES = [
    "postgresql://u:{}@127.0.0.1:1/d",
    "postgresql://u:{}@127.0.0.1:1/d?user=x",
    "postgresql://u:{}@[::1",
    "postgresql://u:{}@127.0.0.1:1/%",
    "postgresql://u:{}@127.0.0.1:1?bogus=1",
    "postgresql://u:{}",
    "postgresql://127.0.0.1:1/d?password={}&user=x",
    "postgresql://127.0.0.1:1/d?p%61ssword={}&sslpassword={}&user=x",
    "postgresql://127.0.0.1:1/d?scram_client_key={}&scram_server_key={}",
    "postgresql://127.0.0.1:1/d?oauth_client_secret={}",
    "postgres://127.0.0.1:1?sslpassword={}&",
    "postgres://127.0.0.1:1?sslpassword={}",
    "postgres://127.0.0.1:1/?sslpassword={}",
    "mysql://u:{}@127.0.0.1:1",
    "u:{}@127.0.0.1:1/d",
    "host=127.0.0.1 port=1 password={} user=x",
    "host=127.0.0.1 port=1 password='{}' user=x",
    "host=127.0.0.1 port=1 password={} bogus=x",
    "host=127.0.0.1 port=1 scram_client_key='{}'",
    "host=127.0.0.1 port=1 sslpassword='{}' oauth_client_secret='{}' sslcert=/missing sslmode=require",
    "password='{}' port=x",
    "password='{}",
    "password {}",
    "host=127.0.0.1 passwd={}",
]
separators = st.text("/?&=@:,%# '\\\"[]\t\n\0\xa0é\ud800\udcff", max_size=3) | st.sampled_from(
    ["%zz", "%00", "%41", "%ff", "%40", " =", "' '", "\\'"]
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), separators)
@example("postgresql://u:{}@127.0.0.1:1/d", "%ff")
@example("postgresql://u:{}@127.0.0.1:1/d", "@")
@example("postgresql://u:{}@127.0.0.1:1/d", "@@")
@example("postgresql://u:{}@127.0.0.1:1/d", "/")
@example("postgresql://u:{}", "")
@example("host=127.0.0.1 port=1 password='{}' user=x", "\udcff")
@example("host=127.0.0.1 port=1 password={} user=x", " ")
def test_no_error_of_a_failed_connect_shows_any_part_of_a_secret(driver: str, place: str, separator: str):
    # Then there is an "@" where libpq looks for the end of the password: the rest is a valid host.
    assume("@" not in separator or place not in ("postgresql://u:{}", "postgres://127.0.0.1:1?sslpassword={}"))
    secret = f"hun{separator}hun"

    with pytest.raises(Exception) as caught:  # noqa: PT011  # of any class: the driver's own, or ours
        pgnotify.connect(place.format(secret, secret), driver=driver)

    assert "hun" not in everything_said_of(caught.value)
