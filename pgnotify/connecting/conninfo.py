"""libpq's connection strings, read and written without libpq.

Three of the four drivers hand the string to libpq; the one without libpq needs it taken apart, and all of them need
the same errors and the same keywords. This module decides what a string says. It opens nothing, and it does not fill
in what libpq takes from elsewhere when it connects: the user's name, the password file, the service file, and the
sslmode that follows from sslrootcert=system.

The rules are those of the PostgreSQL 18 documentation, 34.1.1 (the two forms), 34.1.2 (the keywords) and 34.15 (the
environment); where it is silent, libpq 18.6 was asked, and the tests ask it again.

No message says what may be a password. That rules out more than the password itself: in `password=my secret` the
second word belongs to it, and in `postgresql://u:my/secret@h`, a "/" not written as %2F, libpq sees the port `my`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

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

DEFAULT_PORT = 5432
"""Where a server listens that was not told otherwise; a libpq may have been built with another one."""

# Where servers put their socket: Debian's and Red Hat's directory, then PostgreSQL's own. In this order, because
# anybody may put a socket into /tmp.
SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")

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

# A quote quotes only if the value begins with it. A backslash at the end of an unquoted value is dropped.
# ASCII: of the white space, libpq knows what C does.
_PAIR = re.compile(
    r"""\s* ([^=\s]*) \s* = \s* (?: ' ((?:[^'\\]|\\.)*) ' | (?!') ((?:[^\s\\]|\\.|\\\Z)*) )""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_WORD = re.compile(r"\s*([^=\s]*)\s*(=?)", re.ASCII)
_ESCAPED = re.compile(r"\\(.?)")
_NEEDS_NO_QUOTES = re.compile(r"[\w.,:/@%+*-]+", re.ASCII)

_SCHEMES = ("postgresql://", "postgres://")
_ANY_SCHEME = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_URI = re.compile(
    r"(?P<scheme>postgres(?:ql)?://) (?:(?P<user>[^:@/]*) (?P<password>:[^@/]*)? @)? (?P<rest>.*)",
    re.DOTALL | re.VERBOSE,
)
_HOST = re.compile(r"(?:\[([^\]]+)\]|([^:/?,\[][^:/?,]*)|)(?::([^/?,]*))?")
_TAIL = re.compile(r"(?:/(?P<dbname>[^?]*))?(?P<query>\?.*)?", re.DOTALL)

_PORT = re.compile(r"\s*[+-]?[0-9]{1,10}\s*", re.ASCII)
# A connection string inside a value (as libpq allows for dbname), or a user:password@host that slipped.
_TRACE_OF_A_PASSWORD = re.compile(r"://|passw|secret|:.*@", re.DOTALL | re.IGNORECASE)


class Address(NamedTuple):
    """One place to try: what is left of host, hostaddr and port when the lists are taken apart."""

    host: str
    """A name, an IP address or a socket directory. Empty if only hostaddr was given: nothing to verify a name with."""
    hostaddr: str | None
    """The IP address to connect to, so that host need not be looked up; host is then for TLS and Kerberos only."""
    port: int

    @property
    def unix_socket(self) -> str | None:
        """Return the path of the Unix socket to connect to, None for TCP; hostaddr always means TCP."""
        return None if self.hostaddr else socket_path(self.host, self.port)


class _Uri(NamedTuple):
    """A URI cut into pieces, nothing decoded; an absent piece is empty."""

    scheme: str
    user: str
    password: str  # with its ":"
    hosts: str
    host: str
    port: str
    dbname: str
    query: str  # with its "?"


# --- reading ---------------------------------------------------------------------------------------------------------


def parse(dsn: str) -> dict[str, str]:
    """Read a connection string, key=value or URI, as libpq's PQconninfoParse does.

    Returns:
        Only what the string says: no defaults, nothing from the environment. Values are not checked, except that
        they can be sent; `port=x` is found out by hosts(). Bytes that are no UTF-8 (`%ff`) come out as
        surrogateescape makes them.

    Raises:
        ValueError: libpq would not read it either. The message says where, and never a password.
    """
    _refuse_unsendable(dsn, "the connection string")
    _refuse_other_scheme(dsn)
    return _parse_uri(dsn) if dsn.startswith(_SCHEMES) else _parse_pairs(dsn)


def merge(dsn: str, options: Mapping[str, object]) -> dict[str, str]:
    """Read a connection string and let options override what it says.

    Args:
        dsn: as for parse(); may be empty.
        options: by libpq's keywords. None leaves the option out: the string's value stays. A bool becomes 1 or 0,
            where libpq asks for that (keepalives, sslsni…). A float is a time (connect_timeout, keepalives_idle and
            keepalives_interval in seconds, tcp_user_timeout in milliseconds) and is rounded up: libpq takes whole
            numbers only, and 0 would mean for ever.

    Raises:
        ValueError: the string is unreadable, a keyword unknown, or a value holds what cannot be sent.
        TypeError: an option is none of str, int, bool, float and None, or of these the wrong one for its keyword.
    """
    parameters = parse(dsn)
    for keyword, value in options.items():
        _refuse_unknown(keyword, repr(keyword))
        if value is not None:
            parameters[keyword] = _text(keyword, value)
            _refuse_unsendable(parameters[keyword], keyword)
    return parameters


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


def _parse_pairs(dsn: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    position = 0
    while pair := _PAIR.match(dsn, position):
        word, quoted, plain = pair.groups()
        keyword, value = _modern(word, _ESCAPED.sub(r"\1", plain if quoted is None else quoted))
        _refuse_unknown(keyword, _shown(word, f"at character {pair.start(1) + 1}", _has_secret(parameters)))
        parameters[keyword] = value
        position = pair.end()
    _refuse_leftover(dsn, position, _has_secret(parameters))
    return parameters


def _refuse_leftover(dsn: str, position: int, after_secret: bool) -> None:
    word = _WORD.match(dsn, position)
    if word is None or not word[1] + word[2]:
        return
    name = _shown(word[1], f"at character {word.start(1) + 1}", after_secret)
    if word[2]:
        raise ValueError(f"no closing quote for the value of the connection keyword {name}")
    raise ValueError(
        f'no "=" after the word {name} in the connection string; write "dbname=mydb" or "postgresql:///mydb"'
    )


def _parse_uri(dsn: str) -> dict[str, str]:
    uri = _split_uri(dsn)
    pieces = {
        "user": uri.user,
        "password": uri.password[1:],
        "host": uri.host,
        "port": uri.port,
        "dbname": uri.dbname,
    }
    parameters = {keyword: _decoded(text, f"the {keyword}") for keyword, text in pieces.items() if text}
    unclear = "@" in uri.query or not _believable(uri)
    return parameters | _parse_query(uri.query, unclear)


def _parse_query(query: str, unclear: bool) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for number, item in enumerate(_query_items(query), 1):
        keyword, value = _query_pair(item, number, unclear or _has_secret(parameters))
        parameters[keyword] = value
    return parameters


def _split_uri(dsn: str) -> _Uri:
    whole = _URI.fullmatch(dsn)
    assert whole is not None, "the caller looked at the scheme"
    places, end = _split_hosts(whole["rest"])
    tail = _TAIL.fullmatch(whole["rest"], end)
    assert tail is not None, "the hosts end where this begins"
    return _Uri(
        scheme=whole["scheme"],
        user=whole["user"] or "",
        password=whole["password"] or "",
        hosts=whole["rest"][:end],
        host=",".join(host for host, _ in places),
        port=",".join(port for _, port in places),
        dbname=tail["dbname"] or "",
        query=tail["query"] or "",
    )


def _believable(uri: _Uri) -> bool:
    """Tell whether no part looks like the end of a password with "@" or "/" in it, or like one without its "@host"."""
    return "@" not in uri.hosts + uri.dbname and all(not port or _PORT.fullmatch(port) for port in uri.port.split(","))


def _split_hosts(text: str) -> tuple[list[tuple[str, str]], int]:
    """Split `h1:1,[::1]:2/mydb` into pairs of host and port, and say where they end."""
    places: list[tuple[str, str]] = []
    position = 0
    while place := _HOST.match(text, position):
        places.append((place[1] or place[2] or "", place[3] or ""))
        following = text[place.end() : place.end() + 1]
        if following in ("", "/", "?"):
            return places, place.end()
        if following != ",":
            break
        position = place.end() + 1
    raise ValueError(
        f"host {len(places)} of the connection URI: an IPv6 address is written as [address], "
        'and after it comes ":port", ",", "/", "?" or nothing'
    )


def _query_items(query: str) -> list[str]:
    items = query[1:].split("&")
    return items if items[-1] else items[:-1]  # one "&" may end the query


def _query_pair(item: str, number: int, hidden: bool) -> tuple[str, str]:
    keyword, *values = item.split("=")
    if len(values) != 1:
        raise ValueError(f'the URI parameter number {number} needs exactly one "="; write one in the value as %3D')
    name = _shown(keyword, f"number {number}", hidden)
    keyword = _decoded(keyword, f"the name of the URI parameter {name}")
    value = _decoded(values[0], f"the value of the URI parameter {name}")
    if (keyword, value) == ("ssl", "true"):  # JDBC's; nothing else of "ssl" is understood
        return "sslmode", "require"
    keyword, value = _modern(keyword, value)
    _refuse_unknown(keyword, name)
    return keyword, value


def _decoded(text: str, part: str) -> str:
    # Since PostgreSQL 18, spaces around a part do not count and spaces within are an error; before, both were data.
    text = text.strip(" ")
    if " " in text:
        raise ValueError(f"{part} has a space in the connection URI; write it as %20")
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise ValueError(f'{part} has a "%" without two hexadecimal digits in the connection URI; write "%" as %25')
    if "%00" in text:
        raise ValueError(f"{part} has %00 in the connection URI; PostgreSQL takes no NUL")
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _modern(keyword: str, value: str) -> tuple[str, str]:
    # The word of PostgreSQL 7.3; libpq reads it in strings only, and its table does not have it.
    if keyword == "requiressl":
        return "sslmode", "require" if value.startswith("1") else "prefer"
    return keyword, value


# --- refusing --------------------------------------------------------------------------------------------------------


def _shown(word: str, place: str, hidden: bool) -> str:
    """Return the word if it is one and may be shown, else where it stands."""
    return repr(word) if re.fullmatch(r"\w+", word, re.ASCII) and not hidden else place


def _has_secret(parameters: Mapping[str, str]) -> bool:
    return not SECRETS.isdisjoint(parameters)


def _refuse_other_scheme(dsn: str) -> None:
    scheme = _ANY_SCHEME.match(dsn)
    if scheme and scheme[0] not in _SCHEMES:
        raise ValueError(f"a connection URI begins with postgresql:// or postgres://, not with {scheme[0]!r}")


def _refuse_unknown(keyword: str, name: str) -> None:
    if keyword not in KEYWORDS:
        raise ValueError(f"the connection keyword {name} is unknown{_suggestion(keyword)}")


def _suggestion(keyword: str) -> str:
    known = _OTHER_NAMES.get(keyword.lower())
    close = [known] if known else get_close_matches(keyword.lower(), KEYWORDS, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _refuse_unsendable(text: str, part: str) -> None:
    if found := _UNSENDABLE.search(text):
        what = "NUL" if found[0] == "\0" else "a lone surrogate"
        raise ValueError(f"{part} has {what} at character {found.start() + 1}; PostgreSQL takes UTF-8 without NUL")


def _text(keyword: str, value: object) -> str:
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


# --- writing ---------------------------------------------------------------------------------------------------------


def serialize(parameters: Mapping[str, str]) -> str:
    """Write parameters as a key=value string which parse() and libpq read back to the same.

    Raises:
        ValueError: a keyword is unknown, or a value holds what cannot be sent (NUL, a lone surrogate).
    """
    for keyword, value in parameters.items():
        _refuse_unknown(keyword, repr(keyword))
        _refuse_unsendable(value, keyword)
    return " ".join(f"{keyword}={_quoted(value)}" for keyword, value in parameters.items())


def redacted(dsn: str) -> str:
    """Return the connection string for a message or a log: its secrets are written as ***.

    A URI stays a URI. A string that is unreadable, or reads as if a password had slipped into another part (a "/" in
    it that is not written as %2F), loses everything but its form. Never raises ValueError.
    """
    is_uri = dsn.startswith(_SCHEMES)
    try:
        return _redacted_uri(dsn) if is_uri else serialize(_masked(parse(dsn)))
    except ValueError:
        return "postgresql://***" if is_uri else "***"


def _redacted_uri(dsn: str) -> str:
    parameters = parse(dsn)
    uri = _split_uri(dsn)
    if not _believable(uri) or any(map(_may_hold_a_password, _without_secrets(parameters).values())):
        return f"{uri.scheme}***"
    password = uri.password and ":***"
    login = f"{uri.user}{password}@" if uri.user or password else ""
    query = "&".join(_masked_item(item) for item in _query_items(uri.query))
    return "".join([uri.scheme, login, uri.hosts, uri.dbname and f"/{uri.dbname}", query and f"?{query}"])


def _may_hold_a_password(value: str) -> bool:
    return _TRACE_OF_A_PASSWORD.search(value) is not None


def _without_secrets(parameters: Mapping[str, str]) -> dict[str, str]:
    return {keyword: value for keyword, value in parameters.items() if keyword not in SECRETS}


def _masked(parameters: Mapping[str, str]) -> dict[str, str]:
    return {
        keyword: "***" if keyword in SECRETS or _may_hold_a_password(value) else value
        for keyword, value in parameters.items()
    }


def _masked_item(item: str) -> str:
    keyword, _, value = item.partition("=")
    return f"{keyword}=***" if _decoded(keyword, "") in SECRETS else f"{keyword}={value}"


def _quoted(value: str) -> str:
    return value if _NEEDS_NO_QUOTES.fullmatch(value) else "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"


# --- places to connect to --------------------------------------------------------------------------------------------


def hosts(parameters: Mapping[str, str]) -> list[Address]:
    """Return the places to try, in this order, from the comma lists in host, hostaddr and port (34.1.1.3).

    A place without host and hostaddr is on this machine: the socket directory in which there is a socket for its
    port, else "localhost". With load_balance_hosts=random the caller shuffles.

    Raises:
        ValueError: the lists differ in length, or a port is no number from 1 to 65535. The message does not show the
            port, which is the password in `postgresql://user:password` without its "@host".
    """
    names = _listed(parameters, "host")
    numbers = _listed(parameters, "hostaddr")
    if names and numbers and len(names) != len(numbers):
        raise ValueError(f"could not match {len(names)} host names to {len(numbers)} hostaddr values")
    count = max(len(names), len(numbers), 1)
    places = zip(names or [""] * count, numbers or [""] * count, _ports(parameters, count), strict=True)
    return [_address(name, number, port) for name, number, port in places]


def socket_path(host: str, port: int) -> str | None:
    """Return the path of the Unix socket that libpq takes for a host, None if the host is for TCP.

    A host that begins with "/" is the directory. One that begins with "@" is in Linux's abstract namespace: the path
    begins with NUL then, which is how the socket module wants it.
    """
    if not host.startswith(("/", "@")):
        return None
    path = f"{host}/.s.PGSQL.{port}"
    return "\0" + path[1:] if host.startswith("@") else path


def _address(name: str, number: str, port: int) -> Address:
    return Address(name if name or number else _default_host(port), number or None, port)


def _default_host(port: int) -> str:
    with_a_socket = (directory for directory in SOCKET_DIRECTORIES if os.path.exists(f"{directory}/.s.PGSQL.{port}"))
    return next(with_a_socket, "localhost")


def _listed(parameters: Mapping[str, str], keyword: str) -> list[str]:
    text = parameters.get(keyword, "")
    return text.split(",") if text else []


def _ports(parameters: Mapping[str, str], count: int) -> list[int]:
    texts = _listed(parameters, "port") or [""]
    if len(texts) not in (1, count):
        raise ValueError(f"could not match {len(texts)} port numbers to {count} hosts")
    ports = list(_checked_ports(texts))
    return ports * count if len(ports) == 1 else ports


def _checked_ports(texts: list[str]) -> Iterator[int]:
    for place, text in enumerate(texts, 1):
        number = int(text) if _PORT.fullmatch(text) else 0
        if text and not 1 <= number <= 65535:
            raise ValueError(f"port {place} of {len(texts)} must be a number from 1 to 65535")
        yield number if text else DEFAULT_PORT
