"""`pgnotify check`: the conformance checks of a backend, without pytest."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pgnotify.cli.command_line import FAILED, CannotBegin


def check(
    function: Annotated[str, typer.Argument(help="MODULE:FUNCTION, or MODULE:CLASS.", show_default=False)],
    only: Annotated[str, typer.Option(help="Run the checks whose names match this regular expression.")] = "",
    cannot: Annotated[
        list[str] | None,
        typer.Option(
            help="FEATURE=REASON: what the driver lacks, and why. Its checks are skipped. Repeat it for more."
        ),
    ] = None,
) -> None:
    """Check every promise of a backend on real connections. The exit code is 1 if a check fails.

    The function returns a new connection of the driver each time. If it takes no argument, it connects to a server of
    your choice. If it takes a `pgnotify.testing.Address`, it gets that of the server which PGNOTIFY_TEST_DSN names, or
    of a temporary one, and everything is checked. It may be a coroutine function, or a class derived from
    `pgnotify.testing.BackendConformance`. The module is looked for in the working directory, too.

    Each line has the name of a check, which pytest's -k takes, too.
    """
    from pgnotify.testing.check import check as run_checks

    features = dict(map(_feature_and_reason, cannot or ()))
    factory = _loaded(function)
    begun = False

    def tell(line: str) -> None:
        nonlocal begun
        begun = True
        typer.echo(line)
        sys.stdout.flush()

    try:
        has_passed = run_checks(factory, only=only, cannot=features, tell=tell)
    except (Exception, SystemExit) as error:
        if begun and isinstance(error, Exception):
            raise
        if begun:  # its exit code might be 0, as if all checks had passed
            raise RuntimeError(f"{function} has ended the checks: SystemExit: {error}") from error
        raise CannotBegin(f"{function}: {type(error).__name__}: {error}") from error
    if not has_passed:
        raise typer.Exit(FAILED)


def _feature_and_reason(text: str) -> tuple[str, str]:
    feature, sign, reason = text.partition("=")
    if not sign or not reason:
        raise CannotBegin(f"--cannot must be FEATURE=REASON, not {text!r}")
    return feature, reason


def _loaded(path: str) -> Callable[..., Any]:
    """Return the function of a path such as ``package.module:function``.

    Raises:
        CannotBegin: the module cannot be imported, or has no such function.
    """
    module, sign, names = path.partition(":")
    if not (module and sign and names):
        raise CannotBegin(f"the function to check must be given as MODULE:FUNCTION, not {path!r}")
    sys.path.insert(0, "")  # as with `python -m`, so that the script `pgnotify` finds the same modules
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a script without `if __name__ == "__main__"` may exit
        raise CannotBegin(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    for name in names.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise CannotBegin(f"{module} has no function {names!r}")
    return found  # type: ignore[no-any-return]
