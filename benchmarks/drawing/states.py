"""Draw the pictures in docs/reference/states.md from the tables of the state machine.

python -m benchmarks.drawing.states
"""

from __future__ import annotations

import re
from pathlib import Path

from pgnotify.program.state import LISTENER_TRANSITIONS, TRANSITIONS, ListenerState, State

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "states.md"


def picture() -> str:
    """Return the states of a watch, and what leads from one to the next, in Mermaid's language."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.IDLE.value}"]
    for state, row in TRANSITIONS.items():
        lines += [f"    {state.value} --> {following.value}: {happened.value}" for happened, following in row.items()]
        if not row:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join(lines)


def listener_picture() -> str:
    """Return the states of a Listener, and which may follow on which, in Mermaid's language."""
    named = {state: state.value.replace(" ", "_") for state in ListenerState}
    lines = ["stateDiagram-v2"]
    lines += [f"    {name}: {state}" for state, name in named.items() if name != state]
    lines.append(f"    [*] --> {named[ListenerState.IDLE]}")
    for state, row in LISTENER_TRANSITIONS.items():
        lines += [f"    {named[state]} --> {named[following]}" for following in ListenerState if following in row]
        if not row:
            lines.append(f"    {named[state]} --> [*]")
    return "\n".join(lines)


def drawn(page: str) -> str:
    """Return the page with the pictures as they should be."""
    pictures = iter((picture(), listener_picture()))
    return re.sub(r"```mermaid\n.*?```", lambda _: f"```mermaid\n{next(pictures)}\n```", page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
