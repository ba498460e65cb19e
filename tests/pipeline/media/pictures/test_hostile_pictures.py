"""Pictures that hold more than pixels are refused in one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from tests.support.commands import invoke

SIDE = 32
TEXT = b"a\0\0" + zlib.compress(b"x" * (70 << 20))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path: Path, before: bytes = b"", after: bytes = b"") -> Path:
    """Write a black picture with more chunks before or after its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((3 * SIDE + 1) * SIDE)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + before + pixels + after + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(
    "before",
    [
        chunk(b"zTXt", TEXT),
        chunk(b"iTXt", b"a\0\1\0\0\0" + TEXT[3:]),
        chunk(b"iCCP", TEXT),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * (1 << 19))) * 200,
        chunk(b"eXIf", b"MM\0*" + b"\xff" * 40),
        chunk(b"pHYs", b"1"),
        chunk(b"tRNS", b""),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_png_with_hostile_chunks_is_no_traceback(before: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    picture = write_png(folder / "1.png", before)
    write_png(folder / "2.png")
    for path in (picture, folder):
        result = invoke("probe", path)
        assert result.exit_code in (0, 2), result.exception
        if result.exit_code:
            assert len(result.stderr.splitlines()) == 1
