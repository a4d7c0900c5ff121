"""Versions of libpq and of the protocol, from the numbers that libpq has for them."""

from __future__ import annotations


def libpq_release(number: int) -> str:
    """Return a release of libpq as people write it: 180006 is 18.6, and 90624 is 9.6.24."""
    if number >= 100_000:
        return f"{number // 10_000}.{number % 10_000}"
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def protocol_version(number: int) -> str:
    """Return a version of the protocol as people write it.

    Args:
        number: 3 from ``PQprotocolVersion``, which does not tell minor versions; 30002 from ``PQfullProtocolVersion``.
    """
    return f"{number}.0" if number < 10_000 else f"{number // 10_000}.{number % 10_000}"
