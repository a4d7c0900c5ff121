"""Read and write libpq's connection strings without libpq.

Three of the four drivers pass the string to libpq. The driver without libpq needs it parsed, and all of them need the
same errors and the same keywords. This module decides what a string says. It opens nothing. It does not fill in the
values that libpq takes from elsewhere when it connects; `defaults` does that for the service file and the environment.

The rules are those of the PostgreSQL 18 documentation, 34.1.1 (the two forms). Where the documentation is silent, the
rule is the behaviour of libpq 18.6, and the tests check that it still is.

No error message shows any text that may be a password; `redact` says which text that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pgnotify.connecting.defaults import with_defaults, with_verification
from pgnotify.connecting.dialect import libpq_form
from pgnotify.connecting.hosts import hosts, is_port_number
from pgnotify.connecting.keywords import (
    SECRETS,
    check_numbers,
    refuse_undecoded,
    refuse_unknown,
    refuse_unsendable,
    text_of,
)

# A quote quotes only if it begins the value. A backslash at the end of an unquoted value is dropped.
# ASCII, because libpq knows only the white space that C knows.
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


class Uri(NamedTuple):
    """A URI cut into pieces, which are not decoded. A piece that is absent is empty."""

    scheme: str
    user: str
    password: str  # with its ":"
    hosts: str
    host: str
    port: str
    dbname: str
    query: str  # with its "?"

    @property
    def query_items(self) -> list[str]:
        """The parts of the query that "&" separates."""
        items = self.query[1:].split("&")
        return items if items[-1] else items[:-1]  # one "&" may end the query

    @property
    def is_believable(self) -> bool:
        """Whether no part looks like a password: the end of one with "@" or "/" in it, or one without "@host"."""
        return "@" not in self.hosts + self.dbname and all(
            not port or is_port_number(port) for port in self.port.split(",")
        )


def parse(dsn: str) -> dict[str, str]:
    """Read a connection string, key=value or URI, as libpq's PQconninfoParse does.

    A URI that names a driver is read, too; see `dialect`.

    Returns:
        The parameters that the string contains: no defaults, nothing from the environment. Values are not checked,
        except that they can be sent; hosts() refuses `port=x`. Bytes that are not UTF-8 (`%ff`) are decoded with
        surrogateescape.

    Raises:
        ValueError: libpq would not read it either. The message says where the error is, and never shows a password.
    """
    dsn = libpq_form(dsn)
    refuse_unsendable(dsn, "the connection string")
    _refuse_other_scheme(dsn)
    return _parse_uri(dsn) if is_uri(dsn) else _parse_pairs(dsn)


def merge(dsn: str, options: Mapping[str, object]) -> dict[str, str]:
    """Read a connection string and let options override what it says.

    Args:
        dsn: as for parse(); may be empty.
        options: values by libpq's keywords. None leaves the option out, so the string's value stays. A bool becomes
            1 or 0, for keywords that expect these (keepalives, sslsni…). A float is a time (connect_timeout,
            keepalives_idle and keepalives_interval in seconds, tcp_user_timeout in milliseconds). It is rounded up,
            since libpq accepts whole numbers only, and 0 would mean for ever.

    Raises:
        ValueError: the string is unreadable, a keyword is unknown, or a value cannot be sent.
        TypeError: an option is not a str, int, bool, float or None, or its keyword does not accept that type.
    """
    parameters = parse(dsn)
    for keyword, value in options.items():
        refuse_unknown(keyword, repr(keyword))
        if value is not None:
            parameters[keyword] = text_of(keyword, value)
            refuse_unsendable(parameters[keyword], keyword)
    return parameters


def ready(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters as any driver may get them, with the sslmode that sslrootcert=system implies.

    This refuses the values that drivers would refuse with an error that shows them: in
    `postgresql://user:password`, where "@host" is missing, the port is the password.

    Raises:
        ValueError: the lists of hosts do not match, a port or another number is not one, a value has bytes that are not
            UTF-8, the sslmode is too weak for sslrootcert=system, or the service file cannot be read.
    """
    for keyword, value in parameters.items():
        refuse_undecoded(keyword, value)
    given = with_defaults(parameters)
    check_numbers(given)
    if "service" not in given:  # only libpq knows where it is, and it may set hosts and ports, too
        hosts(given)
    return with_verification(parameters)


def serialize(parameters: Mapping[str, str]) -> str:
    """Write parameters as a key=value string, from which parse() and libpq read the same parameters.

    Raises:
        ValueError: a keyword is unknown, or a value has characters that cannot be sent (NUL, a lone surrogate).
    """
    for keyword, value in parameters.items():
        refuse_unknown(keyword, repr(keyword))
        refuse_unsendable(value, keyword)
    return " ".join(f"{keyword}={_quoted(value)}" for keyword, value in parameters.items())


def is_uri(dsn: str) -> bool:
    """Return whether a connection string is a URI. Otherwise it is read as key=value pairs."""
    return libpq_form(dsn).startswith(_SCHEMES)


def split_uri(dsn: str) -> Uri:
    """Cut a connection URI into pieces.

    Raises:
        ValueError: one of its hosts cannot be read.
    """
    whole = _URI.fullmatch(dsn)
    assert whole is not None, "the caller has checked the scheme"
    places, end = _split_hosts(whole["rest"])
    tail = _TAIL.fullmatch(whole["rest"], end)
    assert tail is not None, "the hosts end where the tail begins"
    return Uri(
        scheme=whole["scheme"],
        user=whole["user"] or "",
        password=whole["password"] or "",
        hosts=whole["rest"][:end],
        host=",".join(host for host, _ in places),
        port=",".join(port for _, port in places),
        dbname=tail["dbname"] or "",
        query=tail["query"] or "",
    )


def decoded(text: str, part: str) -> str:
    """Return a piece of a URI without its percent-encoding.

    Args:
        text: the piece as written.
        part: its name in error messages.

    Raises:
        ValueError: libpq would not read it.
    """
    # PostgreSQL 18 ignores spaces around a part and refuses spaces within one. Earlier releases took both as data.
    text = text.strip(" ")
    if " " in text:
        raise ValueError(f"{part} has a space in the connection URI; write it as %20")
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise ValueError(f'{part} has a "%" without two hexadecimal digits in the connection URI; write "%" as %25')
    if "%00" in text:
        raise ValueError(f"{part} has %00 in the connection URI; PostgreSQL does not accept NUL")
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _parse_pairs(dsn: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    position = 0
    while pair := _PAIR.match(dsn, position):
        word, quoted, plain = pair.groups()
        keyword, value = _modern(word, _ESCAPED.sub(r"\1", plain if quoted is None else quoted))
        refuse_unknown(keyword, _shown(word, f"at character {pair.start(1) + 1}", _has_secret(parameters)))
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
    uri = split_uri(dsn)
    pieces = {
        "user": uri.user,
        "password": uri.password[1:],
        "host": uri.host,
        "port": uri.port,
        "dbname": uri.dbname,
    }
    parameters = {keyword: decoded(text, f"the {keyword}") for keyword, text in pieces.items() if text}
    unclear = "@" in uri.query or not uri.is_believable
    return parameters | _parse_query(uri.query_items, unclear)


def _parse_query(items: list[str], unclear: bool) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for number, item in enumerate(items, 1):
        keyword, value = _query_pair(item, number, unclear or _has_secret(parameters))
        parameters[keyword] = value
    return parameters


def _split_hosts(text: str) -> tuple[list[tuple[str, str]], int]:
    """Split `h1:1,[::1]:2/mydb` into pairs of host and port; also return the position where they end."""
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
        f"cannot read host {len(places)} of the connection URI: write an IPv6 address as [address], "
        'followed by ":port", ",", "/", "?" or nothing'
    )


def _query_pair(item: str, number: int, hidden: bool) -> tuple[str, str]:
    keyword, *values = item.split("=")
    if len(values) != 1:
        raise ValueError(f'URI parameter number {number} needs exactly one "="; write a "=" in its value as %3D')
    name = _shown(keyword, f"number {number}", hidden)
    keyword = decoded(keyword, f"the name of the URI parameter {name}")
    value = decoded(values[0], f"the value of the URI parameter {name}")
    if (keyword, value) == ("ssl", "true"):  # JDBC's keyword; libpq reads no other value of it
        return "sslmode", "require"
    keyword, value = _modern(keyword, value)
    refuse_unknown(keyword, name)
    return keyword, value


def _modern(keyword: str, value: str) -> tuple[str, str]:
    # The keyword of PostgreSQL 7.3. libpq reads it in strings only; it is not in libpq's table of keywords.
    if keyword == "requiressl":
        return "sslmode", "require" if value.startswith("1") else "prefer"
    return keyword, value


def _shown(word: str, place: str, hidden: bool) -> str:
    """Return the word if it is one and may be shown, otherwise its place."""
    return repr(word) if re.fullmatch(r"\w+", word, re.ASCII) and not hidden else place


def _has_secret(parameters: Mapping[str, str]) -> bool:
    return not SECRETS.isdisjoint(parameters)


def _refuse_other_scheme(dsn: str) -> None:
    scheme = _ANY_SCHEME.match(dsn)
    if scheme and scheme[0] not in _SCHEMES:
        raise ValueError(f"a connection URI must begin with postgresql:// or postgres://, not with {scheme[0]!r}")


def _quoted(value: str) -> str:
    return value if _NEEDS_NO_QUOTES.fullmatch(value) else "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"
