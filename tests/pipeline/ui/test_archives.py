"""Zip files are unpacked within limits and never outside their folder."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ui import archives
from pipeline.ui.archives import pack, unpack


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return path


def list_files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_files_are_unpacked_without_what_systems_add(tmp_path: Path, target: Path) -> None:
    members = {"views/a.png": b"a", "views/b.png": b"b", "__MACOSX/._a.png": b"x", ".DS_Store": b""}
    unpack(write_zip(tmp_path / "a.zip", members), target)
    assert list_files(target) == {"views/a.png", "views/b.png"}
    assert (target / "views" / "b.png").read_bytes() == b"b"


@pytest.mark.parametrize(
    "name",
    [
        *("../out.png", "a/../../out.png", "/etc/out.png", "C:/out.png", "a\\..\\out.png"),
        *("a//b.png", "./a.png", "a/./b.png", "a\n.png", "-o.png", "x" * 240, "a. /b", "a/" * 20),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, target: Path, name: str) -> None:
    archive = write_zip(tmp_path / "a.zip", {"fine.png": b"", name: b"x"})
    if name.endswith("/"):  # a folder in an archive is made for its files only
        archive = write_zip(tmp_path / "a.zip", {f"{name}x": b"x"})
    with pytest.raises(InputError, match="rename the file"):
        unpack(archive, target)
    assert list_files(target) == set()
    assert list_files(tmp_path) == {"a.zip"}


def test_links_are_refused(tmp_path: Path, target: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match=r"the link link\.png"):
        unpack(tmp_path / "a.zip", target)


def test_bombs_are_refused_before_anything_is_written(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "FREE_RATIO_BYTES", 10_000_000)
    archive = write_zip(tmp_path / "a.zip", {"a.bin": bytes(11_000_000)})
    with pytest.raises(InputError, match=r"unpacks from 0\.0 MB to 11 MB"):
        unpack(archive, target)
    assert list_files(target) == set()


def test_more_than_the_disk_has_room_for_is_refused(tmp_path: Path, target: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"a.bin": bytes(2_000_000)})
    with pytest.raises(InputError, match="unpacks to 2 MB, but the disk has room for only 1 MB"):
        unpack(archive, target, free_bytes=1_000_000)
    unpack(archive, target, free_bytes=2_000_000)
    assert list_files(target) == {"a.bin"}


def test_a_member_that_is_larger_than_stated_is_refused(tmp_path: Path, target: Path) -> None:
    data = bytearray(write_zip(tmp_path / "a.zip", {"a.bin": bytes(3_000_000)}).read_bytes())
    stated = (3_000_000).to_bytes(4, "little")
    assert data.count(stated) == 2  # in the member's own header and in the directory
    (tmp_path / "a.zip").write_bytes(data.replace(stated, (1000).to_bytes(4, "little")))
    with pytest.raises(InputError, match="not an intact zip file"):
        unpack(tmp_path / "a.zip", target)
    assert sum(p.stat().st_size for p in target.rglob("*") if p.is_file()) <= 1000


def test_too_many_files_are_refused(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    archive = write_zip(tmp_path / "a.zip", {f"{n}.png": b"" for n in range(4)})
    with pytest.raises(InputError, match="contains 4 files, but the limit is 3"):
        unpack(archive, target)


@pytest.mark.parametrize("members", [("a.png", "a.png"), ("a", "a/b.png"), ("a/b.png", "a")])
def test_names_that_exclude_each_other_are_refused(
    tmp_path: Path, target: Path, members: tuple[str, str]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(members[0], b"1")
        if members[0] == members[1]:
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(members[1], b"2")
        else:
            archive.writestr(members[1], b"2")
    with pytest.raises(InputError, match="is already named"):
        unpack(tmp_path / "a.zip", target)


@pytest.mark.parametrize("data", [b"", b"no zip file", b"PK\x03\x04broken"])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, target: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="not an intact zip file"):
        unpack(tmp_path / "a.zip", target)


def test_a_cut_zip_is_refused(tmp_path: Path, target: Path) -> None:
    whole = write_zip(tmp_path / "a.zip", {"a.bin": bytes(range(256)) * 100}).read_bytes()
    (tmp_path / "a.zip").write_bytes(whole[:-30])
    with pytest.raises(InputError, match="not an intact zip file"):
        unpack(tmp_path / "a.zip", target)


def test_an_empty_zip_is_refused(tmp_path: Path, target: Path) -> None:
    with pytest.raises(InputError, match="contains no files"):
        unpack(write_zip(tmp_path / "a.zip", {}), target)


def test_a_folder_is_packed_piece_by_piece(tmp_path: Path) -> None:
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / ".hidden").write_bytes(b"x")
    (tmp_path / "out" / "ä.png").write_bytes(b"a" * 3_000_000)
    (tmp_path / "out" / "sub" / "b.png").write_bytes(b"b")
    pieces = list(pack(tmp_path / "out"))
    assert max(map(len, pieces)) < 2_000_000
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["sub/b.png", "ä.png"]
        assert archive.read("ä.png") == b"a" * 3_000_000
