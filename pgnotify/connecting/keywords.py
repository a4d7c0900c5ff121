"""libpq's keywords: which there are, what the environment says by them, and what their values may be.

The rules are those of the PostgreSQL 18 documentation, 34.1.2 (the keywords) and 34.15 (the environment); where it is
silent, libpq 18.6 was asked, and the tests ask it again.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

KEYWORDS: Mapping[str, str | None] = MappingProxyType(
    {
        "host": "PGHOST",
        "hostaddr": "PGHOSTADDR",
        "port": "PGPORT",
        "dbname": "PGDATABASE",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "passfile": "PGPASSFILE",
        "require_auth": "PGREQUIREAUTH",
        "channel_binding": "PGCHANNELBINDING",
        "connect_timeout": "PGCONNECT_TIMEOUT",
        "client_encoding": "PGCLIENTENCODING",
        "options": "PGOPTIONS",
        "application_name": "PGAPPNAME",
        "fallback_application_name": None,
        "keepalives": None,
        "keepalives_idle": None,
        "keepalives_interval": None,
        "keepalives_count": None,
        "tcp_user_timeout": None,
        "replication": None,
        "gssencmode": "PGGSSENCMODE",
        "sslmode": "PGSSLMODE",
        "sslnegotiation": "PGSSLNEGOTIATION",
        "sslcompression": "PGSSLCOMPRESSION",
        "sslcert": "PGSSLCERT",
        "sslkey": "PGSSLKEY",
        "sslkeylogfile": None,
        "sslpassword": None,
        "sslcertmode": "PGSSLCERTMODE",
        "sslrootcert": "PGSSLROOTCERT",
        "sslcrl": "PGSSLCRL",
        "sslcrldir": "PGSSLCRLDIR",
        "sslsni": "PGSSLSNI",
        "requirepeer": "PGREQUIREPEER",
        "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
        "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
        "min_protocol_version": "PGMINPROTOCOLVERSION",
        "max_protocol_version": "PGMAXPROTOCOLVERSION",
        "krbsrvname": "PGKRBSRVNAME",
        "gsslib": "PGGSSLIB",
        "gssdelegation": "PGGSSDELEGATION",
        "scram_client_key": None,
        "scram_server_key": None,
        "service": "PGSERVICE",
        "target_session_attrs": "PGTARGETSESSIONATTRS",
        "load_balance_hosts": "PGLOADBALANCEHOSTS",
        "oauth_issuer": None,
        "oauth_client_id": None,
        "oauth_client_secret": None,
        "oauth_scope": None,
    }
)
"""What libpq of PostgreSQL 18 knows, each with the environment variable that stands in for it (34.1.2 and 34.15)."""

SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
"""The keywords whose values no message and no log may show."""

# Words of other drivers. libpq has one word for each thing, and so have we.
_OTHER_NAMES = {
    "database": "dbname",
    "db": "dbname",
    "hostname": "host",
    "pass": "password",
    "passwd": "password",
    "ssl": "sslmode",
    "timeout": "connect_timeout",
    "username": "user",
}
_YES_OR_NO = frozenset({"gssdelegation", "keepalives", "replication", "sslcompression", "sslsni"})
_DURATIONS = frozenset({"connect_timeout", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"})

# C strings end at NUL; of the surrogates only U+DC80..U+DCFF stand for something, an undecodable byte (PEP 383).
_UNSENDABLE = re.compile(r"[\x00\ud800-\udc7f\udd00-\udfff]")


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Collect what the PG* variables say, by keyword: the defaults of libpq, for the driver that is without it.

    A variable that is set but empty counts, as it does for libpq. PGDATESTYLE, PGTZ and PGGEQO are not here: they
    set parameters of the session, not of the connection.
    """
    found = {keyword: environ[variable] for keyword, variable in KEYWORDS.items() if variable and variable in environ}
    # Deprecated since 7.4, read by libpq 18 still: without it a connection that was encrypted might no longer be.
    if environ.get("PGREQUIRESSL", "").startswith("1"):
        found.setdefault("sslmode", "require")
    return found


def refuse_unknown(keyword: str, name: str) -> None:
    """Raise a ValueError if there is no such keyword, and suggest one.

    Args:
        keyword: the word as libpq would read it.
        name: how the message calls it, which may be by its place only: it may be a part of a password.
    """
    if keyword not in KEYWORDS:
        raise ValueError(f"the connection keyword {name} is unknown{_suggestion(keyword)}")


def refuse_unsendable(text: str, part: str) -> None:
    """Raise a ValueError if no server could be sent this text; the message calls it as `part` does."""
    if found := _UNSENDABLE.search(text):
        what = "NUL" if found[0] == "\0" else "a lone surrogate"
        raise ValueError(f"{part} has {what} at character {found.start() + 1}; PostgreSQL takes UTF-8 without NUL")


def text_of(keyword: str, value: object) -> str:
    """Return an option's value as libpq takes it; conninfo.merge() says which values become what.

    Raises:
        TypeError: the value has a type that no keyword takes, or not this one.
        ValueError: it is a time that is not finite.
    """
    # str and int by their own methods: an enumeration that is one of them too may print its name (until Python 3.11).
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return _yes_or_no(keyword, value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _duration(keyword, value)
    raise TypeError(f"{keyword} must be a str, int, bool, float or None, not {type(value).__name__}")


def _suggestion(keyword: str) -> str:
    known = _OTHER_NAMES.get(keyword.lower())
    close = [known] if known else get_close_matches(keyword.lower(), KEYWORDS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _yes_or_no(keyword: str, value: bool) -> str:
    if keyword not in _YES_OR_NO:
        raise TypeError(f"{keyword} takes no bool; only {', '.join(sorted(_YES_OR_NO))} do")
    return "1" if value else "0"


def _duration(keyword: str, value: float) -> str:
    if keyword not in _DURATIONS:
        raise TypeError(f"{keyword} takes no float; only {', '.join(sorted(_DURATIONS))} do")
    if not math.isfinite(value):
        raise ValueError(f"{keyword} must be finite, not {value}; None leaves it out")
    return str(math.ceil(value))
