"""Draw the picture in docs/states.md from the table of the state machine.

python docs/draw_states.py
"""

from __future__ import annotations

import re
from pathlib import Path

from pgnotify.program.state import TRANSITIONS, State

PAGE = Path(__file__).with_name("states.md")


def picture() -> str:
    """Return the state diagram in Mermaid's language."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.IDLE.value}"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {state.value} --> {following.value}: {happened.value}" for happened, following in row.items()]
        if not row:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join(lines)


def drawn(page: str) -> str:
    """Return the page with the picture as it should be."""
    return re.sub(r"```mermaid\n.*?```", lambda _: f"```mermaid\n{picture()}\n```", page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
