"""The options of a Listener: their defaults and their limits.

They are checked once, here, and are passed on whole. So a new option is added to this module, to the module that uses
it, and to the signatures of the public faces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from pgnotify.connecting.backoff import Backoff
from pgnotify.connecting.source import DEFAULT_NAME
from pgnotify.limits import check_callable, check_count, check_seconds, check_text, check_type
from pgnotify.listener.gap import Listening
from pgnotify.listener.observer import Observer, check_observer
from pgnotify.listener.stored import Store, check_store
from pgnotify.notification import Notification

OnListening: TypeAlias = Callable[[Listening], object]
"""Called with the event of each LISTEN; its result is ignored."""
OnError: TypeAlias = Callable[[Exception, Notification | None], object] | Literal["raise"]
"""Called with an exception and its notification, None if it has none; its result is ignored."""


@dataclass(frozen=True)
class Options:
    """The options of one Listener. `pgnotify.Listener` describes each of them.

    Raises:
        ValueError, TypeError: a value is not possible; the message names the option, the value and the limit.
    """

    on_listening: OnListening | None = None
    on_error: OnError | None = None
    workers: int = 0
    queue_size: int = 1000
    heartbeat: float | None = 30.0
    answer_timeout: float = 5.0
    backoff: Backoff = Backoff()  # noqa: RUF009  # immutable
    name: str | None = None
    driver: str | None = None
    observer: Observer | None = None
    outbox: Store | None = None
    durable: str | None = None
    start: str = "new"

    may_be_async: ClassVar[bool] = False
    """Whether on_listening and on_error may be coroutine functions."""

    def __post_init__(self) -> None:
        on_error = None if self.on_error == "raise" else self.on_error
        check_callable("on_listening", self.on_listening, self.may_be_async, "pgnotify.AsyncListener")
        check_callable("on_error", on_error, self.may_be_async, "pgnotify.AsyncListener")
        plain = {
            "workers": check_count("workers", self.workers, 0),
            "queue_size": check_count("queue_size", self.queue_size, 1),
            "heartbeat": check_seconds("heartbeat", self.heartbeat, may_be_none=True),
            "answer_timeout": check_seconds("answer_timeout", self.answer_timeout),
            "name": check_text("name", self.name),
        }
        for option, value in plain.items():
            object.__setattr__(self, option, value)
        check_observer(self.observer)
        check_store(self.outbox, self.durable, self.start)
        check_type("backoff", self.backoff, Backoff)

    @property
    def title(self) -> str:
        """The name in the logs, and in the names of threads."""
        return self.name or DEFAULT_NAME
