"""The line that an error becomes on the command line, without secrets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from pgnotify.connecting.conninfo import is_uri, parse
from pgnotify.connecting.keywords import KEYWORDS, SECRETS
from pgnotify.connecting.redact import redacted

# Built-in exceptions that pgnotify and drivers raise with a message for the user. Any other one is a fault of ours.
# An ImportError is a driver's that lacks its library.
_MEANT_FOR_USERS = (OSError, ValueError, RuntimeError, TypeError, ImportError)


def line_of(error: BaseException, arguments: Iterable[str] = ()) -> str:
    """Return what the user reads of an error: one line, which shows no secret.

    Args:
        error: a driver's, one of pgnotify's, or a fault.
        arguments: those of the command line. A connection string among them may have secrets that the error quotes.
    """
    text = _joined(_message_of(error))
    if not text:
        text = type(error).__name__
    elif type(error).__module__ == "builtins" and not isinstance(error, _MEANT_FOR_USERS):
        text = f"{type(error).__name__}: {text} (this is a fault of pgnotify: --debug shows where)"
    return without_secrets(text, arguments)


def _message_of(error: BaseException) -> str:
    """Return the message of an error. One driver's errors have the fields of the server's message instead."""
    fields = error.args[0] if error.args else None
    if isinstance(fields, dict) and "M" in fields:
        return "\n".join(
            [f"{fields.get('S', 'ERROR')}: {fields['M']}", *(fields[key] for key in "DH" if key in fields)]
        )
    return str(error)


def _joined(text: str) -> str:
    """Return the lines of a text as the sentences of one line."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return " ".join(
        [*(line if line.endswith((".", ":", ",", ";", "?", "!")) else f"{line}." for line in lines[:-1]), *lines[-1:]]
    )


def without_secrets(text: str, arguments: Iterable[str] = ()) -> str:
    """Return a text with *** in place of the secrets of connection strings and of the environment."""
    for argument in [*arguments, os.environ.get("PGNOTIFY_DSN", "")]:
        for dsn in {argument, argument.partition("=")[2]}:
            if "://" in dsn or "=" in dsn:
                text = text.replace(dsn, redacted(dsn))
            for secret in _secrets_of(dsn):
                text = text.replace(secret, "***")
    for keyword in SECRETS:
        secret = os.environ.get(KEYWORDS.get(keyword) or "", "")
        if secret:
            text = text.replace(secret, "***")
    return text


def _secrets_of(dsn: str) -> Iterator[str]:
    """Yield the secrets of a connection string, also as they are written in a URI."""
    try:
        parameters = parse(dsn)
    except ValueError:
        return  # redacted() hides all of it
    for secret in filter(None, map(parameters.get, SECRETS)):
        yield secret
        if is_uri(dsn):
            yield quote(secret, safe="")
