"""A full disk, on a real small file system and at every place where a run writes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.assembly import finish
from pipeline.errors import PipelineError, StageError
from pipeline.ledger import ledger, run_folder
from pipeline.ledger.durable import fsync_tree, write_atomically
from pipeline.ledger.run_folder import run_folder_of
from pipeline.paths import sha256
from pipeline.runs.parts import RunParts
from pipeline.runs.run import run
from tests.support.recordings import settings_for, write_pair

PAIR_FRAMES = 60


@pytest.fixture(scope="module")
def expected(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("whole") / "out.mkv"
    run(settings_for(pair, output))
    return sha256(output)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Return the folder of a 2 MB file system; skip the test where mounting is not allowed."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, *, leave: int) -> Path:
    """Fill a file system up to `leave` free bytes; return the file to delete."""
    ballast = place / "ballast"
    free = shutil.disk_usage(place).free
    ballast.write_bytes(b"x" * max(0, free - leave))
    return ballast


@pytest.mark.parametrize("leave", [8_000, 60_000, 150_000])
def test_a_full_file_system_is_one_line_and_resumable(
    small: Path,
    pair: tuple[Path, Path],
    expected: str,
    leave: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "pipeline.planning.target.check_room", lambda *_: None
    )  # it would refuse at once
    ballast = fill(small, leave=leave)
    output = small / "out.mkv"
    with pytest.raises(PipelineError) as caught:
        run(settings_for(pair, output))
    assert "\n" not in str(caught.value)
    assert "space" in str(caught.value).lower()
    assert not output.exists()
    assert list(small.rglob("attempt-*")) == []
    ballast.unlink()
    run(settings_for(pair, output))
    assert sha256(output) == expected
    assert sorted(path.name for path in small.iterdir()) == ["out.mkv", "out.plan.json"]


@pytest.mark.parametrize("place", ["record", "announce", "plan", "sync"])
def test_no_space_at_each_write_after_the_segments(
    pair: tuple[Path, Path],
    tmp_path: Path,
    expected: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = {"record": "00003.json", "announce": "publishing.json", "plan": "assembled.plan.json"}

    def full(path: Path, text: str, *, private: bool = False) -> None:
        if path.name == ends.get(place):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_atomically(path, text, private=private)

    def unsynced(path: Path) -> None:
        if place == "sync":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync_tree(path)

    output = tmp_path / "out.mkv"
    with monkeypatch.context() as patch:
        for module in (run_folder, ledger, finish):
            patch.setattr(module, "write_atomically", full)
        patch.setattr(finish, "fsync_tree", unsynced)
        with pytest.raises(StageError, match="No space left on device"):
            run(settings_for(pair, output))
    assert not output.exists()
    assert run_folder_of(output).exists()
    assert run(settings_for(pair, output)).resumed_segments >= 3
    assert sha256(output) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mkv", "out.plan.json"]


def test_an_input_that_changed_is_not_joined_to_old_segments(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    lr, hr = (Path(shutil.copy(path, tmp_path)) for path in pair)
    output = tmp_path / "out.mkv"
    parts = RunParts(finish=partial(finish.finish, compare=lambda *_: ["stopped here"]))
    with pytest.raises(PipelineError):
        run(settings_for((lr, hr), output), parts=parts)
    other = write_pair(tmp_path_dir(tmp_path), frames=55)
    shutil.copy(other[0], lr)
    result = run(settings_for((lr, hr), output))
    assert (result.frames, result.resumed_segments) == (55, 0)


def tmp_path_dir(folder: Path) -> Path:
    made = folder / "other"
    made.mkdir()
    return made
