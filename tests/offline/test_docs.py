"""What the documentation says is drawn from the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_picture_of_the_states_is_that_of_the_table():
    spec = importlib.util.spec_from_file_location("draw_states", DOCS / "draw_states.py")
    draw_states = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_states)
    page = (DOCS / "states.md").read_text()

    assert "idle --> listening: LISTEN in force" in page
    assert draw_states.drawn(page) == page
