"""Pictures that hold more than pixels are refused in one line."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.support import ROOT
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


SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 24\n"
OTHERS = {
    "EPS, for which Pillow starts Ghostscript": SCRIPT,
    "Sun raster": struct.pack(">8I", 0x59A66A95, 32, 24, 24, 32 * 24 * 3, 1, 0, 0) + bytes(2304),
    "SGI": struct.pack(">hbbHHHH", 474, 0, 1, 3, 32, 24, 3) + bytes(500 + 2304),
}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.heic"])
@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_formats_than_those_of_pictures_are_not_parsed(
    content: bytes, name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with Image.open(tmp_path / name) as known:
        assert known.size == (32, 24)  # Pillow itself would read it
    result = invoke("probe", tmp_path / name)
    assert result.exit_code == 2
    assert "cannot be read as a picture" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_warnings_about_damaged_metadata_are_not_printed(tmp_path: Path) -> None:
    picture = write_png(tmp_path / "1.png", chunk(b"eXIf", b"MM\0*" + b"\xff" * 40))
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "probe", str(picture)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
