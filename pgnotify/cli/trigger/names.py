"""Names on the command line: several in one argument."""

from __future__ import annotations

import re


def names_in(text: str, separator: str) -> list[str]:
    """Return the names in a text.

    Args:
        text: names as written, which are not folded to lower case. One in double quotes may have separators; a quote in
            it is doubled, as in SQL.
        separator: the character between names.

    Raises:
        ValueError: a name is empty, or goes on after its closing quote.
    """
    one = rf'(?:"(?:[^"]|"")+"|[^"{separator}][^{separator}]*)'
    if not re.fullmatch(rf"{one}(?:{re.escape(separator)}{one})*", text):
        raise ValueError(f"these must be names with {separator!r} between them, not {text!r}")
    return [_unquoted(found) for found in re.findall(one, text)]


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
