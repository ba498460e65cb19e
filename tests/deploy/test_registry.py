"""The registry: files are made once, and foreign or modified files are never read."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from deploy.registry import Registry, RegistryError, digest_key

KEY = {"kind": "onnx", "weights": "abc", "opset": 18}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "engines")


def store(registry: Registry) -> Path:
    return registry.put(KEY, b"a plan", "plan", {"psnr": 61.5}).path


def test_another_process_finds_an_entry(registry: Registry) -> None:
    store(registry)
    found = Registry(registry.root).get(KEY)
    assert found is not None
    assert found.read() == b"a plan"
    assert found.facts == {"psnr": 61.5}
    assert registry.get({**KEY, "opset": 20}) is None


def test_only_the_owner_can_read_the_folder(registry: Registry) -> None:
    assert registry.root.stat().st_mode & 0o777 == 0o700
    registry.root.chmod(0o755)
    assert Registry(registry.root).root.stat().st_mode & 0o777 == 0o700
    assert (registry.root / "key").stat().st_mode & 0o777 == 0o600


def test_a_changed_or_truncated_plan_is_not_read(registry: Registry) -> None:
    path = store(registry)
    path.write_bytes(b"a PLAN")
    assert registry.get(KEY) is None
    path.write_bytes(b"a pl")
    assert registry.get(KEY) is None
    assert [entry["state"] for entry in registry.entries()] == ["damaged"]


def test_a_plan_with_a_forged_sidecar_is_not_read(registry: Registry) -> None:
    path = store(registry)
    sidecar = path.with_suffix(".json")
    content = json.loads(sidecar.read_text())
    content["facts"]["psnr"] = 99.0
    sidecar.write_text(json.dumps(content))
    assert registry.get(KEY) is None
    sidecar.write_text("{")
    assert registry.get(KEY) is None
    assert [entry["state"] for entry in registry.entries()] == ["not ours or changed"]


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, '{"hmac": 1}', '{"hmac": "\u00e9"}', '{"hmac": "\\ud800"}']
)
def test_a_sidecar_of_nonsense_is_not_read(text: str, registry: Registry) -> None:
    path = store(registry)
    path.with_suffix(".json").write_text(text, encoding="utf-8")
    assert registry.get(KEY) is None
    assert [entry["state"] for entry in registry.entries()] == ["not ours or changed"]


def test_a_sidecar_under_another_name_is_not_read(registry: Registry, tmp_path: Path) -> None:
    path = store(registry)
    other = {**KEY, "opset": 20}
    renamed = registry.root / f"{digest_key(other)}.json"
    renamed.write_bytes(path.with_suffix(".json").read_bytes())
    assert registry.get(other) is None


def test_the_sidecar_of_another_machines_key_is_not_read(registry: Registry) -> None:
    store(registry)
    (registry.root / "key").unlink()
    assert Registry(registry.root).get(KEY) is None


def test_links_and_files_that_others_can_write_are_not_read(
    registry: Registry, tmp_path: Path
) -> None:
    path = store(registry)
    path.chmod(0o666)
    assert registry.get(KEY) is None
    path.chmod(0o600)
    assert registry.get(KEY) is not None
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert registry.get(KEY) is None


def test_a_folder_of_another_user_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    with pytest.raises(RegistryError, match="must be a folder that you own; set PIPELINE_CACHE"):
        Registry(registry.root)
    monkeypatch.undo()
    link = tmp_path / "link"
    link.symlink_to(registry.root)
    with pytest.raises(RegistryError, match="is a link, but must be a folder that you own"):
        Registry(link)


def test_a_key_that_others_can_read_is_refused(registry: Registry) -> None:
    (registry.root / "key").chmod(0o644)
    with pytest.raises(RegistryError, match="not a file that only you can access"):
        Registry(registry.root)


def test_a_full_disk_leaves_the_old_entry(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(registry)
    before = sorted(p.name for p in registry.root.iterdir())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegistryError, match=r"No space left on device; free some space, or set"):
        registry.put(KEY, b"a longer plan", "plan", {})
    monkeypatch.undo()
    assert sorted(p.name for p in registry.root.iterdir()) == before
    found = registry.get(KEY)
    assert found is not None
    assert found.read() == b"a plan"


def test_a_quarantined_entry_is_not_used_until_forced(registry: Registry) -> None:
    store(registry)
    registry.quarantine(KEY, "PSNR 12.0 dB, expected 45")
    assert registry.get(KEY) is None
    assert registry.quarantine_reason(KEY) == "PSNR 12.0 dB, expected 45"

    with pytest.raises(RegistryError, match=r"quarantined on this machine: PSNR 12\.0 dB"):
        registry.get_or_make(KEY, "plan", lambda: (b"another", {}))
    entry = registry.get_or_make(KEY, "plan", lambda: (b"another", {}), force=True)
    assert entry.read() == b"another"
    assert registry.quarantine_reason(KEY) == ""


def _get_or_make(root: Path, made: Path) -> None:
    def build() -> tuple[bytes, dict[str, int]]:
        time.sleep(0.3)
        with made.open("a") as file:
            file.write("x")
        return b"built", {}

    assert Registry(root).get_or_make(KEY, "plan", build).read() == b"built"


def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    made = tmp_path / "made"
    context = multiprocessing.get_context("spawn")
    builders = [
        context.Process(target=_get_or_make, args=(tmp_path / "engines", made)) for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert made.read_text() == "x"


def test_a_builder_that_fails_leaves_nothing(registry: Registry) -> None:
    def fail() -> tuple[bytes, dict[str, int]]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        registry.get_or_make(KEY, "plan", fail)
    left = [p.name for p in registry.root.iterdir() if p.suffix not in {".lock"}]
    assert left == ["key"]
