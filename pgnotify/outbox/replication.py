"""The SQL text that carries an outbox to further servers, by PostgreSQL's own logical replication.

The publication leaves out the column xid. On the other server the trigger "copied" gives each row the transaction that
wrote it there, so that positions mean something there, too. Deleted rows are not published: each server removes its old
messages itself, so that a reader of the copy that is slow is told of them as of any that have expired.
"""

from __future__ import annotations

from pgnotify.connecting.dialect import libpq_form
from pgnotify.outbox.schema import filled
from pgnotify.outbox.tables import Tables, literal, quoted

# A list of columns needs PostgreSQL 15.
_PUBLISH = """\
CREATE PUBLICATION {publication} FOR TABLE {messages} (id, channel, payload, pid, sent_at) WITH (publish = 'insert');
"""

# Sending there would take ids that the first server is about to use. The apply worker fires no trigger like this one.
_REFUSE = """\
CREATE FUNCTION {refuse}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'this outbox is a copy: send on the server that it is copied from'
        USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON {messages} FOR EACH STATEMENT EXECUTE FUNCTION {refuse}();
"""

# Not streaming: with the default of PostgreSQL 18, which is "parallel", the apply worker of 18.6 dies of SIGSEGV when
# transactions with savepoints that are rolled back are larger than logical_decoding_work_mem.
_SUBSCRIBE = """\
CREATE SUBSCRIPTION {subscription} CONNECTION {source} PUBLICATION {publication} WITH (streaming = 'off');
"""

# The next id is greater than those of all messages that came from the first server.
_STAND_ALONE = """\
DROP TRIGGER refuse ON {messages};
DROP FUNCTION {refuse}();
SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence({messages_text}, 'id'), pg_catalog.max(id)) FROM {messages};
"""


def publication_sql(tables: Tables) -> str:
    """Return the statement for the server that messages are sent on."""
    return filled(_PUBLISH, tables, publication=quoted(tables.name))


def subscription_sql(tables: Tables, source: str, name: str) -> str:
    """Return the statements for a server that gets copies; the last one cannot run in a transaction.

    Args:
        tables: the names of the outbox, the same on both servers.
        source: a libpq connection string of the first server, as seen from this one.
        name: of the subscription, and of its slot on the first server: each further server needs another one.
    """
    return filled(_REFUSE, tables) + filled(
        _SUBSCRIBE,
        tables,
        publication=quoted(tables.name),
        subscription=quoted(name),
        source=literal(libpq_form(source)),
    )


def standalone_sql(tables: Tables) -> str:
    """Return the statements that let a server with copies go on without the first one, when it has no subscription."""
    return filled(_STAND_ALONE, tables)
