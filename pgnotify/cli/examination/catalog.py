"""The statements of the doctor. They read the catalogs, name every schema, and return texts.

A role without privileges may run all of them. pg_stat_activity hides parts of other roles' sessions from it:
the statement of such a session is "<insufficient privilege>".
"""

from __future__ import annotations

SERVER = """\
SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num'),
    pg_catalog.version()"""

ENCODINGS = "SELECT pg_catalog.current_setting('server_encoding'), pg_catalog.current_setting('client_encoding')"

# Of TLS and of the address, as the server sees them. NULLs: there is no TLS; it is a Unix socket.
ENCRYPTION = """\
SELECT own.version, own.cipher, pg_catalog.host(pg_catalog.inet_client_addr())
FROM pg_catalog.pg_stat_ssl AS own WHERE own.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"""

SETTINGS = """\
SELECT each.name, each.setting, each.unit, each.source FROM pg_catalog.pg_settings AS each
WHERE each.name OPERATOR(pg_catalog.=) ANY (ARRAY['idle_session_timeout', 'statement_timeout',
    'idle_in_transaction_session_timeout', 'max_notify_queue_pages', 'tcp_keepalives_idle', 'tcp_keepalives_interval',
    'tcp_keepalives_count'])"""

# The schemas in their order, each with whether PUBLIC may create objects in it.
SEARCH_PATH = """\
SELECT place.name::pg_catalog.text, (EXISTS (
    SELECT FROM pg_catalog.aclexplode(coalesce(space.nspacl, pg_catalog.acldefault('n', space.nspowner))) AS given
    WHERE given.grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid
        AND given.privilege_type OPERATOR(pg_catalog.=) 'CREATE'::pg_catalog.text))::pg_catalog.text
FROM ROWS FROM (pg_catalog.unnest(pg_catalog.current_schemas(false))) WITH ORDINALITY AS place (name, number)
JOIN pg_catalog.pg_namespace AS space ON space.nspname OPERATOR(pg_catalog.=) place.name
ORDER BY place.number"""

# $1 how many. The sessions of all databases that can hold the queue's tail, which all databases share: those inside a
# transaction, and those that wait for their client to read, which hold vacuum back as well.
OPEN = """\
SELECT it.pid::pg_catalog.text, it.usename::pg_catalog.text, it.application_name, it.state,
    pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) it.xact_start)::pg_catalog.text,
    pg_catalog.age(it.backend_xmin)::pg_catalog.text,
    coalesce(it.wait_event OPERATOR(pg_catalog.=) 'ClientWrite'::pg_catalog.text, false)::pg_catalog.text
FROM pg_catalog.pg_stat_activity AS it
WHERE it.backend_type OPERATOR(pg_catalog.=) 'client backend'::pg_catalog.text
    AND it.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
    AND (it.xact_start IS NOT NULL OR it.wait_event OPERATOR(pg_catalog.=) 'ClientWrite'::pg_catalog.text)
ORDER BY it.xact_start LIMIT $1::pg_catalog.text::pg_catalog.int8"""

_LISTENS = "OPERATOR(pg_catalog.~*) '^\\s*listen\\M|pg_listening_channels'::pg_catalog.text"
# Of a session that the role may not look into, the type is hidden, too. Background processes have no user.
_HIDDEN_TYPE = "CASE WHEN one.usename IS NOT NULL THEN 'client backend'::pg_catalog.text END"
_OTHERS = f"""\
(SELECT one.pid, one.usename, one.application_name, one.query, one.backend_start
    FROM pg_catalog.pg_stat_activity AS one
    WHERE coalesce(one.backend_type, {_HIDDEN_TYPE}) OPERATOR(pg_catalog.=) 'client backend'::pg_catalog.text
        AND one.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
        AND one.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid())"""

# $1 how many. Those of this database that seem to listen, by their latest statement: a LISTEN, or the heartbeat of a
# Listener. Before them, how many these are, and how many sessions show no statement. A row without a session if none.
LISTENING = f"""\
SELECT counted.listening::pg_catalog.text, counted.hidden::pg_catalog.text,
    it.pid::pg_catalog.text, it.usename::pg_catalog.text, it.application_name,
    CASE WHEN it.query OPERATOR(pg_catalog.~*) '^\\s*listen\\M'::pg_catalog.text THEN it.query END
FROM (
    SELECT pg_catalog.count(*) FILTER (WHERE any_one.query {_LISTENS}) AS listening,
        pg_catalog.count(*) FILTER (WHERE any_one.query
            OPERATOR(pg_catalog.=) '<insufficient privilege>'::pg_catalog.text) AS hidden
    FROM {_OTHERS} AS any_one
) AS counted LEFT JOIN (
    SELECT listener.pid, listener.usename, listener.application_name, listener.query
    FROM {_OTHERS} AS listener WHERE listener.query {_LISTENS}
    ORDER BY listener.backend_start LIMIT $1::pg_catalog.text::pg_catalog.int8
) AS it ON true"""

# The comment of the table of messages tells an outbox: see `pgnotify.outbox.schema`.
OUTBOXES = """\
SELECT space.nspname::pg_catalog.text, messages.relname::pg_catalog.text
FROM pg_catalog.pg_description AS said
JOIN pg_catalog.pg_class AS messages ON messages.oid OPERATOR(pg_catalog.=) said.objoid
JOIN pg_catalog.pg_namespace AS space ON space.oid OPERATOR(pg_catalog.=) messages.relnamespace
WHERE said.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
    AND said.objsubid OPERATOR(pg_catalog.=) 0
    AND said.description OPERATOR(pg_catalog.~) '^pgnotify outbox, version \\d+'::pg_catalog.text
ORDER BY space.nspname, messages.relname"""
