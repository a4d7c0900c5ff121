"""Which rows a condition names, and texts that are not one condition."""

from __future__ import annotations

import pytest

from pgnotify.cli.trigger.condition import rows_named_by


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("true", set()),
        ("NEW.a", {"new"}),
        ('"old"."a;" = \'x;\' AND (New IS NOT NULL)', {"old", "new"}),
        ("a.old = 'NEW' AND renewed AND $1", set()),
        ("x = $$;OLD$$ AND y = $a$ $$ ; NEW $a$", set()),
        ("x = E'\\';NEW' AND y = '\\' AND OLD.z", {"old"}),
        ("x -- ; NEW\n AND /* ; ' */ OLD.a", {"old"}),
        ("x = 'it''s; NEW'", set()),
        ('"a""b;" = 日本', set()),
        ("E.x = OLD.e", {"old"}),
    ],
)
def test_rows(condition, rows):
    assert rows_named_by(condition) == rows


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("", "must be a condition, and has none"),
        ("-- nothing", "must be a condition, and has none"),
        ("a; DROP TABLE b", "without a semicolon"),
        ("a) OR (b", "a parenthesis without its pair"),
        ("(a", "a parenthesis without its pair"),
        ("a = 'b", "has a ' without its end"),
        ('"a', 'has a " without its end'),
        ("E'\\'", "has a ' without its end"),
        ("$a$ $b$", "has a \\$a\\$ without its end"),
        ("a /* b", "has a /\\* without its end"),
    ],
)
def test_texts_that_are_not_one_condition(condition, says):
    with pytest.raises(ValueError, match=says):
        rows_named_by(condition)
