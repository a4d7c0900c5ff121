"""A key that ends a live screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgnotify.threads import background


@contextmanager
def on_key(key: str, call: Callable[[], object]) -> Iterator[bool]:
    """Call something, in a thread, when a key is pressed; restore the terminal at the end of the block.

    Yields:
        Whether keys are read. They are not if standard input is not a terminal, nor on Windows.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield False
        return
    if sys.stdin is None or not sys.stdin.isatty():
        yield False
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        background(_watch, "watch of the keyboard", descriptor, key, call).start()
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _watch(descriptor: int, key: str, call: Callable[[], object]) -> None:
    while pressed := os.read(descriptor, 1):
        if pressed.decode("ascii", "replace").lower() == key:
            call()
            return
