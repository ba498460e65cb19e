"""Unpack uploaded zip files within limits, and pack folders for downloads."""

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
MOST_RATIO = 200  # largest ratio of unpacked to packed bytes; real pictures hardly shrink
FREE_RATIO_BYTES = 100_000_000  # unpacked size up to which any ratio is harmless
RESERVED_BYTES = 500_000_000  # kept free on the disk
_PIECE = 1 << 20
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")  # added by operating systems


def unpack(archive: Path, folder: Path, *, free_bytes: int | None = None) -> None:
    """Unpack a zip file into an existing folder; raises InputError if that is not safe.

    The zip file is unsafe if it contains links, encrypted files or names that lead outside the
    folder, if it is compressed more than pictures can be, or if it unpacks to more than
    `free_bytes` (default: the disk's free space minus a reserve).
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
            f"{archive.name} is not an intact zip file ({error}); pack it again"
        ) from error


def _check(
    opened: zipfile.ZipFile, archive: Path, free_bytes: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """Return the files of an archive with the parts of their paths.

    Raises InputError if the archive is empty or unsafe.
    """
    infos = [info for info in opened.infolist() if not info.is_dir()]
    infos = [info for info in infos if not set(info.filename.split("/")) & set(_IGNORED)]
    if not infos:
        raise InputError(f"{archive.name} contains no files; pack pictures or a recording")
    if len(infos) > MOST_MEMBERS:
        raise InputError(
            f"{archive.name} contains {len(infos)} files, but the limit is {MOST_MEMBERS}; unpack "
            "it yourself, and enter the folder's path"
        )

    total = sum(info.file_size for info in infos)
    packed = max(1, archive.stat().st_size)
    if total > free_bytes:
        raise InputError(
            f"{archive.name} unpacks to {total / 1e6:.0f} MB, but the disk has room for only "
            f"{max(0, free_bytes) / 1e6:.0f} MB; free some space"
        )
    if total > max(FREE_RATIO_BYTES, MOST_RATIO * packed):
        raise InputError(
            f"{archive.name} unpacks from {packed / 1e6:.1f} MB to {total / 1e6:.0f} MB, which is "
            "implausible for pictures or recordings; unpack it yourself, and enter the folder's "
            "path"
        )

    members = []
    for info in infos:
        if stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(f"{archive.name} contains the link {info.filename}; pack only files")
        if info.flag_bits & 1:
            raise InputError(f"{archive.name} needs a password; pack it again without one")
        members.append((info, split_name(info.filename)))
    return members


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write a member to `target`; raises InputError if its name conflicts with another file's.

    Raises BadZipFile if the member is larger than the archive states.
    """
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
    """A write-only file that cannot seek; `take` removes what has been written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        """Store the bytes until they are taken, and return their number."""
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return and discard the bytes that were written since the last call."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def pack(folder: Path) -> Iterator[bytes]:
    """Yield, piece by piece, an uncompressed zip file of a folder's files, except hidden ones."""
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
