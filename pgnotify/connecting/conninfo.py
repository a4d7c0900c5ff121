"""libpq's connection strings, read and written without libpq.

Three of the four drivers hand the string to libpq; the one without libpq needs it taken apart, and all of them need
the same errors and the same keywords. This module decides what a string says. It opens nothing, and it does not fill
in what libpq takes from elsewhere when it connects: the user's name, the password file, the service file, and the
sslmode that follows from sslrootcert=system.

The rules are those of the PostgreSQL 18 documentation, 34.1.1 (the two forms); where it is silent, libpq 18.6 was
asked, and the tests ask it again.

No message says what may be a password; redact.py says what that rules out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from pgnotify.connecting.hosts import is_port_number
from pgnotify.connecting.keywords import SECRETS, refuse_unknown, refuse_unsendable, text_of

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


class Uri(NamedTuple):
    """A URI cut into pieces, nothing decoded; an absent piece is empty."""

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
        """Whether no part looks like the end of a password with "@" or "/" in it, or like one without its "@host"."""
        return "@" not in self.hosts + self.dbname and all(
            not port or is_port_number(port) for port in self.port.split(",")
        )


def parse(dsn: str) -> dict[str, str]:
    """Read a connection string, key=value or URI, as libpq's PQconninfoParse does.

    Returns:
        Only what the string says: no defaults, nothing from the environment. Values are not checked, except that
        they can be sent; `port=x` is found out by hosts(). Bytes that are no UTF-8 (`%ff`) come out as
        surrogateescape makes them.

    Raises:
        ValueError: libpq would not read it either. The message says where, and never a password.
    """
    refuse_unsendable(dsn, "the connection string")
    _refuse_other_scheme(dsn)
    return _parse_uri(dsn) if is_uri(dsn) else _parse_pairs(dsn)


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
        refuse_unknown(keyword, repr(keyword))
        if value is not None:
            parameters[keyword] = text_of(keyword, value)
            refuse_unsendable(parameters[keyword], keyword)
    return parameters


def serialize(parameters: Mapping[str, str]) -> str:
    """Write parameters as a key=value string which parse() and libpq read back to the same.

    Raises:
        ValueError: a keyword is unknown, or a value holds what cannot be sent (NUL, a lone surrogate).
    """
    for keyword, value in parameters.items():
        refuse_unknown(keyword, repr(keyword))
        refuse_unsendable(value, keyword)
    return " ".join(f"{keyword}={_quoted(value)}" for keyword, value in parameters.items())


def is_uri(dsn: str) -> bool:
    """Tell whether a connection string is a URI; if not, it is key=value pairs."""
    return dsn.startswith(_SCHEMES)


def split_uri(dsn: str) -> Uri:
    """Cut a connection URI into pieces.

    Raises:
        ValueError: a host of it cannot be read.
    """
    whole = _URI.fullmatch(dsn)
    assert whole is not None, "the caller looked at the scheme"
    places, end = _split_hosts(whole["rest"])
    tail = _TAIL.fullmatch(whole["rest"], end)
    assert tail is not None, "the hosts end where this begins"
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

    Raises:
        ValueError: libpq would not read it; the message calls it as `part` does.
    """
    # Since PostgreSQL 18, spaces around a part do not count and spaces within are an error; before, both were data.
    text = text.strip(" ")
    if " " in text:
        raise ValueError(f"{part} has a space in the connection URI; write it as %20")
    if re.search(r"%(?![0-9a-fA-F]{2})", text):
        raise ValueError(f'{part} has a "%" without two hexadecimal digits in the connection URI; write "%" as %25')
    if "%00" in text:
        raise ValueError(f"{part} has %00 in the connection URI; PostgreSQL takes no NUL")
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


def _query_pair(item: str, number: int, hidden: bool) -> tuple[str, str]:
    keyword, *values = item.split("=")
    if len(values) != 1:
        raise ValueError(f'the URI parameter number {number} needs exactly one "="; write one in the value as %3D')
    name = _shown(keyword, f"number {number}", hidden)
    keyword = decoded(keyword, f"the name of the URI parameter {name}")
    value = decoded(values[0], f"the value of the URI parameter {name}")
    if (keyword, value) == ("ssl", "true"):  # JDBC's; nothing else of "ssl" is understood
        return "sslmode", "require"
    keyword, value = _modern(keyword, value)
    refuse_unknown(keyword, name)
    return keyword, value


def _modern(keyword: str, value: str) -> tuple[str, str]:
    # The word of PostgreSQL 7.3; libpq reads it in strings only, and its table does not have it.
    if keyword == "requiressl":
        return "sslmode", "require" if value.startswith("1") else "prefer"
    return keyword, value


def _shown(word: str, place: str, hidden: bool) -> str:
    """Return the word if it is one and may be shown, else where it stands."""
    return repr(word) if re.fullmatch(r"\w+", word, re.ASCII) and not hidden else place


def _has_secret(parameters: Mapping[str, str]) -> bool:
    return not SECRETS.isdisjoint(parameters)


def _refuse_other_scheme(dsn: str) -> None:
    scheme = _ANY_SCHEME.match(dsn)
    if scheme and scheme[0] not in _SCHEMES:
        raise ValueError(f"a connection URI begins with postgresql:// or postgres://, not with {scheme[0]!r}")


def _quoted(value: str) -> str:
    return value if _NEEDS_NO_QUOTES.fullmatch(value) else "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"
