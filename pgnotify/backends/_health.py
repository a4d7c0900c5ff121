"""How a server stands, asked in one statement: one row of one column, which is ASCII.

Of all types a driver reads text as it comes, whatever casts it or its user has registered. The names of
channels are in hexadecimal: psycopg2 fails on an é in another encoding than its own, pg8000 takes later
answers for others after that, and a server in SQL_ASCII refuses to make JSON of it.
"""

from __future__ import annotations

import json

from pgnotify.protocol import Health

# A name comes in UTF-8, or as the bytes that it was sent as where nobody says what they are. The encoding
# is chosen by name: to convert a text to the server's own one leaves it alone, whatever is in it.
HEALTH = """\
SELECT json_build_array(
    pg_is_in_recovery(), pg_notification_queue_usage(), pg_backend_pid(), ARRAY(
        SELECT encode(convert_to(channel, CASE
            WHEN 'SQL_ASCII' IN (getdatabaseencoding(), current_setting('client_encoding')) THEN getdatabaseencoding()
            ELSE 'UTF8' END), 'hex')
        FROM pg_listening_channels() AS channel))::text"""


def health_of(answer: str | bytes) -> Health:
    """Return what the server has answered; bytes are what psycopg makes of a text in SQL_ASCII."""
    in_recovery, queue_usage, server_pid, channels = json.loads(answer)
    names = (bytes.fromhex(channel).decode("utf-8", "surrogateescape") for channel in channels)
    return Health(in_recovery, float(queue_usage), server_pid, frozenset(names))
