"""A test that asks for something that the system lacks is skipped, and the package is not excused for it."""

from __future__ import annotations

import os
import sys

import pytest

from pgnotify import threads
from tests.helpers import lacking


def error_of(function):
    with pytest.raises((AttributeError, ImportError, OSError)) as failed:
        function()
    return failed.value


@pytest.fixture
def as_windows(monkeypatch):
    monkeypatch.setattr(lacking, "AS_WINDOWS", True)
    monkeypatch.delattr(os, "fork", raising=False)
    monkeypatch.setitem(sys.modules, "fcntl", None)


def test_a_name_that_is_not_there_is_the_reason(as_windows):
    assert lacking.reason(error_of(lambda: os.fork())) == "not applicable: there is no os.fork here"


def test_a_module_that_is_not_there_is_the_reason(as_windows):
    def ask():
        import fcntl  # noqa: F401

    assert lacking.reason(error_of(ask)) == "not applicable: there is no module fcntl here"


def test_a_folder_that_is_not_there_is_the_reason(as_windows):
    error = error_of(lambda: os.stat("/proc/nothing"))

    assert lacking.reason(error) == "not applicable: there is no /proc/nothing here"


def test_a_misspelt_name_is_no_reason(as_windows):
    assert lacking.reason(error_of(lambda: os.forc())) is None  # type: ignore[attr-defined]


def test_the_package_is_not_excused(as_windows):
    assert lacking.reason(error_of(lambda: threads.original("os", "fork"))) is None


@pytest.mark.skipif(sys.platform != "linux" or lacking.AS_WINDOWS, reason="not applicable: only Linux has it all")
def test_on_linux_nothing_is_a_reason(monkeypatch):
    monkeypatch.delattr(os, "fork")

    assert lacking.reason(error_of(lambda: os.fork())) is None
