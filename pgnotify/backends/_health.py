"""A server's state, asked for in one statement: one row with one column, which is ASCII.

The column has the type text, because a driver reads text unchanged, whatever casts it or its user has
registered. The names of channels are in hexadecimal. psycopg2 fails on an é in an encoding other than its
own. pg8000 assigns later answers to the wrong statements after that. A server in SQL_ASCII refuses to make
JSON of it.
"""

from __future__ import annotations

import json

from pgnotify.protocol import Health

# A name comes in UTF-8, or as the bytes that were sent if nobody declares their encoding. The encoding is
# chosen by name: converting a text to the server's own encoding leaves it unchanged, whatever is in it.
#
# Every name has its schema, each operator too: IN would look for an "=" along the search_path. A function of somebody
# else's would run as the listener's role, often a superuser.
HEALTH = """\
SELECT pg_catalog.json_build_array(
    pg_catalog.pg_is_in_recovery(), pg_catalog.pg_notification_queue_usage(), pg_catalog.pg_backend_pid(), ARRAY(
        SELECT pg_catalog.encode(pg_catalog.convert_to(channel, CASE
            WHEN 'SQL_ASCII' OPERATOR(pg_catalog.=) pg_catalog.getdatabaseencoding()
                OR 'SQL_ASCII' OPERATOR(pg_catalog.=) pg_catalog.current_setting('client_encoding')
            THEN pg_catalog.getdatabaseencoding()
            ELSE 'UTF8' END), 'hex')
        FROM pg_catalog.pg_listening_channels() AS channel))::pg_catalog.text"""


def health_of(answer: str | bytes) -> Health:
    """Return the server's answer, parsed; psycopg returns a text in SQL_ASCII as bytes."""
    in_recovery, queue_usage, server_pid, channels = json.loads(answer)
    names = (bytes.fromhex(channel).decode("utf-8", "surrogateescape") for channel in channels)
    return Health(in_recovery, float(queue_usage), server_pid, frozenset(names))
