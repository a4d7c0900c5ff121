"""What the doctor finds out on this side of the connection."""

from __future__ import annotations

import sys

import pytest

from pgnotify.cli.examination.gathering import gather, installation


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A function that installs a distribution with the package pgnotify, beside those that are there."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def install(name, version):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text("pgnotify\n")

    return install


def test_the_owners_of_the_package_are_found(installed):
    installed("pgnotify", "0.1.1561372201")

    assert "pgnotify 0.1.1561372201" in installation().owners
    assert " on " in installation().python


def test_a_wrong_string_is_a_failure_of_ours_without_its_password():
    facts = gather("postgresql://ann:hu%20sh@h:port/x", None, 1.0)

    assert facts.connection.is_ours
    assert "hu%20sh" not in facts.connection.reason
    assert facts.versions.reason == "it was not looked at"
