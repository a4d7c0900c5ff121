"""The address of the server for a script in a process of its own: every account can read a command line."""

from __future__ import annotations

import json
import os

from pgnotify.testing.address import Address

VARIABLE = "PGNOTIFY_TEST_ADDRESS"


def with_address(address: Address) -> dict[str, str]:
    """Return our environment, with the address in it."""
    return {**os.environ, VARIABLE: json.dumps(address)}


def given_address() -> Address:
    """Return the address in our environment."""
    return Address(*json.loads(os.environ[VARIABLE]))
