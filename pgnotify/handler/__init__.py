"""The documented handler: PyGreSQL's NotificationHandler, on any driver.

- `handler`: `NotificationHandler`, the class that users call, and which thread may use the connection.
- `face`: its arguments and its state, which are those of the handler on an event loop, too.
- `loop`: the order in which it listens, delivers, waits and ends, without I/O.
"""

from pgnotify.handler.handler import NotificationHandler

__all__ = ["NotificationHandler"]
