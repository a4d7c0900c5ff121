"""How far one server goes with an outbox: senders by listeners, all on this machine, beside the server.

``python -m benchmarks.outbox_scale`` prints a table, in about three minutes. It needs psycopg.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import re
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

import pgnotify
from pgnotify.testing import TemporaryPostgreSQL

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "outbox-scale.md"
SENDERS = (1, 4, 16)
LISTENERS = (1, 4, 16, 64)
CHANNEL = "orders"
END = "end"
CALM_PER_SECOND = 50  # for the latency
_fork = multiprocessing.get_context("fork")  # so that 64 listeners share the modules


class Figures(NamedTuple):
    """What was measured with some senders and some listeners."""

    sent: float
    """Messages a second, at full speed, until every listener has all of them."""
    latency: float
    """Seconds from the call of `notify` to the callback, p50, at CALM_PER_SECOND."""


def measure(dsn: str, senders: int, listeners: int, seconds: float) -> Figures:
    """Measure the latency first, and then the throughput."""
    outbox = pgnotify.Outbox()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE public.pgnotify_outbox")
    calm = _run(dsn, outbox, senders, listeners, seconds, CALM_PER_SECOND / senders)
    latency = statistics.median(each for _, _, latencies in calm.values() for each in latencies)
    full = _run(dsn, outbox, senders, listeners, seconds, None)
    [count] = {count for count, _, _ in full.values()}  # each listener gets everything
    rate = count / max(taken for _, taken, _ in full.values())
    return Figures(rate, latency)


def _run(
    dsn: str, outbox: pgnotify.Outbox, senders: int, listeners: int, seconds: float, per_second: float | None
) -> dict[int, tuple[int, float, list[float]]]:
    """Return for each listener: how many messages it got, in how many seconds, and their latencies."""
    start = _fork.Barrier(senders + listeners)
    results: Any = _fork.Queue()
    processes = [
        *(_fork.Process(target=_listen, args=(n, dsn, outbox, senders, start, results)) for n in range(listeners)),
        *(_fork.Process(target=_send, args=(dsn, outbox, seconds, per_second, start)) for _ in range(senders)),
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=60 + 10 * seconds) for _ in range(listeners))
    for process in processes:
        process.join()
    return found


def _send(dsn: str, outbox: pgnotify.Outbox, seconds: float, per_second: float | None, start: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        start.wait()
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            outbox.notify(connection, CHANNEL, repr(now))
            if per_second is not None:
                time.sleep(1 / per_second)
        outbox.notify(connection, CHANNEL, END)


def _listen(number: int, dsn: str, outbox: pgnotify.Outbox, senders: int, start: Any, results: Any) -> None:
    listener = pgnotify.Listener(dsn, outbox=outbox, on_listening=lambda _: start.wait())
    begun: list[float] = []
    latencies: list[float] = []
    left = senders

    def callback(message: pgnotify.Notification) -> None:
        nonlocal left
        now = time.perf_counter()
        if message.payload != END:
            begun[:] = begun or [float(message.payload)]
            latencies.append(now - float(message.payload))
            return
        left -= 1
        if not left:
            results.put((number, (len(latencies), now - begun[0], latencies[: 10 * CALM_PER_SECOND])))
            listener.stop()

    listener.subscribe(CHANNEL, callback)
    listener.run()


def table(server: TemporaryPostgreSQL, options: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the table, each as soon as it was measured."""
    server.sql(pgnotify.Outbox().install_sql())
    pgnotify.Listener("", outbox=pgnotify.Outbox())  # has all modules imported once, before the forks
    yield "| senders | listeners | sent, per second | delivered, per second | latency, p50 |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for senders, listeners in itertools.product(options.senders, options.listeners):
        rounds = [measure(server.dsn, senders, listeners, options.seconds) for _ in range(options.rounds)]
        sent, latency = max(each.sent for each in rounds), min(each.latency for each in rounds)
        yield f"| {senders} | {listeners} | {sent:,.0f} | {sent * listeners:,.0f} | {latency * 1000:.2f} ms |"


def put_into(page: Path, name: str, lines: Iterable[str]) -> None:
    """Put a table between its two marks on a page."""
    pattern = rf"(?<=<!-- scale:{name} -->\n).*?(?=<!-- /scale -->)"
    page.write_text(re.sub(pattern, "\n" + "\n".join(lines) + "\n\n", page.read_text(), count=1, flags=re.DOTALL))


def main() -> None:
    """Print a table, and put it on its page if asked to."""
    parser = argparse.ArgumentParser("python -m benchmarks.outbox_scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of sending, each time; default: %(default)s")
    parser.add_argument("--senders", type=int, nargs="+", default=SENDERS)
    parser.add_argument("--listeners", type=int, nargs="+", default=LISTENERS)
    parser.add_argument("--rounds", type=int, default=1, help="of which the best counts; default: %(default)s")
    parser.add_argument("--fsync", action="store_true", help="have each commit wait for the disk")
    parser.add_argument("--publish", action="store_true", help="put the table on docs/how-to/outbox-scale.md")
    options = parser.parse_args()
    lines: list[str] = []
    with TemporaryPostgreSQL(settings={"fsync": options.fsync}) as server:
        for line in table(server, options):
            print(line, flush=True)
            lines.append(line)
    if options.publish:
        put_into(PAGE, "fsync" if options.fsync else "no-fsync", lines)


if __name__ == "__main__":
    main()
