"""A real browser without a window: Chromium, by way of the protocol of its developer tools."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Any

# Debian's, Debian's with a window, and Google's, which GitHub's machines have.
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")


def installed() -> str | None:
    """Return the program, or None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A browser with a profile of its own; a context manager.

    Args:
        program: as `installed` returns it.
        profile: an empty directory.
    """

    def __init__(self, program: str, profile: Path) -> None:
        commands, self._commands = os.pipe()
        answers, answers_end = os.pipe()
        self._answers = open(answers, "rb")  # noqa: SIM115  # it is closed in __exit__
        as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not work for root
        options = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", *as_root, f"--user-data-dir={profile}"]
        self._pid = os.posix_spawn(
            program,
            [program, "--remote-debugging-pipe", *options],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, commands, 3),  # it reads commands from descriptor 3, and writes answers to 4
                (os.POSIX_SPAWN_DUP2, answers_end, 4),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setpgroup=0,  # Debian's program is a script that starts the browser
        )
        os.close(commands)
        os.close(answers_end)
        self._numbers = itertools.count()

    def open(self, url: str) -> Page:
        """Open a page in a tab of its own."""
        target = self.command("Target.createTarget", url=url)["targetId"]
        return Page(self, self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def command(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """Run a command of the protocol, and return its result."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (answer := self._message()).get("id") != number:
            pass  # an event
        assert "error" not in answer, f"{method}: {answer}"
        return answer["result"]

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._commands)
        self._answers.close()
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _message(self) -> Any:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser has ended"
            message += byte
        return json.loads(message)


class Page:
    """A page in a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in JavaScript."""
        done = self._browser.command("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")
