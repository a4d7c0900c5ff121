"""For PyInstaller, which finds this package by an entry point: `hook-pgnotify` says what a frozen application needs."""

from __future__ import annotations

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the directory of the hook."""
    return [str(Path(__file__).parent)]
