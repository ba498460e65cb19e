"""Uploaded files become recordings, and named paths are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.media.pictures.key_frames import SIDECAR, KeyFrame, KeyFrames
from pipeline.ui.uploads import add_sidecar, check_named_path, find_recording, name_unpacked


def test_one_file_or_folder_is_the_recording_and_several_files_are_their_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "input"
    (folder / "outer" / "views").mkdir(parents=True)
    (folder / "outer" / "views" / "a.png").touch()
    assert find_recording(folder) == folder / "outer" / "views" / "a.png"
    (folder / "outer" / "views" / "b.png").touch()
    (folder / "outer" / ".hidden").touch()
    assert find_recording(folder) == folder / "outer" / "views"
    (folder / "c.png").touch()
    assert find_recording(folder) == folder


@pytest.mark.parametrize(
    ("archive", "name"),
    [("a.zip", "a"), ("...zip", "files"), ("..zip", "files"), (".. .zip", "files"),
     ("c.mp4.zip", "c.mp4_"), (".hidden.zip", "hidden")],
)  # fmt: skip
def test_a_zip_is_unpacked_beside_itself_into_a_new_folder(
    tmp_path: Path, archive: str, name: str
) -> None:
    (tmp_path / "c.mp4").touch()
    assert name_unpacked(tmp_path / archive) == tmp_path / name


def test_nothing_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file was uploaded"):
        find_recording(tmp_path)


def write_key_frames(folder: Path) -> None:
    folder.mkdir()
    key = KeyFrame(file="key_000003_0.120s.png", frame=3, pts=3)
    sidecar = KeyFrames(
        input="lr.mp4", size_bytes=1, fingerprint="0" * 64, time_base="1/25", key_frames=(key,)
    )
    (folder / SIDECAR).write_text(sidecar.model_dump_json(), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "gets_it"), [("key_000003_0.120s.jpg", True), ("key_000003_0.120s_x4.png", True),
                          ("sub/key_000003_0.120s.png", True), ("photo.png", False)]
)  # fmt: skip
def test_treated_key_frames_get_their_sidecar_again(
    tmp_path: Path, name: str, gets_it: bool
) -> None:
    write_key_frames(tmp_path / "keys")
    picture = tmp_path / "reference" / name
    picture.parent.mkdir(parents=True)
    picture.touch()
    add_sidecar(tmp_path / "reference", tmp_path / "keys")
    assert (picture.parent / SIDECAR).exists() is gets_it


def test_a_sidecar_that_was_uploaded_is_kept(tmp_path: Path) -> None:
    write_key_frames(tmp_path / "keys")
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "key_000003_0.120s.png").touch()
    (tmp_path / "reference" / SIDECAR).write_text("own")
    add_sidecar(tmp_path / "reference", tmp_path / "keys")
    assert (tmp_path / "reference" / SIDECAR).read_text() == "own"


@pytest.mark.parametrize("text", ["", "  ", "clip.mp4", "-", "/no/such/clip.mp4", "a\0b"])
def test_paths_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"path|does not exist"):
        check_named_path(text)


def test_paths_and_urls_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clip.mp4").touch()
    assert check_named_path(" ~/clip.mp4 ") == str(tmp_path / "clip.mp4")
    assert check_named_path("s3://bucket/clip.mp4") == "s3://bucket/clip.mp4"
