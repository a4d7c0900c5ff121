"""The documented handler: PyGreSQL's NotificationHandler, on any driver.

- `handler`: `NotificationHandler`, the class that users call: its arguments and errors, and which thread may use the
  connection.
- `loop`: the order in which it listens, delivers, waits and ends, without I/O.
"""

from pgnotify.handler.handler import NotificationHandler

__all__ = ["NotificationHandler"]
