"""How an outbox is installed, upgraded and removed."""

from __future__ import annotations

from collections.abc import Iterable

from pgnotify.errors import OutboxError
from pgnotify.outbox import schema
from pgnotify.outbox.found import Found, find, other_version
from pgnotify.outbox.statements import LOOK
from pgnotify.outbox.steps import Steps, script
from pgnotify.outbox.tables import Tables

# Other processes wait until the transaction ends. All outboxes of a database share the lock: the schema's rights are in
# one row, which two transactions cannot change at once.
_WAIT_FOR_OTHERS = """\
SELECT pg_catalog.pg_advisory_xact_lock(
    pg_catalog.hashtextextended('pgnotify outbox'::pg_catalog.text, 0::pg_catalog.int8))::pg_catalog.text;
"""


def installing(tables: Tables, senders: Iterable[str], readers: Iterable[str]) -> Steps[None]:
    """Make the tables, or bring them to this release's version; and give roles their rights.

    Raises:
        OutboxError: another table has the name, or the outbox is newer than this release.
    """
    yield script(_WAIT_FOR_OTHERS), ()  # as far as there is a transaction that holds it
    found = yield from _looking(tables)
    text = _missing(found, tables)
    if text:
        try:
            yield script(_WAIT_FOR_OTHERS + text), ()
        except Exception:
            if not (yield from _is_installed(tables)):
                raise  # otherwise another process was faster
    if rights := schema.rights_sql(tables, senders, readers):
        yield script(_WAIT_FOR_OTHERS + rights), ()


def uninstalling(tables: Tables) -> Steps[None]:
    """Remove the tables with all messages. Do nothing if they are not there.

    Raises:
        OutboxError: the table with the name is not an outbox.
    """
    yield from _looking(tables)
    yield script(schema.uninstall_sql(tables)), ()


def _looking(tables: Tables) -> Steps[Found | None]:
    rows = yield LOOK, (tables.schema, tables.name)
    return find(rows, tables)


def _missing(found: Found | None, tables: Tables) -> str:
    """Return the statements that lead to this release's version."""
    if found is None:
        return schema.install_sql(tables)
    if found.version > schema.VERSION:
        raise other_version(found, tables)
    try:
        return schema.upgrade_sql(tables, found.version)
    except ValueError as error:
        raise OutboxError(str(error)) from error


def _is_installed(tables: Tables) -> Steps[bool]:
    """Look after a failure. Inside a transaction, that has failed too, so this returns False."""
    try:
        found = yield from _looking(tables)
    except Exception:
        return False
    return found is not None and found.version == schema.VERSION
