"""Python as a server embeds it: where `threading` is imported first in a foreign thread, and in subinterpreters."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]

FIRST_THREAD = "the first thread that imports threading"
MAIN_THREAD = "the main thread, where that was another one"
SUBINTERPRETER = "a subinterpreter"
ISOLATED = "a subinterpreter with a GIL of its own"

PLACES = (FIRST_THREAD, MAIN_THREAD, SUBINTERPRETER)
"""Where threads may be started in every Python, and daemons among them."""

_PROGRAM = textwrap.dedent(
    f"""
    import _thread, sys, time

    place, code, *sys.path[:0] = sys.argv[1:]
    assert "threading" not in sys.modules
    if place in ({FIRST_THREAD!r}, {MAIN_THREAD!r}):
        done = _thread.allocate_lock()
        done.acquire()

        def serve():
            try:
                exec(code if place == {FIRST_THREAD!r} else "import threading", {{"__name__": "served"}})
            finally:
                done.release()

        _thread.start_new_thread(serve, ())
        done.acquire()
        if place == {MAIN_THREAD!r}:
            exec(code)
    else:
        try:
            import _interpreters as interpreters
        except ImportError:  # before Python 3.13
            import _xxsubinterpreters as interpreters
            interpreter = interpreters.create(isolated=place == {ISOLATED!r})
        else:
            interpreter = interpreters.create("isolated" if place == {ISOLATED!r} else "legacy")
        path = f"import sys; sys.path[:] = {{sys.path!r}}\\n"
        failure = interpreters.run_string(interpreter, path + code)
        deadline = time.monotonic() + 20.0
        while True:
            try:
                interpreters.destroy(interpreter)
                break
            except RuntimeError:  # a thread's last moments come after its join(), and it counts until then
                if time.monotonic() > deadline:
                    raise
        if failure is not None:
            sys.exit(failure.errdisplay)
    """
)


def run_in(place: str, code: str, environment: Mapping[str, str] | None = None) -> str:
    """Run code in one of these places of a new process, which must end well and print no error; return its output.

    Args:
        place: one of the constants above.
        code: the code, which can import everything that can be imported here.
        environment: of the process; None for ours.
    """
    done = subprocess.run(
        # Without `site`, which may import threading.
        [sys.executable, "-I", "-S", "-c", _PROGRAM, place, textwrap.dedent(code), str(ROOT), *filter(None, sys.path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
