"""Reads an SQL condition as far as it must be known: that it is one, and whether it names OLD and NEW."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      --[^\n]* | /\*.*?\*/                                    # comments
    | (?P<text> [eE]'(?:[^'\\]|\\.|'')*' | (?<![eE])'(?:[^']|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | "(?P<quoted> (?:[^"]|"")* )"
    | (?P<word> [^\W\d][\w$]* )
    | (?P<open> ['"] | /\* | \$\w*\$ )                        # the beginning of one that has no end
    | (?P<sign> [();.] )
    """,
    re.VERBOSE | re.DOTALL,
)


def rows_named_by(condition: str) -> set[str]:
    """Return which of "old" and "new" a condition names.

    Raises:
        ValueError: it is empty, has a semicolon, or something that begins in it does not end in it.
    """
    rows, depth, before, is_empty = set(), 0, "", True
    for token in _TOKEN.finditer(condition):
        found, sign = token.group("word") or "", token.group("sign")
        name = token.group("quoted") or found.lower()
        if token.group("open"):
            raise ValueError(f"--when has a {token.group('open')} without its end: {condition!r}")
        if sign == ";":
            raise ValueError(f"--when must be one condition, without a semicolon: {condition!r}")
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
        if name in ("old", "new") and before != ".":
            rows.add(name)
        before = token[0]
        is_empty = is_empty and token[0].startswith(("--", "/*"))
    if depth:
        raise ValueError(f"--when has a parenthesis without its pair: {condition!r}")
    if is_empty:
        raise ValueError("--when must be a condition, and has none")
    return rows
