"""Shows the tables of `pgnotify top` again and again: on a terminal in one place, otherwise one after the other."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.live import Live

from pgnotify.cli.drawing import console
from pgnotify.cli.output import Output
from pgnotify.cli.top.keys import on_key
from pgnotify.cli.top.others import Others
from pgnotify.cli.top.screen import screen
from pgnotify.cli.top.traffic import Traffic
from pgnotify.listener.listener import Listener


class View:
    """The present state of a listener, of its traffic and of the other sessions, on standard output."""

    def __init__(self, listener: Listener, traffic: Traffic, others: Others) -> None:
        self._listener = listener
        self._traffic = traffic
        self._others = others

    def show_live(self, interval: float) -> None:
        """Show the tables on a terminal, new ones each `interval` seconds, until q is pressed."""
        wrapping = console()
        wrapping.soft_wrap = False
        live = Live(self._current(), console=wrapping, auto_refresh=False)
        with on_key("q", lambda: self._traffic.end(None)), live:
            while self._traffic.wait(interval):
                live.update(self._current(), refresh=True)

    def print_tables(self, once: bool, interval: float) -> None:
        """Print the tables each `interval` seconds, or once after that."""
        output = Output()
        while self._traffic.wait(interval):
            output.write(_text_of(self._current()))
            if once:
                return

    def _current(self) -> RenderableType:
        status = self._listener.status()
        self._others.read(status.server_pid)
        self._traffic.tick()
        return screen(status, self._traffic, self._others)


def _text_of(tables: RenderableType) -> str:
    # Not printed by Rich, which ends the process with exit code 1 if nobody reads it any more.
    printing: Console = console()
    with printing.capture() as captured:
        printing.print(tables)
    return captured.get()
