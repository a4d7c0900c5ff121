"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import pgnotify
from pgnotify import registry

HERE = str(Path(pgnotify.__file__).parent.parent)

DRIVER_PACKAGES = tuple(package for package in registry.BUILT_IN if package != "pgnotify")
NEVER_IMPORTED = (
    *DRIVER_PACKAGES,
    "asyncio",
    "importlib.metadata",
    "pgnotify.listener",
    "logging",
    "dataclasses",
    "datetime",
)


def test_the_public_names_are_exactly_these():
    assert pgnotify.__all__ == [
        "AsyncBackend",
        "AsyncBatch",
        "AsyncConnection",
        "AsyncListener",
        "AsyncNotificationHandler",
        "AsyncStream",
        "AsyncSubscription",
        "Backend",
        "Backoff",
        "Batch",
        "ChannelError",
        "Connection",
        "ConnectionLost",
        "Gap",
        "HandlerClosed",
        "Listener",
        "ListenerClosed",
        "ListenerState",
        "Listening",
        "Message",
        "NotPrimary",
        "Notification",
        "NotificationHandler",
        "Observer",
        "Outbox",
        "OutboxError",
        "PayloadError",
        "PgNotifyError",
        "Probe",
        "Reason",
        "SourceError",
        "Status",
        "Stream",
        "Subscription",
        "Superseded",
        "TransactionError",
        "Unanswered",
        "UnexpectedNotification",
        "UnknownBackend",
        "VoidPosition",
        "check",
        "connect",
        "connect_async",
        "notify",
        "notify_async",
        "notify_many",
        "notify_many_async",
        "register",
        "register_async",
        "wrap",
        "wrap_async",
    ]


def test_nothing_else_is_public():
    every = {name: getattr(pgnotify, name) for name in dir(pgnotify)}  # some are imported only when asked for
    names = {name for name, value in every.items() if not name.startswith("_") and not inspect.ismodule(value)}

    assert names == set(pgnotify.__all__)


@pytest.mark.parametrize("name", pgnotify.__all__)
def test_every_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(pgnotify, name))


def public_members():
    for name in pgnotify.__all__:
        if inspect.isclass(getattr(pgnotify, name)):
            for member, value in vars(getattr(pgnotify, name)).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


@pytest.mark.parametrize(("name", "member"), [pytest.param(name, value, id=name) for name, value in public_members()])
def test_every_public_method_has_a_docstring(name, member):
    assert inspect.getdoc(member)


def test_every_error_is_a_pgnotify_error():
    every = [getattr(pgnotify, name) for name in pgnotify.__all__]
    errors = [each for each in every if inspect.isclass(each) and issubclass(each, Exception)]

    assert len(errors) == 15
    assert all(issubclass(each, pgnotify.PgNotifyError) for each in errors)


def python(code):
    """Run code in an interpreter that has only just begun; return what it printed."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {HERE!r})\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_imports_no_driver_and_nothing_heavy():
    printed = python(f"import pgnotify; print([name for name in {NEVER_IMPORTED!r} if name in sys.modules])")

    assert printed == "[]\n"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="not applicable: no /proc to look for open descriptors")
def test_importing_opens_nothing():
    printed = python(
        "import os; look = lambda: os.listdir('/proc/self/fd'); a = look(); import pgnotify; print(a == look())"
    )

    assert printed == "True\n"


WITHOUT_DRIVERS = f"""
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {DRIVER_PACKAGES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""


def test_a_handler_works_where_no_driver_can_be_imported():
    printed = python(
        WITHOUT_DRIVERS
        + """
import pgnotify

class Silent(pgnotify.Backend):
    def listen(self, channel): print("listen", channel)
    def unlisten(self, channel): print("unlisten", channel)
    def wait(self, timeout, wakeup=None): return False
    def fetch(self): return []
    def close(self): print("close")

with pgnotify.NotificationHandler(Silent(), "jobs", print, timeout=0) as handler:
    handler()
"""
    )

    assert printed.splitlines() == ["listen jobs", "listen stop_jobs", "unlisten jobs", "unlisten stop_jobs", "close"]


def test_a_file_system_without_drivers_is_told_when_connecting():
    printed = python(
        """
import pgnotify
try:
    pgnotify.connect("dbname=test")
except pgnotify.UnknownBackend as error:
    print(error)
"""
    )

    looked_for = ", ".join(registry.DRIVERS)
    assert printed.startswith(f"no driver is installed; looked for {looked_for}: pip install ")
