"""Pictures of phones and cameras: whole and upright, whatever their format."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import MediaError
from pipeline.media.pictures import stills
from pipeline.media.pictures.transparent import load_alpha, save_tiff
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from tests.support import DATA
from tests.support.clips import picture

# Where Exif 2.3 (4.6.4, tag 274) says that the stored rows and columns are displayed.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


def measure_psnr(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".avif"])
def test_a_picture_is_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = picture(0)
    file = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    if suffix == ".tif":
        image.save(file, tiffinfo={0x0112: orientation})
    else:
        image.save(file, exif=exif, quality=95)
    assert stills.read_header(file)[:3] == (96, 64, 8)
    (frame,) = read_frames(probe(str(file)))
    assert measure_psnr(frame.rgb, upright) > 30


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("deep", [False, True])
def test_the_transparency_of_tiff_is_upright(tmp_path: Path, orientation: int, deep: bool) -> None:
    rgba = np.dstack([picture(0), picture(3)[..., :1]])
    if deep:
        rgba = rgba.astype(np.uint16) * 257
    file = tmp_path / "a.tif"
    save_tiff(file, np.ascontiguousarray(STORED[orientation](rgba)))
    file.write_bytes(declare_orientation(file.read_bytes(), orientation))
    assert stills.read_header(file)[:3] == (96, 64, 16 if deep else 8)
    rgb = stills.load_picture(str(file))
    np.testing.assert_array_equal(rgb, rgba[..., :3])
    np.testing.assert_array_equal(load_alpha(str(file), rgb), rgba[..., 3])


def declare_orientation(data: bytes, orientation: int) -> bytes:
    """Return a TIFF with the orientation tag set, which FFmpeg does not write."""
    order = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[start : start + 2], order)
    entries = [data[start + 2 + 12 * n : start + 14 + 12 * n] for n in range(count)]
    entries = [e for e in entries if int.from_bytes(e[:2], order) != 274]
    value = orientation.to_bytes(2, order) + b"\0\0"
    tag = (274).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order) + value
    entries = sorted([*entries, tag], key=lambda e: int.from_bytes(e[:2], order))
    table = len(entries).to_bytes(2, order) + b"".join(entries) + bytes(4)
    return data[:4] + len(data).to_bytes(4, order) + data[8:] + table


@pytest.mark.parametrize("suffix", [".heic", ".HEIC", ".jpg", ".mp4"])
def test_all_tiles_of_a_phones_picture_are_read(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a{suffix}"
    shutil.copyfile(DATA / "tiled.heic", file)
    clip = probe(str(file))
    assert (clip.kind, clip.width, clip.height, clip.bit_depth) == ("stills", 320, 192, 8)
    (frame,) = read_frames(clip)
    whole = stills.load_picture(str(DATA / "kodak_21.jpg"))[128 : 128 + 192, 256 : 256 + 320]
    assert measure_psnr(frame.rgb, whole) > 33


def test_a_phones_picture_is_read_in_the_sandbox() -> None:
    clip = probe(str(DATA / "tiled.heic"), sandbox=True)
    (frame,) = read_frames(clip)
    assert frame.rgb.shape == (192, 320, 3)


def test_a_damaged_heic_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.heic"
    file.write_bytes((DATA / "tiled.heic").read_bytes()[:200])
    with pytest.raises(MediaError, match="cannot be read as a picture") as caught:
        probe(str(file))
    assert "\n" not in str(caught.value)


def test_exif_times_of_heic_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2026:05:06 07:08:09"}
    Image.fromarray(picture(0)).save(buffer, "AVIF", exif=exif)
    file = tmp_path / "a.avif"
    file.write_bytes(buffer.getvalue())
    assert stills.read_header(file)[3] == 1778051289.0
