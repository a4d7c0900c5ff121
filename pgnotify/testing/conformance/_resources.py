"""Measures a call (processor time, wake-ups) and this process (memory, descriptors)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from pgnotify.testing.conformance._tools import not_applicable

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_STATM = "/proc/self/statm"
_SELECT_ENDS = 1_023


def cost_of(call: Callable[[], object]) -> tuple[float, int]:
    """Call twice; return the lesser processor seconds, and the lesser number of times that the process slept."""
    first, second = _cost_of_one(call), _cost_of_one(call)
    return min(first[0], second[0]), min(first[1], second[1])


def _cost_of_one(call: Callable[[], object]) -> tuple[float, int]:
    begun, slept = time.process_time(), _times_slept()
    call()
    return time.process_time() - begun, _times_slept() - slept


def _times_slept() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw if resource else 0


def resident_bytes() -> int:
    """Return how much memory this process uses now."""
    try:
        with open(_STATM, encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        raise not_applicable(f"there is no {_STATM} to read the use of memory from") from None


@contextmanager
def low_descriptors_taken() -> Iterator[None]:
    """Use up all descriptors to 1,023, the last that select() can watch."""
    if resource is None:
        raise not_applicable("the limit on descriptors cannot be raised here")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_048:
        raise not_applicable(f"the system allows at most {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    with ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= _SELECT_ENDS:
            taken.callback(os.close, descriptor)
        os.close(descriptor)
        yield


def open_descriptors() -> set[int]:
    """Return the open descriptors below 256."""
    return {number for number in range(256) if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@contextmanager
def used_again(numbers: set[int]) -> Iterator[None]:
    """Open other files, which are always readable, under descriptors that were closed."""
    with ExitStack() as reused:
        for number in numbers:
            zeros = os.open("/dev/zero", os.O_RDONLY)
            if zeros != number:
                os.dup2(zeros, number)
                os.close(zeros)
            reused.callback(os.close, number)
        yield
