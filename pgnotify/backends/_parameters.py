"""Finds the parameters $1, $2 … of a statement, for drivers that write them in another way."""

from __future__ import annotations

import re
from collections.abc import Iterator

# The texts of a statement in which a dollar sign, a quote or a comment means nothing, and parameters. Names may have
# dollar signs, so they come before them. A comment may contain others; where one begins is found here, its end is not.
_TOKEN = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*'                      # E'it\'s'
    | '(?:[^']|'')*'                              # 'it''s'
    | "(?:[^"]|"")*"                              # "a name"
    | [^\W\d][\w$]*                               # a_name$1
    | \$(?P<number>[0-9]+)
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ # $tag$ text $tag$
    | --[^\r\n]*
    | (?P<comment>/\*)
    """,
    re.DOTALL | re.VERBOSE,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def split(sql: str) -> Iterator[str | int]:
    """Yield the parts of a statement in order: texts as they are, and the numbers of the parameters between them.

    A plain literal in which a backslash escapes a quote, as with ``standard_conforming_strings = off``, is misread.
    """
    start = position = 0
    while token := _TOKEN.search(sql, position):
        position = token.end()
        if token["comment"]:
            position = _end_of_comment(sql, position)
        elif token["number"]:
            yield sql[start : token.start()]
            yield int(token["number"])
            start = position
    yield sql[start:]


def _end_of_comment(sql: str, position: int) -> int:
    depth = 1
    while depth and (mark := _COMMENT_MARK.search(sql, position)):
        position = mark.end()
        depth += 1 if mark[0] == "/*" else -1
    return position if not depth else len(sql)
