"""A finding judges one fact: it says in words whether all is well, and has a remedy if not."""

from __future__ import annotations

import abc
import enum
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from pgnotify.cli.examination.facts import Facts, Unknown

F = TypeVar("F")


class State(str, enum.Enum):
    """How bad a finding is, from the best to the worst."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing. Nothing has to be done."""
    UNKNOWN = "unknown"
    """It could not be found out."""
    WARNING = "warning"
    """It will hurt some day."""
    BROKEN = "broken"
    """Notifications do not arrive, or are lost."""

    def __str__(self) -> str:
        return self.value


class Verdict(NamedTuple):
    """The answer of a finding."""

    state: State
    text: str
    """One sentence or more."""
    remedy: str = ""
    """The remedy, as sentences; empty if there is nothing to do."""
    facts: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    """The values behind it, for JSON."""


def ok(text: str, **facts: Any) -> Verdict:
    """Return a verdict: all is well."""
    return Verdict(State.OK, text, facts=facts)


def note(text: str, remedy: str = "", **facts: Any) -> Verdict:
    """Return a verdict: worth knowing."""
    return Verdict(State.NOTE, text, remedy, facts)


def unknown(text: str, remedy: str = "", **facts: Any) -> Verdict:
    """Return a verdict: it could not be found out."""
    return Verdict(State.UNKNOWN, text, remedy, facts)


def warning(text: str, remedy: str, **facts: Any) -> Verdict:
    """Return a verdict: it will hurt some day."""
    return Verdict(State.WARNING, text, remedy, facts)


def broken(text: str, remedy: str, **facts: Any) -> Verdict:
    """Return a verdict: notifications do not arrive, or are lost."""
    return Verdict(State.BROKEN, text, remedy, facts)


class Finding(abc.ABC, Generic[F]):
    """Judges one fact. The first line of its docstring is the question that it answers."""

    name: ClassVar[str]
    """Its key in JSON, and in the table."""
    about: ClassVar[str]
    """The name of its fact, a field of `Facts`."""

    @abc.abstractmethod
    def judge(self, fact: F) -> Verdict:
        """Return the verdict on a fact that is known."""

    def examine(self, facts: Facts) -> Verdict:
        """Return the verdict on all that was found out."""
        fact = getattr(facts, self.about)
        if isinstance(fact, Unknown):
            return unknown(sentence(f"Not known: {fact.reason}"), fact.remedy)
        return self.judge(fact)


def seconds_shown(seconds: float) -> str:
    """Return a time in its largest unit, such as "2.5 h"."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 1 or not seconds else f"{seconds * 1000:.3g} ms"


def sentence(text: str) -> str:
    """Return a text with a full stop, unless it has another end."""
    return text if text.endswith((".", "?", "!")) else f"{text}."
