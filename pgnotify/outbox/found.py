"""What a look at the catalogs finds: whether there is an outbox, its version, and the rights of the role.

Each error names the remedy.
"""

from __future__ import annotations

from typing import NamedTuple

from pgnotify.errors import NotPrimary, OutboxError, VoidPosition
from pgnotify.outbox.rows import Rows
from pgnotify.outbox.schema import VERSION, version_of
from pgnotify.outbox.tables import Tables


class Found(NamedTuple):
    """The row of the statement ``LOOK``, parsed."""

    in_recovery: bool
    """Whether the server is a standby."""
    version: int
    """The version of the tables."""
    is_complete: bool
    """Whether all tables of this version are there."""
    may_read: bool
    """Whether the role may read them."""
    may_keep: bool
    """Whether the role may store positions."""
    is_hidden: bool
    """Whether row-level security hides all rows of a table."""
    is_read_only: bool
    """Whether the session cannot write by default."""
    owner: str
    user: str


def find(rows: Rows, tables: Tables) -> Found | None:
    """Return what was found; None if there is no table with the name of the outbox.

    Raises:
        OutboxError: the table with this name is not an outbox.
    """
    if not rows:
        return None
    in_recovery, comment, is_complete, may_read, may_keep, is_hidden, read_only, owner, user = rows[0]
    version = version_of(comment)
    if version is None:
        raise OutboxError(f"the table {tables} is not an outbox: choose another name, or another schema")
    yes = "true"
    return Found(
        in_recovery == yes,
        version,
        is_complete == yes,
        may_read == yes,
        may_keep == yes,
        is_hidden == yes,
        read_only == "on",
        owner,
        user,
    )


def find_present(rows: Rows, tables: Tables) -> Found:
    """Return what was found, if it has the version of this release.

    Raises:
        OutboxError: there is no outbox, or it has another version.
    """
    found = find(rows, tables)
    if found is None:
        raise OutboxError(f"there is no outbox {tables} in this database: run `pgnotify outbox install`")
    if found.version != VERSION:
        raise other_version(found, tables)
    return found


def find_readable(rows: Rows, tables: Tables) -> Found:
    """Return what was found, if it can be read here.

    Raises:
        NotPrimary: the server is a standby, where snapshots do not list running transactions.
        OutboxError: it cannot be read.
    """
    if rows and rows[0][0] == "true":
        raise NotPrimary("the server is a standby, where an outbox cannot be read: connect to the primary")
    found = find_present(rows, tables)
    if not found.is_complete:
        raise OutboxError(f"some tables of the outbox {tables} are not there: uninstall it, and install it again")
    if not found.may_read:
        raise not_granted(found, tables)
    if found.is_hidden:
        raise OutboxError(
            f"row-level security hides the outbox {tables} from the role {found.user}: have {found.owner} "
            "add a policy to each of its tables that shows this role its rows"
        )
    return found


def other_version(found: Found, tables: Tables) -> OutboxError:
    """Return the error for tables of another version."""
    remedy = "run `pgnotify outbox install`" if found.version < VERSION else "install a newer release of pgnotify"
    return OutboxError(f"the outbox {tables} has version {found.version}, this release uses {VERSION}: {remedy}")


def not_granted(found: Found, tables: Tables) -> OutboxError:
    """Return the error for a role that lacks the rights of a reader."""
    return OutboxError(
        f"the role {found.user} may not read the outbox {tables}, or keep positions in it: "
        f"have {found.owner} run `pgnotify outbox install --reader {found.user}`"
    )


def void(tables: Tables, why: str) -> VoidPosition:
    """Return the error for positions that mean nothing.

    Args:
        tables: the outbox's names.
        why: as a clause.
    """
    return VoidPosition(
        f"the positions in the outbox {tables} mean nothing here, as {why}: "
        "run `pgnotify outbox rebase`, after which messages may come a second time"
    )
