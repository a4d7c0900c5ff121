"""An application that uses pgnotify, and a distribution beside it that has a backend: to be frozen, or zipped."""

from __future__ import annotations

from pathlib import Path

MAIN = """\
import sys

import mydriver
import pgnotify
from pgnotify.registry import backend_for, installed_drivers

print(type(backend_for(mydriver.Connection())).__module__)
for driver in installed_drivers() if len(sys.argv) > 1 else ():
    dsn = sys.argv[1]
    listener = pgnotify.Listener(dsn, "jobs", driver=driver)
    with listener, pgnotify.connect(dsn, driver=driver) as connection:
        connection.notify("jobs", driver)
        print(next(listener.notifications(timeout=20)).payload)
"""

BACKEND = """\
import pgnotify


class MyBackend(pgnotify.Backend):
    pass


def wrap(connection):
    return MyBackend()
"""


def write_distribution(directory: Path) -> None:
    """Install ``mydriver``, and a distribution with its backend."""
    (directory / "mydriver.py").write_text("class Connection:\n    pass\n")
    (directory / "pgnotify_mydriver.py").write_text(BACKEND)
    info = directory / "pgnotify_mydriver-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pgnotify-mydriver\nVersion: 1.2\n")
    (info / "RECORD").write_text("")
    (info / "entry_points.txt").write_text("[pgnotify.backends]\nmydriver = pgnotify_mydriver:wrap\n")
