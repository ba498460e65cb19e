"""The description of the machine in result files."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from jobs import machine


def test_neither_the_packages_nor_git_are_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {"torch", "ray"} <= set(machine.describe_machine()["versions"])

    def only_torch(distribution: str) -> str:
        if distribution != "torch":
            raise metadata.PackageNotFoundError(distribution)
        return "2.13.0"

    monkeypatch.setattr(metadata, "version", only_torch)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.describe_machine()
    assert found["versions"] == {"torch": "2.13.0"}
    assert found["commit"] == ""
