"""The SQL text of triggers that notify of changed rows. Pure: it opens nothing, and needs no extra.

Every name has its schema, and the function has a search_path of its own, so nobody's settings change its meaning.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pgnotify.cli.trigger.condition import rows_named_by
from pgnotify.limits import MAX_CHANNEL_BYTES, MAX_PAYLOAD_BYTES, check_channel
from pgnotify.outbox.tables import DEFAULT_SCHEMA, literal, quoted

ROWS = {"insert": {"new"}, "update": {"new", "old"}, "delete": {"old"}}
"""The operations, and the rows that a condition may name in each."""

ALL = ("",)
"""Stands for all columns, in place of their names. No column has an empty name."""

LARGEST_ROW = 2**20
"""Bytes that columns may have as PostgreSQL stores them. The JSON of more would never fit, and would take long."""

_TRUNCATED = ',"truncated":true}'
_LONGEST_SUFFIX = max(len(f"_{operation}") for operation in ROWS)
_DIGITS = 8  # of the hash in a name that would be too long

# The search_path is for the output functions of types and casts: whatever pg_catalog has is written in full. The other
# settings change how times, intervals, floats and bytea are written.
_FUNCTION = """\
CREATE FUNCTION {function}() RETURNS pg_catalog.trigger LANGUAGE plpgsql
    SET search_path TO pg_catalog, pg_temp SET "DateStyle" TO 'ISO, YMD' SET "IntervalStyle" TO 'iso_8601'
    SET "TimeZone" TO 'UTC' SET bytea_output TO 'hex' SET extra_float_digits TO 1 AS {body};
"""

# A variable keeps its value if a later statement of the block fails. So the keys are sent if the columns cannot be.
_BODY = """
DECLARE
    about CONSTANT pg_catalog.text := pg_catalog.concat({about}, TG_OP, '"');
    key pg_catalog.text;
    old_key pg_catalog.text;
    keys pg_catalog.text;
    payload pg_catalog.text;{more}
BEGIN
    BEGIN  -- a value that has no JSON, or too long a one, must not undo the change of the row
        {read_key}
        key := COALESCE(key, old_key);
        keys := pg_catalog.concat(',"key":', COALESCE(key, 'null'),
            CASE WHEN old_key OPERATOR(pg_catalog.<>) key THEN pg_catalog.concat(',"old_key":', old_key) END);
        {fill_payload}
    EXCEPTION WHEN OTHERS THEN
        payload := NULL;
    END;
    IF payload IS NULL OR pg_catalog.octet_length(payload) OPERATOR(pg_catalog.>) {most} THEN
        payload := pg_catalog.concat(about, CASE
            WHEN pg_catalog.octet_length(about) OPERATOR(pg_catalog.+) pg_catalog.octet_length(keys)
                OPERATOR(pg_catalog.<=) {most_of_keys} THEN keys
            ELSE ',"key":null' END, {truncated});
    END IF;
    PERFORM pg_catalog.pg_notify({channel}, payload);
    RETURN NULL;
END """

_KEY_AT_RUN_TIME = """\
SELECT pg_catalog.concat('SELECT pg_catalog.row_to_json(r.*) FROM (SELECT ',
            pg_catalog.string_agg(pg_catalog.format('($1).%I', a.attname), ', ' ORDER BY k.place), ') AS r')
        INTO read_key
        FROM pg_catalog.pg_index AS i
        CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid
            AND a.attnum OPERATOR(pg_catalog.=) k.attnum
        WHERE i.indrelid OPERATOR(pg_catalog.=) TG_RELID AND i.indisprimary
            AND k.place OPERATOR(pg_catalog.<=) i.indnkeyatts
        GROUP BY i.indexrelid;
        IF read_key IS NOT NULL AND TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN
            EXECUTE read_key INTO key USING NEW;
        END IF;
        IF read_key IS NOT NULL AND TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN
            EXECUTE read_key INTO old_key USING OLD;
        END IF;"""

_COLUMNS = """\
IF pg_catalog.pg_column_size({old}) OPERATOR(pg_catalog.>) {largest}
            OR pg_catalog.pg_column_size({new}) OPERATOR(pg_catalog.>) {largest}
        THEN
            payload := NULL;
        ELSE
            old_row := {old_json};
            new_row := {new_json};
            payload := pg_catalog.concat(about, keys,
                ',"old":', COALESCE(old_row, 'null'), ',"new":', COALESCE(new_row, 'null'), '}');
        END IF;"""

# NULL if the operation has no such row.
_JSON_OF_ALL = "pg_catalog.row_to_json({row})"
_JSON_OF_SOME = """\
(SELECT pg_catalog.row_to_json(r.*)
            FROM (SELECT {columns}) AS r
            WHERE TG_OP OPERATOR(pg_catalog.<>) '{lacking}')"""


@dataclass(frozen=True)
class Trigger:
    """The triggers that notify of the changes of a table: one for each operation, and their function.

    Names are as written: they are quoted, and not folded to lower case.
    """

    table: str
    schema: str = DEFAULT_SCHEMA
    """The schema of the table. The function gets into the same one."""
    name: str | None = None
    """The name of the function, and the beginning of the triggers' names; ``pgnotify_`` and the table's if None."""

    def __post_init__(self) -> None:
        check_channel(self.table, "the table")  # the same limits as for every name
        check_channel(self.schema, "the schema")
        name = _shortened(f"pgnotify_{self.table}") if self.name is None else check_channel(self.name, "the name")
        size, most = len(name.encode()), MAX_CHANNEL_BYTES - _LONGEST_SUFFIX
        if size > most:
            raise ValueError(f"the name {name!r} has {size} bytes, that of a trigger has at most {most}")
        object.__setattr__(self, "name", name)

    def create_sql(
        self,
        channel: str,
        *,
        key: tuple[str, ...] = (),
        columns: tuple[str, ...] = (),
        if_changed: tuple[str, ...] = (),
        when: str | None = None,
        operations: Iterable[str] = (),
    ) -> str:
        """Return the statements that make the function and its triggers.

        Args:
            channel: the channel to notify.
            key: columns that identify a row. If there are none, the function reads the primary key in the catalog.
            columns: columns that are sent, as they were and as they are; or `ALL`.
            if_changed: columns one of which an update must change; or `ALL`. If there are none, each update counts.
            when: an SQL condition, which goes into the statements as it is.
            operations: keys of `ROWS`; by default those that have all rows that the condition names.

        Raises:
            ValueError: a name is not possible, or the condition is not one, or names a row that an operation lacks.
        """
        check_channel(channel)
        for names in (key, columns, if_changed):
            for column in names if names != ALL else ():
                check_channel(column, "a column")
        chosen = _operations_for(when, tuple(operations))
        body = _filled(_BODY, _parts_of_body(self, channel, key, columns))
        function = _filled(_FUNCTION, {"function": self._function, "body": _dollar_quoted(body)})
        return function + "".join(self._create_trigger(operation, if_changed, when) for operation in chosen)

    def drop_sql(self) -> str:
        """Return the statements that remove the triggers and their function, as far as they exist."""
        triggers = "".join(
            f"DROP TRIGGER IF EXISTS {self._trigger(operation)} ON {self._table};\n" for operation in ROWS
        )
        return f"{triggers}DROP FUNCTION IF EXISTS {self._function}();\n"

    @property
    def _table(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.table)}"

    @property
    def _function(self) -> str:
        return f"{quoted(self.schema)}.{quoted(str(self.name))}"

    def _trigger(self, operation: str) -> str:
        return quoted(f"{self.name}_{operation}")

    def _create_trigger(self, operation: str, if_changed: tuple[str, ...], when: str | None) -> str:
        conditions = []
        if if_changed and operation == "update":
            conditions.append(f"pg_catalog.record_image_ne({_row('OLD', if_changed)}, {_row('NEW', if_changed)})")
        if when is not None:
            conditions.append(f"(\n        {when}\n    )")  # it may end in a comment
        condition = " AND ".join(conditions)
        if conditions:
            condition = f"    WHEN {condition if conditions[0][0] == '(' else f'({condition})'}\n"
        return (
            f"CREATE TRIGGER {self._trigger(operation)} AFTER {operation.upper()} ON {self._table} FOR EACH ROW\n"
            f"{condition}    EXECUTE FUNCTION {self._function}();\n"
        )


def _operations_for(when: str | None, asked: tuple[str, ...]) -> list[str]:
    named = rows_named_by(when) if when is not None else set()
    for operation in asked:
        for row in sorted(named - ROWS[operation]):
            raise ValueError(f"--when names {row.upper()}, and {operation.upper()} has no such row: {when!r}")
    return [operation for operation, rows in ROWS.items() if (operation in asked if asked else named <= rows)]


def _parts_of_body(trigger: Trigger, channel: str, key: tuple[str, ...], columns: tuple[str, ...]) -> dict[str, str]:
    names = json.dumps({"schema": trigger.schema, "table": trigger.table}, ensure_ascii=False, separators=(",", ":"))
    variables = [*(() if key else ("read_key",)), *(("old_row", "new_row") if columns else ())]
    return {
        "about": literal(f'{names[:-1]},"operation":"'),
        "more": "".join(f"\n    {variable} pg_catalog.text;" for variable in variables),
        "read_key": f"key := {_json('NEW', key)};\n        old_key := {_json('OLD', key)};"
        if key
        else _KEY_AT_RUN_TIME,
        "fill_payload": _fill_payload(columns) if columns else "payload := pg_catalog.concat(about, keys, '}');",
        "channel": literal(channel),
        "truncated": literal(_TRUNCATED),
        "most": str(MAX_PAYLOAD_BYTES),
        "most_of_keys": str(MAX_PAYLOAD_BYTES - len(_TRUNCATED)),
    }


def _fill_payload(columns: tuple[str, ...]) -> str:
    parts = {"old": _row("OLD", columns), "new": _row("NEW", columns), "largest": str(LARGEST_ROW)}
    return _filled(_COLUMNS, {**parts, "old_json": _json("OLD", columns), "new_json": _json("NEW", columns)})


def _filled(template: str, parts: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], template)  # not str.format(): JSON has braces, too


def _row(row: str, columns: tuple[str, ...]) -> str:
    """Return an expression for these columns of OLD or NEW, as one value."""
    return row if columns == ALL else f"ROW({', '.join(f'{row}.{quoted(each)}' for each in columns)})"


def _json(row: str, columns: tuple[str, ...]) -> str:
    if columns == ALL:
        return _filled(_JSON_OF_ALL, {"row": row})
    named = ", ".join(f"{row}.{quoted(each)} AS {quoted(each)}" for each in columns)
    return _filled(_JSON_OF_SOME, {"columns": named, "lacking": "INSERT" if row == "OLD" else "DELETE"})


def _dollar_quoted(text: str) -> str:
    number, tag = 0, "$pgnotify$"
    while tag in text:
        number += 1
        tag = f"$pgnotify{number}$"
    return f"{tag}{text}{tag}"


def _shortened(name: str) -> str:
    """Return a name that leaves room for a suffix: a longer one gets a hash of the whole at its end."""
    most = MAX_CHANNEL_BYTES - _LONGEST_SUFFIX
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    beginning = encoded[: most - _DIGITS - 1].decode(errors="ignore")
    return f"{beginning}_{hashlib.sha256(encoded).hexdigest()[:_DIGITS]}"
