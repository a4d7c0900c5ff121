"""Runs the blocks of one page, one after the other."""

from __future__ import annotations

import ast
import asyncio
import configparser
import contextlib
import importlib.util
import inspect
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any
from unittest import SkipTest

from pgnotify.testing._wire import Session
from tests.docs import blocks
from tests.docs.blocks import Block
from tests.helpers.waiting import PATIENCE
from tests.kinds import Address

CHANGES_THE_MACHINE = ("apt-get", "apt", "brew", "docker", "git", "kubectl", "make", "pip", "systemctl", "uv", "uvx")
"""Commands that are shown and not run; so is what needs a program of these names, such as `uvx pgnotify-handler`."""

# A page may also write the string that `psql` users know. It leads to the page's database.
_SHOWN_DSN = re.compile(r"postgresql://localhost(:\d+)?/\w+")
_NAMED = re.compile(r"# (?P<path>[\w./-]+\.(?:py|toml|ini|yaml|json|html))\n")
_TEST = re.compile(r"^\s*(async )?def test_", re.MULTILINE)


class Page:
    """The state of a page while its blocks run; a context manager.

    Args:
        address: of a database of its own.
        directory: an empty one, in which its commands run, and which holds its files.
    """

    def __init__(self, address: Address, directory: Path) -> None:
        self.address = address
        self._directory = directory
        self.names: dict[str, Any] = {"dsn": address.dsn, "__name__": "documentation"}
        """The namespace of its blocks."""
        self._printed = ""
        self._tests: list[str] = []
        """The files with tests that are to be run."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._metrics = _metrics()
        self.count: Counter[str] = Counter()
        """How many blocks were run, parsed or compared, by kind."""

    def run(self, path: Path) -> Counter[str]:
        """Run the blocks of a page, or of a module's docstrings; return how many there are of each kind."""
        document = blocks.blocks_of(path)
        document.namespace["run"] = self.run_block
        for example in document:
            if isinstance(example.parsed, Block):
                if example.parsed.code.startswith("# conftest.py\n"):
                    self._run_tests()  # those before this belong to the conftest.py before
                write_file(example.parsed, self._directory, self.address.dsn)
            try:
                example.evaluate()
            except SkipTest:
                self.count["skipped"] += 1
            except Exception as error:
                _add_note(error, f"{path}:{example.line}")
                raise
        self._run_tests()
        return self.count

    def run_block(self, block: Block, line: int) -> None:
        """Run, parse or compare a block, or leave it, as its kind demands."""
        kind = block.language
        if not block.is_hidden and kind in blocks.IN_EXAMPLES and blocks.stands_in_an_example(block):
            kind = "of an example"
        elif kind == "python":
            self._run_python(_SHOWN_DSN.sub(self.address.dsn, block.code), line)
        elif kind == "sql":
            with Session(*self.address) as session:
                session.sql(block.code)
        elif kind == "console":
            kind = "console" if self._run_console(block.code, block.numbers_vary) else "only shown"
        elif kind in blocks.PARSED:
            parse(kind, block.code)
        elif kind in blocks.SHOWN and self._printed:
            assert matches(block.code, self._printed), f"printed:\n{self._printed}\nand the page says:\n{block.code}"
            self._printed, kind = "", "output"
        else:
            return
        self.count[kind if not block.is_hidden else "hidden"] += 1

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for value in self.names.values():
            for ends in ("stop", "close"):
                with contextlib.suppress(Exception):  # a proxy's attributes raise all kinds of errors
                    end = getattr(value, ends, None)
                    if not inspect.isclass(value) and not inspect.ismodule(value) and callable(end):
                        ended = end()
                        if inspect.isawaitable(ended):
                            self._on_loop(ended)
        if self._loop is not None:
            self._loop.close()
        for name, module in [*sys.modules.items()]:
            if str(self._directory) in (getattr(module, "__file__", None) or ""):
                del sys.modules[name]  # another page may have a file of this name
        for collector in _metrics() - self._metrics:
            sys.modules["prometheus_client"].REGISTRY.unregister(collector)
        for number, handler in self._signals.items():
            signal.signal(number, handler)

    def _run_python(self, code: str, line: int) -> None:
        if code.startswith("# conftest.py\n"):
            return  # pytest runs it, before the tests that follow
        if _TEST.search(code):
            self._keep_tests(code, line)
            return
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        compiled = compile("\n" * line + code, "a block of this page", "exec", flags=flags, dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                waits = eval(compiled, self.names)
                if compiled.co_flags & inspect.CO_COROUTINE:
                    self._on_loop(waits)
            finally:
                self._printed += printed.getvalue()

    def _keep_tests(self, code: str, line: int) -> None:
        """Keep a block that is a test, or has some, until `_run_tests` runs all in one process."""
        named = _NAMED.match(code)
        file = self._directory / (named["path"] if named else f"test_line_{line}.py")
        file.write_text(code)
        self._tests.append(str(file))

    def _run_tests(self) -> None:
        if not self._tests:
            return
        plugins = ["pgnotify.testing.plugin"]
        plugins += ["pytest_asyncio.plugin"] if importlib.util.find_spec("pytest_asyncio") else []
        options = ["-q", "-p", "no:cacheprovider", *(f"-p{plugin}" for plugin in plugins)]
        # The plugins that are installed would take half of a second to import.
        done = self._process(
            [sys.executable, "-m", "pytest", *options, *self._tests], PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"
        )
        self._tests.clear()
        assert done.returncode == 0, done.stdout

    def _run_console(self, text: str, numbers_vary: bool) -> bool:
        """Run each command behind a ``$``, and compare what it prints with the lines below it, if there are any.

        Return whether there was one to run.
        """
        has_run = False
        for command, expected in commands(text):
            if why_not_run(command) is not None:
                continue
            has_run = True
            done = self._process(["bash", "-c", _SHOWN_DSN.sub(self.address.dsn, command)])
            if expected:
                same = matches(expected, done.stdout, numbers_vary)
                assert same, f"$ {command}\nprinted:\n{done.stdout}\nexpected:\n{expected}"
            else:
                assert done.returncode == 0, f"$ {command}\nended with {done.returncode}:\n{done.stdout}"
        return has_run

    def _process(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._directory,
            env=os.environ | environment(self.address) | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def _on_loop(self, waits: Any) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(asyncio.wait_for(_awaited(waits), PATIENCE))


def write_file(block: Block, directory: Path, dsn: str | None = None) -> None:
    """Write a block that names its file in its first line, in a comment, into a directory.

    Args:
        block: any block.
        directory: where the page's files are.
        dsn: replaces the string that the page shows, if it is given.
    """
    named = _NAMED.match(block.code)
    if named:
        path = directory / named["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code if dsn is None else _SHOWN_DSN.sub(dsn, block.code))


def _metrics() -> set[Any]:
    """Return what is in the registry of Prometheus, which is one for the process."""
    client = sys.modules.get("prometheus_client")
    return {*client.REGISTRY._collector_to_names} if client is not None else set()


async def _awaited(waits: Any) -> Any:
    return await waits


def environment(address: Address) -> dict[str, str]:
    """Return what leads every driver, psql and our own commands to a server; `pgnotify` is this checkout's."""
    return {
        "PGHOST": address.host,
        "PGPORT": str(address.port),
        "PGDATABASE": address.database,
        "PGUSER": address.user,
        "PGPASSWORD": address.password or "",
        "PGNOTIFY_TEST_DSN": address.dsn,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(blocks.ROOT),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a block, each with the lines that it prints. A command may continue behind ``> ``."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), ""))
        elif found and line.startswith("> ") and not found[-1][1]:
            found[-1] = (found[-1][0] + line.removeprefix("> "), "")
        else:
            assert found, f"a block of commands begins with a command, behind a $, and not with {line!r}"
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def why_not_run(command: str) -> str | None:
    """Return why a command is only shown; None for one that runs."""
    words = shlex.split(command, comments=True)
    program = next((word for word in words if "=" not in word and word != "sudo"), "")
    return f"{program} changes the machine" if program in CHANGES_THE_MACHINE else None


def matches(expected: str, printed: str, numbers_vary: bool = False) -> bool:
    """Whether a text is the expected one, in which an ellipsis stands for any text, and alone in a line for any lines.

    Args:
        expected: the text of the page.
        printed: the text of the program.
        numbers_vary: if True, a number stands for any, and the width of a table's columns does not count.
    """
    if numbers_vary:
        expected, printed = _without_numbers(expected), _without_numbers(printed)
    pattern = "".join(map(_pattern_of_line, expected.strip().splitlines()))
    return re.fullmatch(pattern, re.sub(r"[ ]+\n", "\n", printed.strip() + "\n")) is not None


def _pattern_of_line(line: str) -> str:
    if line.strip() in ("...", "…"):
        return r"(?:.*\n)*?"
    return ".*?".join(map(re.escape, re.split(r"\.\.\.|…", line.rstrip()))) + r"\n"


def _without_numbers(text: str) -> str:
    return re.sub(r"([─━ ])\1*", r"\1", re.sub(r"\d[\d.,]*( [smhd] ago)?", "0", text))


def parse(kind: str, text: str) -> None:
    """Parse a block of a language of data; raise what its parser raises."""
    if kind == "toml":
        _toml().loads(text)
    elif kind in ("ini", "service"):
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        parser.read_string(text if text.lstrip().startswith(("[", "#", ";")) else f"[section]\n{text}")
    elif kind == "yaml":
        import yaml

        list(yaml.safe_load_all(text))
    else:
        json.loads(text)


def _toml() -> Any:
    try:
        import tomllib
    except ImportError:  # before Python 3.11
        import tomli as tomllib  # type: ignore[no-redef]
    return tomllib


def _add_note(error: Exception, note: str) -> None:
    if hasattr(error, "add_note"):  # from Python 3.11 on
        error.add_note(note)
