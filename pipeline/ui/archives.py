"""Unpack uploaded zip files, with limits, and pack folders for downloads."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.ui.uploads import NAME_CONFLICTS, name_conflict, split_name

MOST_MEMBERS = 20_000
MOST_RATIO = 200  # of unpacked to packed bytes; pictures and videos hardly shrink
FREE_RATIO_BYTES = 100_000_000  # below this, any ratio is harmless
RESERVED_BYTES = 500_000_000  # that stay free on the disk
_PIECE = 1 << 20
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")  # what systems add


def unpack(archive: Path, folder: Path, *, free_bytes: int | None = None) -> None:
    """Unpack a zip file into a folder that exists; raises InputError if that is not safe.

    Refused are names that lead elsewhere, links, passwords, and more data than a zip of pictures
    has, or than the disk has room for. `free_bytes` is the room, by default that of the disk.
    """
    if free_bytes is None:
        free_bytes = shutil.disk_usage(folder).free - RESERVED_BYTES
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _check(opened, archive, free_bytes)
            for member, parts in members:
                _extract(opened, member, folder.joinpath(*parts))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            f"found {archive.name}, which is no intact zip file ({error}); pack it again"
        ) from error


def _check(
    opened: zipfile.ZipFile, archive: Path, free_bytes: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """Return the files of an archive with the parts of their paths."""
    infos = [info for info in opened.infolist() if not info.is_dir()]
    infos = [info for info in infos if not set(info.filename.split("/")) & set(_IGNORED)]
    if not infos:
        raise InputError(f"found no file in {archive.name}, expected pictures or a recording")
    if len(infos) > MOST_MEMBERS:
        raise InputError(
            f"found {len(infos)} files in {archive.name}, expected at most {MOST_MEMBERS}; unpack "
            "it yourself, and name the folder"
        )

    total = sum(info.file_size for info in infos)
    packed = max(1, archive.stat().st_size)
    if total > free_bytes:
        raise InputError(
            f"found {total / 1e6:.0f} MB in {archive.name}, expected at most the "
            f"{max(0, free_bytes) / 1e6:.0f} MB that the disk has room for; make room"
        )
    if total > max(FREE_RATIO_BYTES, MOST_RATIO * packed):
        raise InputError(
            f"found {total / 1e6:.0f} MB packed into {packed / 1e6:.1f} MB in {archive.name}, "
            "expected pictures or a recording; unpack it yourself, and name the folder"
        )

    members = []
    for info in infos:
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"found the link {info.filename} in {archive.name}, expected files")
        if info.flag_bits & 1:
            raise InputError(f"found a password on {archive.name}, expected none; pack it again")
        members.append((info, split_name(info.filename)))
    return members


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write a member to `target`; raises InputError if it is larger than the archive states."""
    left = member.file_size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as source, target.open("xb") as file:
            while piece := source.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise zipfile.BadZipFile(f"{member.filename} is larger than stated")
                file.write(piece)
    except NAME_CONFLICTS as error:
        raise name_conflict(member.filename) from error


class _Outlet(io.RawIOBase):
    """A file that cannot seek, from which the written bytes are taken out piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        """Keep the bytes until they are taken."""
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def pack(folder: Path) -> Iterator[bytes]:
    """Yield a zip file of everything in a folder, without compression and hidden files."""
    outlet = _Outlet()
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            info = zipfile.ZipInfo.from_file(
                file, file.relative_to(folder).as_posix(), strict_timestamps=False
            )
            with file.open("rb") as source, archive.open(info, "w") as target:
                while piece := source.read(_PIECE):
                    target.write(piece)
                    yield outlet.take()
            yield outlet.take()
    yield outlet.take()
