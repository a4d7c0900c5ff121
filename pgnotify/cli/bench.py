"""`pgnotify bench`: run the benchmarks of a source tree."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import typer

from pgnotify.cli.command_line import CannotBegin

DRAWS = "matplotlib"
"""The module that the benchmarks import at their end."""
SOURCE = "https://github.com/pgnotify/pgnotify"

TAKES_ANY_OPTION = {"allow_extra_args": True, "ignore_unknown_options": True}
"""The settings of the command's context."""


def bench(context: typer.Context) -> None:
    """Measure every way to listen, side by side, as `make bench` does: forty minutes.

    All further options go to the benchmarks; `pgnotify bench -- --help` shows them. They are not in the wheel of
    pgnotify, but in its source tree: run this there.
    """
    from pgnotify.connecting.redact import may_hold_a_password
    from pgnotify.registry import is_installed

    # The benchmarks' own message would show it.
    if any(map(may_hold_a_password, context.args)):
        raise CannotBegin("the benchmarks start a server of their own, and take no connection string")
    root = _source_tree()
    sys.path.insert(0, str(root))
    # Each measurement is a process of its own.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    if not is_installed(DRAWS):
        raise CannotBegin(f"the benchmarks need {DRAWS}, and all drivers: `make bench` in {root} installs them")
    benchmarks = importlib.import_module("benchmarks.__main__")
    sys.argv = ["pgnotify bench", *context.args]
    benchmarks.main()


def _source_tree() -> Path:
    """Return the directory with the benchmarks: the one that this module is in, or the working directory.

    Raises:
        CannotBegin: there are none.
    """
    for root in (Path(__file__).parents[2], Path.cwd()):
        if (root / "benchmarks" / "__main__.py").exists() and (root / "pgnotify").exists():
            return root
    raise CannotBegin(f"the benchmarks are not installed with pgnotify: git clone {SOURCE}, and run `make bench` there")
