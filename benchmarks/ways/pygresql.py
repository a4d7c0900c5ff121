"""The ways of PyGreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pgnotify.testing.address import Address

Loop = Callable[[Callable[[Any], object]], None]


def own_handler(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Run PyGreSQL's own NotificationHandler."""
    import pg

    (channel,) = channels
    db = _listening(address, channels, stop)
    handler = pg.NotificationHandler(db, channel, print, stop_event=stop)
    handler.listening = (
        True  # true already: its own LISTEN would read the backlog, which its select() then does not see
    )

    def loop(callback: Callable[[Any], object]) -> None:
        handler.callback = callback
        handler()

    return loop


def getnotify_loop(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Ask a pg.Connection until there are no more, then wait."""
    return _getnotify_loop(_listening(address, channels, stop), stop)


def getnotify_loop_of_pgdb(address: Address, channels: Sequence[str], stop: str) -> Loop:
    """Do the same with the connection inside a pgdb.Connection."""
    import pgdb

    host = f"{address.host}:{address.port}"
    db = pgdb.connect(database=address.database, host=host, user=address.user, password=address.password)
    for channel in (*channels, stop):
        db._cnx.query(f'LISTEN "{channel}"')
    listening = _getnotify_loop(db._cnx, stop)

    def loop(callback: Callable[[Any], object]) -> None:
        listening(callback)
        db.close()  # keeps the connection alive until then

    return loop


def _getnotify_loop(db: Any, stop: str) -> Loop:
    import select

    def loop(callback: Callable[[Any], object]) -> None:
        arg_dict: dict[str, Any] = {}
        getnotify = db.getnotify
        while True:
            while notify := getnotify():
                arg_dict["event"], arg_dict["pid"], arg_dict["extra"] = notify
                callback(arg_dict)
                if notify[0] == stop:
                    return
            select.select([db.fileno()], [], [])

    return loop


def _listening(address: Address, channels: Sequence[str], stop: str) -> Any:
    import pg

    db = pg.connect(address.database, address.host, address.port, user=address.user, passwd=address.password)
    for channel in (*channels, stop):
        db.query(f'LISTEN "{channel}"')
    return db
