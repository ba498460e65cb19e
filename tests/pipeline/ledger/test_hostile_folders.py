"""Folders that are cleared are never links to other folders, and only their user can read them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ledger.durable import staging_folder
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.names import PLAN
from pipeline.ledger.run_folder import run_folder_of
from pipeline.paths import own_folder
from pipeline.remote import cache
from tests.pipeline.ledger.test_ledger import plan_for


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a folder of somebody's files, with names such as a run folder has."""
    folder = tmp_path / "victim"
    (folder / "segments").mkdir(parents=True)
    for name in ("thesis.txt", "plan.json", "segments/00001-film.nut", "attempt-1", "1.nut"):
        (folder / name).write_text("years of work")
    return folder


def list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("place", ["", "segments"])
def test_a_run_folder_that_is_a_link_is_refused(place: str, victim: Path, tmp_path: Path) -> None:
    before = list_files(victim)
    link = run_folder_of(tmp_path / "out.mkv") / place
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim)
    with pytest.raises(InputError, match="must be a folder that you own, or not exist"):
        Ledger(plan_for(tmp_path / "out.mkv")).__enter__()
    assert list_files(victim) == before


def test_a_staging_folder_that_is_a_link_is_refused(victim: Path, tmp_path: Path) -> None:
    before = list_files(victim)
    (tmp_path / ".out.mkv.part").symlink_to(victim)
    with (
        pytest.raises(InputError, match="must be a folder that you own, or not exist"),
        staging_folder(tmp_path / "out.mkv"),
    ):
        pass
    assert list_files(victim) == before


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("scratch", cache.make_scratch_folder),
        ("outputs", lambda: cache.output_path("s3://bucket/out.mkv")),
    ],
)
def test_a_cache_with_links_is_refused(
    name: str,
    use: Callable[[], Path],
    victim: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (victim / "work-x").mkdir()  # as if made by a process that has ended
    before = list_files(victim)
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).symlink_to(victim)
    with pytest.raises(InputError, match="must be a folder that you own, or not exist"):
        use()
    assert list_files(victim) == before


def test_foreign_files_in_the_scratch_folder_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path))
    (tmp_path / "scratch" / "notes").mkdir(parents=True)
    assert cache.make_scratch_folder().is_dir()
    assert (tmp_path / "scratch" / "notes").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.chown(tmp_path / "a", 12345, 12345)
    with pytest.raises(InputError, match="belongs to user 12345, but must be your own"):
        own_folder(tmp_path / "a")


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o707])
def test_a_folder_in_which_others_could_plant_segments_is_refused(
    bits: int, tmp_path: Path
) -> None:
    folder = run_folder_of(tmp_path / "out.mkv")
    folder.mkdir()
    (folder / PLAN).write_text("{}")
    folder.chmod(bits)
    for _ in range(2):  # refusing must not change the mode, or the next run would accept it
        with pytest.raises(
            InputError, match=rf"other users can write to the folder .* \(mode 0{bits:o}\)"
        ):
            Ledger(plan_for(tmp_path / "out.mkv")).__enter__()
    assert (folder / PLAN).read_text() == "{}"

    (folder / PLAN).unlink()
    with Ledger(plan_for(tmp_path / "out.mkv")):  # nothing is in it
        assert mode(folder) == 0o700


def test_a_cache_in_which_others_could_plant_copies_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    arrived = tmp_path / "arrived"
    arrived.write_bytes(b"a recording")
    digest = hashlib.sha256(b"a recording").hexdigest()
    entry = tmp_path / "cache" / "files" / digest[:32]
    entry.mkdir(parents=True)
    (entry / "pipe.mkv").write_bytes(b"another recording")
    entry.chmod(0o777)
    with pytest.raises(InputError, match="other users can write to the folder"):
        cache.keep_file(arrived, digest, "pipe.mkv")

    entry.chmod(0o700)  # the content is checked as well
    kept = cache.keep_file(arrived, digest, "pipe.mkv")
    assert kept.read_bytes() == b"a recording"
    assert mode(tmp_path / "cache" / "files") == 0o700
    cache.release_file(kept)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="cannot be used as a folder"):
        own_folder(tmp_path / "a")


def test_others_cannot_read_the_plan_of_an_unfinished_run(tmp_path: Path) -> None:
    folder = run_folder_of(tmp_path / "out.mkv")
    folder.mkdir(mode=0o755)
    with Ledger(plan_for(tmp_path / "out.mkv")):
        assert mode(folder) == 0o700
        assert mode(folder / "segments") == 0o700
        assert mode(folder / PLAN) == 0o600
