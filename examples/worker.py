"""A worker that waits for jobs until it is told to stop: by a stop notification, or by SIGTERM.

python examples/worker.py "postgresql://localhost/postgres"

    SELECT pg_catalog.pg_notify('jobs', '42');      -- a job
    SELECT pg_catalog.pg_notify('stop_jobs', '');   -- stop
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import pgnotify


def work(arg_dict: dict[str, Any]) -> None:
    """Do a job."""
    print(f"{arg_dict['event']}: {arg_dict['extra']!r}, sent by {arg_dict['pid']}", flush=True)


def main(dsn: str) -> None:
    """Listen until told to stop."""
    with pgnotify.connect(dsn, application_name="worker").notification_handler("jobs", work) as handler:
        signal.signal(signal.SIGTERM, lambda number, frame: handler.stop())
        handler.listen()
        print("listening", flush=True)
        handler()


if __name__ == "__main__":
    main(*sys.argv[1:])
