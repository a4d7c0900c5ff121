"""Several names in one argument."""

from __future__ import annotations

import pytest

from pgnotify.cli.trigger.names import names_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("a,B, c", ["a", "B", " c"]),
        ('"a,b",c', ["a,b", "c"]),
        ('a"b,c', ['a"b', "c"]),
        ('"a""b"', ['a"b']),
        ('""""', ['"']),
        ("it's,%s", ["it's", "%s"]),
        ("a\nb,日本", ["a\nb", "日本"]),
    ],
)
def test_names(text, names):
    assert names_in(text, ",") == names


@pytest.mark.parametrize("text", ["", ",", "a,", ",a", "a,,b", '"a', '"a"b', '"a"b"', '""'])
def test_texts_that_are_not_names(text):
    with pytest.raises(ValueError, match="must be names with ',' between them"):
        names_in(text, ",")
