"""A service that works on orders: for systemd and for Kubernetes, with their signals, and an answer to "are you well?".

python examples/service.py "postgresql://localhost/postgres"

    SELECT pg_catalog.pg_notify('orders', '42');    -- an order
    kill -TERM <its process>                        -- the end
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pgnotify


def work(notification: pgnotify.Notification) -> None:
    """Work on an order."""
    print(f"order {notification.payload}", flush=True)


# For systemd: https://www.freedesktop.org/software/systemd/man/sd_notify.html


def tell_systemd(state: str) -> None:
    """Send a line to systemd, if it has started us with Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            notifying.send(state.encode())


class Watchdog(pgnotify.Observer):
    """Tell systemd that the thread that reads is alive, whether the server is there or not."""

    def state_changed(self, name: str, state: pgnotify.ListenerState) -> None:
        """Say that it listens, which is when the unit has started."""
        ready = "\nREADY=1" if state is pgnotify.ListenerState.LISTENING else ""
        tell_systemd(f"STATUS={state}{ready}")

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        """Say so after each heartbeat."""
        tell_systemd("WATCHDOG=1")

    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None:
        """Say so while there is no server to answer a heartbeat."""
        tell_systemd("WATCHDOG=1")


# For Kubernetes.


def is_ready(listener: pgnotify.Listener) -> bool:
    """Whether a notification that is sent now should reach our code."""
    return listener.status().delivering


def is_alive(listener: pgnotify.Listener) -> bool:
    """Whether a restart would not help."""
    status = listener.status()
    return status.state not in ("lost", "closed") and status.unread < 300.0


def serve_probes(listener: pgnotify.Listener, address: tuple[str, int]) -> ThreadingHTTPServer:
    """Answer /ready and /alive with 200 or 503, in a thread that does not keep the process alive."""

    class Probes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers = {"/ready": is_ready, "/alive": is_alive}
            self.send_response(200 if answers.get(self.path, is_ready)(listener) else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(address, Probes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(dsn: str) -> None:
    """Work until SIGTERM or Ctrl-C."""
    listener = pgnotify.Listener(dsn, name="orders", observer=Watchdog(), workers=2)
    listener.subscribe("orders", work)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: listener.stop(drain=True))
    probes = serve_probes(listener, (os.environ.get("PROBES_HOST", "127.0.0.1"), int(os.environ.get("PROBES", "0"))))
    print(f"probes at port {probes.server_port}", flush=True)
    listener.run()
    tell_systemd("STOPPING=1")


if __name__ == "__main__":
    main(*sys.argv[1:])
