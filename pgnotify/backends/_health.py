"""A server's state, asked for in one statement: one row with one column, which is ASCII.

The column has the type text, because a driver reads text unchanged, whatever casts it or its user has
registered. The names of channels are in hexadecimal. psycopg2 fails on an é in an encoding other than its
own. pg8000 assigns later answers to the wrong statements after that.

A role may lack the privilege to call one of the functions. Then its value is left out. The row itself calls none.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from pgnotify.protocol import Health

# A name comes in the bytes of a notification: in the client's encoding, or unconverted if nobody declares the server's
# or the client's. So the driver's codec makes the same name of it, although some codecs are not quite PostgreSQL's:
# the wave dash of EUC-JP is U+301C to Python, and U+FF5E to PostgreSQL. The encoding is chosen by name: converting a
# text to the server's own encoding leaves it unchanged, whatever is in it.
#
# Every name has its schema, each operator too: IN would look for an "=" along the search_path. A function of somebody
# else's would run as the listener's role, often a superuser.
_CHANNELS = """\
ARRAY(SELECT pg_catalog.encode(pg_catalog.convert_to(channel, CASE
            WHEN 'SQL_ASCII' OPERATOR(pg_catalog.=) pg_catalog.getdatabaseencoding()
                OR 'SQL_ASCII' OPERATOR(pg_catalog.=) pg_catalog.current_setting('client_encoding')
            THEN pg_catalog.getdatabaseencoding()
            ELSE {} END), 'hex')
        FROM pg_catalog.pg_listening_channels() AS channel)"""

AS_SENT = "pg_catalog.current_setting('client_encoding')"
IN_UTF8 = "'UTF8'"
"""The encoding of names, as an expression. UTF-8 has all letters, for a client whose own lacks some of a name."""

VALUES: dict[str, str] = {
    "in_recovery": "pg_catalog.pg_is_in_recovery()",
    "queue_usage": "pg_catalog.pg_notification_queue_usage()",
    "server_pid": "pg_catalog.pg_backend_pid()",
    "channels": _CHANNELS,
}
"""The fields of a `Health`, in its order, each with the expression that asks for it."""

# (f,0,4242,"{6a6f6273,6f74686572}"), as record_out() writes it: a field without a value is empty.
_ROW = re.compile(r"\(([tf]?),([^,]*),(\d*),\"?(?:\{([0-9a-f,]*)\})?\"?\)")


def health_query(left_out: Container[str] = (), encoding: str = AS_SENT) -> str:
    """Return the statement that asks for all values, except those that are left out."""
    values = ("NULL" if name in left_out else expression.format(encoding) for name, expression in VALUES.items())
    return f"SELECT ROW({', '.join(values)})::pg_catalog.text"


def health_of(answer: str, codec: str, unchecked: tuple[tuple[str, str], ...] = ()) -> Health:
    """Return the server's answer, parsed.

    Args:
        answer: to `health_query`.
        codec: decodes the names, in the encoding that was asked for.
        unchecked: the values that were left out, each with the reason.

    Raises:
        ValueError: it is no such row, so the server is not quite PostgreSQL.
    """
    row = _ROW.fullmatch(answer)
    if row is None:
        raise ValueError(f"the server has answered a health check with {answer!r}")
    in_recovery, queue_usage, server_pid, channels = row.groups()
    return Health(
        in_recovery == "t" if in_recovery else None,
        float(queue_usage) if queue_usage else None,
        int(server_pid) if server_pid else None,
        None if channels is None else frozenset(_names(channels, codec)),
        unchecked,
    )


def _names(channels: str, codec: str) -> Iterator[str]:
    for channel in filter(None, channels.split(",")):
        yield bytes.fromhex(channel).decode(codec, "surrogateescape")
