"""The server that a command connects to: one that runs already, or one that is started for the command."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pgnotify.cli.command_line import CannotBegin


@contextmanager
def server(dsn: str | None, embedded: bool, say: Callable[[str], object] | None = None) -> Iterator[str]:
    """Yield a connection string: the given one, or that of a PostgreSQL that ends with the block.

    Args:
        dsn: the value of --dsn, or of the argument.
        embedded: whether to start a PostgreSQL.
        say: called with the line that tells how other programs connect to that. It has no password: it names the Unix
            socket, whose directory only this account can enter.

    Raises:
        CannotBegin: both are given, or no PostgreSQL can be started.
    """
    if not embedded:
        yield dsn or ""
        return
    if dsn:
        raise CannotBegin("--embedded starts a server of its own: leave out the connection string (or PGNOTIFY_DSN)")
    from pgnotify.testing.finder import NoPostgreSQL
    from pgnotify.testing.postgresql import TemporaryPostgreSQL

    try:
        temporary = TemporaryPostgreSQL()
    except NoPostgreSQL as error:
        raise CannotBegin(str(error)) from error
    with temporary:
        if say is not None:
            say(f"started PostgreSQL {temporary.version}: --dsn {shlex.quote(temporary.socket_dsn)}")
        yield temporary.dsn


def split_dsn(arguments: Sequence[str], dsn: str | None) -> tuple[list[str], str | None]:
    """Take a connection string from the end of positional arguments.

    Args:
        arguments: names, of channels for example, and perhaps a connection string as the last one. A URI is taken for
            one, and pairs such as ``host=db dbname=app`` in which each keyword is libpq's.
        dsn: the value of --dsn. If it is given, the last argument is a name, too. If it is that of PGNOTIFY_DSN, the
            last argument comes before it.

    Returns:
        The names, and the connection string; None if there is none.

    Raises:
        CannotBegin: a name is a connection string with a password.
    """
    names = list(arguments)
    if (dsn is None or dsn == os.environ.get("PGNOTIFY_DSN")) and names and is_dsn(names[-1]):
        dsn = names.pop()
    refuse_secrets(*names)
    return names, dsn


def channels_and_dsn(arguments: Sequence[str], dsn: str | None) -> tuple[list[str], str | None]:
    """Do the same as `split_dsn` for channels, of which there must be one at least.

    Raises:
        CannotBegin: there is none.
    """
    channels, place = split_dsn(arguments, dsn)
    if not channels:
        raise CannotBegin("name a channel, before the connection string")
    return channels, place


def refuse_secrets(*arguments: str) -> None:
    """Refuse connection strings with a password where names or payloads belong, as these are sent to others.

    Raises:
        CannotBegin: there is one.
    """
    if any(map(_has_secret, arguments)):
        raise CannotBegin("a connection string with a password is out of place: give it after --dsn")


def _has_secret(text: str) -> bool:
    from pgnotify.connecting.conninfo import parse
    from pgnotify.connecting.keywords import SECRETS

    if not is_dsn(text):
        return False
    try:
        return not parse(text).keys().isdisjoint(SECRETS)
    except ValueError:  # nobody knows
        return True


def is_dsn(text: str) -> bool:
    """Return whether a text is a connection string: a URI, or pairs in which each keyword is libpq's."""
    from pgnotify.connecting.conninfo import is_uri, parse
    from pgnotify.connecting.keywords import KEYWORDS

    if is_uri(text):
        return True
    try:
        return "=" in text and parse(text).keys() <= KEYWORDS.keys()
    except ValueError:
        return False
