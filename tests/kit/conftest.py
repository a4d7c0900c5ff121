"""The kit is tested with one driver; which one does not matter, as the kit depends on none."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("psycopg") is None:
    collect_ignore_glob = ["test_*.py"]
