"""libpq's keywords: which exist, which environment variables set them, and which values they accept.

The rules are those of the PostgreSQL 18 documentation, 34.1.2 (the keywords) and 34.15 (the environment). Where the
documentation is silent, the rule is the behaviour of libpq 18.6, and the tests check that it still is.
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
"""The keywords of PostgreSQL 18's libpq, each with the environment variable that sets its default (34.1.2, 34.15)."""

SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
"""The keywords whose values no message and no log may show."""

SYSTEM_ROOTS = "system"
"""The value of sslrootcert that stands for the authorities that the system trusts; known to libpq from 16 on."""

# Other drivers' names, for suggestions only: libpq has one name for each keyword, and so do we.
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
_WHOLE_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_LARGEST = 2**31 - 1

# C strings end at NUL. The only surrogates with a meaning are U+DC80..U+DCFF: undecodable bytes (PEP 383).
_UNSENDABLE = re.compile(r"[\x00\ud800-\udc7f\udd00-\udfff]")

_UNDECODED = re.compile(r"[\udc80-\udcff]")


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the values of the PG* variables by keyword: libpq's defaults, for the driver that does not use libpq.

    A variable that is set to the empty string counts, as it does for libpq. PGDATESTYLE, PGTZ and PGGEQO are left out:
    they set parameters of the session, not of the connection.
    """
    found = {keyword: environ[variable] for keyword, variable in KEYWORDS.items() if variable and variable in environ}
    # Deprecated since 7.4, and libpq 18 still reads it. Without it an encrypted connection might become a plain one.
    if environ.get("PGREQUIRESSL", "").startswith("1"):
        found.setdefault("sslmode", "require")
    return found


def refuse_unknown(keyword: str, name: str) -> None:
    """Raise a ValueError if there is no such keyword. The message suggests one that is similar.

    Args:
        keyword: the word as libpq would read it.
        name: the word as the message shows it: only its place, if it may be part of a password.
    """
    if keyword not in KEYWORDS:
        raise ValueError(f"the connection keyword {name} is unknown{_suggestion(keyword)}")


def refuse_unsendable(text: str, part: str) -> None:
    """Raise a ValueError if a text cannot be sent to a server; `part` is its name in the message."""
    if found := _UNSENDABLE.search(text):
        what = "NUL" if found[0] == "\0" else "a lone surrogate"
        raise ValueError(f"{part} has {what} at character {found.start() + 1}; PostgreSQL accepts UTF-8 without NUL")


def refuse_undecoded(keyword: str, value: str) -> None:
    """Raise a ValueError if a value has bytes that are not UTF-8, kept as surrogates; no driver can pass them on.

    The drivers' own error is a UnicodeEncodeError, whose repr() shows the whole connection string.
    """
    if _UNDECODED.search(value):
        raise ValueError(f"the {keyword} has bytes that are not UTF-8, which no driver can pass on")


def check_numbers(parameters: Mapping[str, str]) -> None:
    """Raise a ValueError, in libpq's words, if a value that must be a whole number is not one, or is too large."""
    for keyword in _WHOLE_NUMBERS:
        value = parameters.get(keyword, "0")
        if not _WHOLE_NUMBER.fullmatch(value) or abs(int(value)) > _LARGEST:
            raise ValueError(f'invalid integer value "{value}" for connection option "{keyword}"')


def text_of(keyword: str, value: object) -> str:
    """Return an option's value in the form that libpq reads; conninfo.merge() documents the conversions.

    Raises:
        TypeError: no keyword accepts a value of this type, or this keyword does not.
        ValueError: the value is a time that is not finite.
    """
    # By the methods of str and int themselves, since str() of an enumeration's member that derives from them may
    # return its name: of an IntEnum's before Python 3.11, of others in every release.
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
        raise TypeError(f"{keyword} cannot be a bool; only {', '.join(sorted(_YES_OR_NO))} can")
    return "1" if value else "0"


def _duration(keyword: str, value: float) -> str:
    if keyword not in _DURATIONS:
        raise TypeError(f"{keyword} cannot be a float; only {', '.join(sorted(_DURATIONS))} can")
    if not math.isfinite(value):
        raise ValueError(f"{keyword} must be finite, not {value}; use None to leave it out")
    return str(math.ceil(value))
