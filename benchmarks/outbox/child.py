"""The measuring process: it reads with one way, once.

    python -m benchmarks.outbox.child WAY COUNT

It says "ready" when the reader is connected, starts with the next line that it is sent, and prints its figures as JSON:
the seconds and the CPU time from there to the last of COUNT messages, the memory above the start, and, of messages
that say when they were sent, how many microseconds ago that was.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from benchmarks.child import ADDRESS_VARIABLE, memory_mb, ready
from benchmarks.outbox.ways import WAYS
from pgnotify.testing.address import Address

TIMED = "at "
"""What such a message begins with; the moment follows, by the clock that all processes of a machine share, in ns."""


def read(name: str, address: Address, count: int) -> dict[str, Any]:
    """Read this many messages."""
    (way,) = (way for way in WAYS if way.name == name)
    loop = way.store().reader(address)
    received = 0
    ended = ended_cpu = 0.0
    microseconds: list[float] = []

    def callback(payload: str) -> bool:
        nonlocal received, ended, ended_cpu
        if payload.startswith(TIMED):
            microseconds.append((time.perf_counter_ns() - int(payload[len(TIMED) :])) / 1000)
        received += 1
        if received < count:
            return False
        ended, ended_cpu = time.perf_counter(), time.process_time()
        return True

    ready()
    memory = memory_mb("VmRSS")
    started, cpu = time.perf_counter(), time.process_time()
    loop(callback)
    peak = memory_mb("VmHWM")
    return {
        "received": received,
        "seconds": ended - started,
        "cpu": ended_cpu - cpu,
        "mb": None if memory is None or peak is None else peak - memory,
        "microseconds": microseconds,
    }


if __name__ == "__main__":
    print(
        json.dumps(read(sys.argv[1], Address(*json.loads(os.environ[ADDRESS_VARIABLE])), int(sys.argv[2]))), flush=True
    )
    os._exit(0)  # some of them wait for their pools
