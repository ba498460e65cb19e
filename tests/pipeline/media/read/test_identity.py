"""Tests that a changed recording is noticed, and a copied or moved one is not."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from pathlib import Path

import pytest

from pipeline.errors import ChangedInputError
from pipeline.media.read.identity import UnchangedSources, fingerprint
from tests.support.recordings import plan_pair

MEBIBYTE = 1 << 20


def write_bytes(path: Path, size: int) -> Path:
    path.write_bytes(random.Random(7).randbytes(size))
    return path


def flip_byte(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        value = file.read(1)[0]
        file.seek(position)
        file.write(bytes([value ^ 1]))


@pytest.mark.parametrize("position", [0, 2_500_000, 5 * MEBIBYTE - 1])
def test_every_byte_of_a_small_file_counts(tmp_path: Path, position: int) -> None:
    file = write_bytes(tmp_path / "a.bin", 5 * MEBIBYTE)
    size = f"{file.stat().st_size}\n".encode()
    before = fingerprint([file])
    assert before == hashlib.sha256(size + file.read_bytes()).hexdigest()

    flip_byte(file, position)
    assert fingerprint([file]) != before


def test_blocks_are_spread_over_a_large_file(tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    size = 100 * MEBIBYTE + 1
    with file.open("wb") as stream:
        stream.truncate(size)
    before = fingerprint([file])

    # every stretch of two strides contains a block
    stride = size // 63
    for start in range(0, size - 2 * stride, 9 * stride):
        with file.open("r+b") as stream:
            stream.seek(start)
            stream.write(b"x" * 2 * stride)
        now = fingerprint([file])
        assert now != before
        before = now


@pytest.mark.parametrize("role", ["input", "reference"])
def test_content_decides_and_not_the_inode_or_the_time(
    pair: tuple[Path, Path], tmp_path: Path, role: str
) -> None:
    files = {"input": tmp_path / "lr.mkv", "reference": tmp_path / "hr.mkv"}
    for source, copy in zip(pair, files.values(), strict=True):
        shutil.copy(source, copy)
    sources = UnchangedSources(plan_pair((files["input"], files["reference"]), tmp_path / "o.mkv"))
    sources.check()

    os.utime(files[role], ns=(1, 1))
    sources.check()
    shutil.copy(files[role], tmp_path / "copy")
    (tmp_path / "copy").replace(files[role])
    sources.check()

    # the same inode, size and time of the last change
    flip_byte(files[role], files[role].stat().st_size // 2)
    os.utime(files[role], ns=(1, 1))
    with pytest.raises(ChangedInputError, match=f"the {role} {files[role]} has changed"):
        sources.check()

    files[role].unlink()
    with pytest.raises(ChangedInputError, match=rf"the {role} .* be read \(No such file"):
        sources.check()
