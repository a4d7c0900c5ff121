"""The SQL text of an outbox: its tables, their triggers and rights, and how a newer version changes them.

Every name has its schema. The text does not depend on anybody's search_path, and the triggers do not either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgnotify.outbox.tables import Tables, literal, quoted

VERSION = 1
"""The version of the tables that this release makes and reads. It is in the comment of the table of messages."""

UPGRADES: dict[int, str] = {}
"""The text that leads from each earlier version to the next one, a template as `INSTALL` is."""

_COMMENT = re.compile(r"pgnotify outbox, version (\d+)\b")

# Positions are snapshots, so a message's row has the transaction that wrote it. Nobody but the server sets that:
# senders have the right to insert channel and payload only, and a copy by logical replication gets the transaction of
# its own server, by the trigger "copied".
INSTALL = """\
CREATE TABLE {messages} (
    id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY CHECK (id OPERATOR(pg_catalog.>) 0::pg_catalog.int8),
    xid pg_catalog.xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    channel pg_catalog.text NOT NULL
        CHECK (channel OPERATOR(pg_catalog.<>) ''::pg_catalog.text
            AND pg_catalog.octet_length(channel) OPERATOR(pg_catalog.<=) 63),
    payload pg_catalog.text NOT NULL DEFAULT ''::pg_catalog.text,
    pid pg_catalog.int4 NOT NULL DEFAULT pg_catalog.pg_backend_pid(),
    sent_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 5000);
CREATE INDEX ON {messages} (xid, id);

CREATE TABLE {home} (
    part pg_catalog.int4 PRIMARY KEY,
    said pg_catalog.text NOT NULL
);
{mark_home};

CREATE TABLE {subscriptions} (
    name pg_catalog.text PRIMARY KEY
        CHECK (name OPERATOR(pg_catalog.<>) ''::pg_catalog.text
            AND pg_catalog.octet_length(name) OPERATOR(pg_catalog.<=) 63),
    channels pg_catalog.text[] NOT NULL,
    seen pg_catalog.pg_snapshot NOT NULL,
    upto pg_catalog.pg_snapshot,
    after pg_catalog.int8 NOT NULL DEFAULT 0,
    batch pg_catalog.uuid,
    expired pg_catalog.int8 NOT NULL DEFAULT 0,
    expired_since pg_catalog.timestamptz,
    home pg_catalog.text NOT NULL,
    moved_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE {pruned} (
    number pg_catalog.int8 NOT NULL,
    channel pg_catalog.text,
    removed pg_catalog.int8 NOT NULL,
    oldest pg_catalog.xid8 NOT NULL,
    newest pg_catalog.xid8 NOT NULL,
    last_id pg_catalog.int8 NOT NULL,
    since pg_catalog.timestamptz NOT NULL
);

CREATE FUNCTION {hint}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.pg_notify(sent.channel, ''::pg_catalog.text)
    FROM (SELECT DISTINCT channel FROM sent_now) AS sent;
    RETURN NULL;
END $$;
CREATE TRIGGER hint AFTER INSERT ON {messages} REFERENCING NEW TABLE AS sent_now
    FOR EACH STATEMENT EXECUTE FUNCTION {hint}();

CREATE FUNCTION {hint_copied}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pg_catalog.pg_notify(NEW.channel, ''::pg_catalog.text);
    RETURN NULL;
END $$;
CREATE TRIGGER hint_copied AFTER INSERT ON {messages} FOR EACH ROW EXECUTE FUNCTION {hint_copied}();
ALTER TABLE {messages} ENABLE REPLICA TRIGGER hint_copied;

CREATE FUNCTION {copied}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS $$
BEGIN
    NEW.xid := pg_catalog.pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER copied BEFORE INSERT OR UPDATE ON {messages} FOR EACH ROW EXECUTE FUNCTION {copied}();
ALTER TABLE {messages} ENABLE REPLICA TRIGGER copied;

CREATE FUNCTION {subscription_copied}() RETURNS pg_catalog.trigger LANGUAGE plpgsql
    SET search_path TO pg_catalog, pg_temp AS $$
BEGIN
    NEW.home := 'copied';
    RETURN NEW;
END $$;
CREATE TRIGGER copied BEFORE INSERT OR UPDATE ON {subscriptions} FOR EACH ROW EXECUTE FUNCTION {subscription_copied}();
ALTER TABLE {subscriptions} ENABLE REPLICA TRIGGER copied;

COMMENT ON TABLE {messages} IS 'pgnotify outbox, version {version}';
"""

# The first row has a random text. The second one repeats it beside what every logical copy changes: the transaction
# that wrote the first row, and the oid of the table of messages. The third one is how often messages were pruned: each
# read has to know, and reads this table anyway.
_MARK_HOME = """\
INSERT INTO {home} (part, said) VALUES (1, pg_catalog.gen_random_uuid()::pg_catalog.text);
INSERT INTO {home} (part, said)
SELECT 2, {mark_of_first} FROM {home} AS first WHERE first.part OPERATOR(pg_catalog.=) 1;
INSERT INTO {home} (part, said) VALUES (3, '0')"""

_MARK = """\
first.xmin::pg_catalog.text OPERATOR(pg_catalog.||) ' '::pg_catalog.text \
OPERATOR(pg_catalog.||) ({messages_text}::pg_catalog.regclass)::pg_catalog.oid::pg_catalog.text \
OPERATOR(pg_catalog.||) ' '::pg_catalog.text OPERATOR(pg_catalog.||) first.said"""

# Two processes may upgrade at once.
_ONLY_FROM = """\
BEGIN
    IF NOT coalesce((pg_catalog.regexp_match(
        pg_catalog.obj_description({regclass}::pg_catalog.regclass::pg_catalog.oid, 'pg_class'),
        '^pgnotify outbox, version (\\d+)'))[1] OPERATOR(pg_catalog.=) '{from}', false)
    THEN
        RAISE EXCEPTION 'the outbox does not have version {from}';
    END IF;
END"""

_UNINSTALL = """\
DROP TABLE IF EXISTS {messages}, {subscriptions}, {home}, {pruned};
DROP FUNCTION IF EXISTS {hint}(), {hint_copied}(), {copied}(), {subscription_copied}(), {refuse}();
"""


def install_sql(tables: Tables, senders: Iterable[str] = (), readers: Iterable[str] = ()) -> str:
    """Return the statements that make an outbox, and give roles their rights.

    Args:
        tables: its names.
        senders: roles that may send: they may insert channel and payload, and nothing else.
        readers: roles that may listen: they may read messages, and keep positions.
    """
    return filled(INSTALL, tables) + rights_sql(tables, senders, readers)


def rights_sql(tables: Tables, senders: Iterable[str], readers: Iterable[str]) -> str:
    """Return the statements that give roles their rights; see `install_sql`."""
    schema = quoted(tables.schema)
    lines = []
    for role in senders:
        lines.append(f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)};")
        lines.append(f"GRANT INSERT (channel, payload) ON TABLE {tables.messages} TO {quoted(role)};")
    for role in readers:
        lines.append(f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)};")
        lines.append(f"GRANT SELECT ON TABLE {tables.messages}, {tables.home}, {tables.pruned} TO {quoted(role)};")
        lines.append(f"GRANT SELECT, INSERT, UPDATE ON TABLE {tables.subscriptions} TO {quoted(role)};")
    return "".join(line + "\n" for line in lines)


def uninstall_sql(tables: Tables) -> str:
    """Return the statements that remove an outbox with all its messages."""
    return filled(_UNINSTALL, tables)


def upgrade_sql(tables: Tables, version: int) -> str:
    """Return the statements that lead from an earlier version to `VERSION`; empty if it is that one.

    They are to run in one transaction. They fail, and change nothing, if the tables have another version by then.

    Raises:
        ValueError: there is no such version.
    """
    oldest = min(UPGRADES, default=VERSION)
    if not oldest <= version <= VERSION:
        raise ValueError(f"version {version} of the outbox is not known, this release knows {oldest} to {VERSION}")
    return "".join(_step(tables, each) for each in range(version, VERSION))


def _step(tables: Tables, version: int) -> str:
    """Return the statements that lead from a version to the next one."""
    guard = _ONLY_FROM.replace("{from}", str(version)).replace("{regclass}", literal(tables.messages))
    comment = f"COMMENT ON TABLE {tables.messages} IS 'pgnotify outbox, version {version + 1}';\n"
    return f"LOCK TABLE {tables.messages} IN ACCESS EXCLUSIVE MODE;\nDO {literal(guard)};\n" + (
        filled(UPGRADES[version], tables).rstrip() + "\n" + comment
    )


def version_of(comment: str | None) -> int | None:
    """Return the version in the comment of a table; None if it is not an outbox's."""
    found = _COMMENT.match(comment or "")
    return int(found[1]) if found else None


def filled(template: str, tables: Tables, **more: str) -> str:
    """Return a statement with the names of an outbox in the places of ``{messages}``, ``{home}`` and others."""
    names = {
        "messages": tables.messages,
        "subscriptions": tables.subscriptions,
        "home": tables.home,
        "pruned": tables.pruned,
        "messages_text": literal(tables.messages),
        "version": str(VERSION),
        **{
            suffix: tables.qualified("_" + suffix)
            for suffix in ("hint", "hint_copied", "copied", "subscription_copied", "refuse")
        },
    }
    names["mark_of_first"] = _replaced(_MARK, names)
    names["mark_home"] = _replaced(_MARK_HOME, names)
    return _replaced(template, names | more)


def _replaced(template: str, names: dict[str, str]) -> str:
    # Not str.format(): arrays have braces, too.
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], template)
