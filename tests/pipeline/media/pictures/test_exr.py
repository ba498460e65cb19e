"""EXR pictures of other programs are read as values for a display; light is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from numpy.typing import NDArray

from pipeline.errors import MediaError
from pipeline.media.pictures.exr import read_exr, read_exr_size, save_exr
from pipeline.media.pictures.stills import load_picture, read_header
from pipeline.media.read.probe import probe
from pipeline.pixels import to_8_bit
from tests.support.commands import invoke
from tests.support.recordings import texture, write_pair

Values = NDArray[np.floating]
# From 0 to 1 in both directions, and different in each channel.
VALUES = np.stack(np.meshgrid(np.linspace(0, 1, 37), np.linspace(0, 1, 23), [0.2, 0.5, 0.9]), -1)
VALUES = np.ascontiguousarray((VALUES[..., 0] + VALUES[..., 1] + VALUES[..., 2]) / 3, np.float32)


def write(
    path: Path, values: Values, compression: str = "ZIP", channels: str = "RGB", **header: Any
) -> Path:
    """Write a picture with OpenEXR's own library."""
    kind = getattr(OpenEXR, f"{compression}_COMPRESSION")
    described = {"compression": kind, "type": OpenEXR.scanlineimage} | header
    OpenEXR.File(described, {channels: np.ascontiguousarray(values)}).write(str(path))
    return path


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("compression", ["NO", "ZIPS", "PIZ"])
def test_half_and_float_are_read(tmp_path: Path, compression: str, kind: type) -> None:
    stored = VALUES.astype(kind)
    file = write(tmp_path / "a.exr", stored, compression)
    assert read_exr_size(file) == (37, 23)
    assert read_header(file) == (37, 23, 16, None)
    expected = np.rint(stored.astype(np.float32) * 65535).astype(np.uint16)
    assert np.array_equal(load_picture(str(file)), expected)


def test_alpha_is_dropped_and_grey_is_repeated(tmp_path: Path) -> None:
    opaque = np.dstack([VALUES, np.full(VALUES.shape[:2], 0.5, np.float32)])
    expected = np.rint(VALUES * 65535).astype(np.uint16)
    assert np.array_equal(read_exr(write(tmp_path / "a.exr", opaque, channels="RGBA")), expected)
    grey = read_exr(write(tmp_path / "b.exr", VALUES[..., 0], channels="Y"))
    assert np.array_equal(grey, np.repeat(expected[..., :1], 3, axis=2))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    eight = texture(3, 48, 64)
    save_exr(tmp_path / "8.exr", eight)
    assert np.array_equal(to_8_bit(read_exr(tmp_path / "8.exr")), eight)
    sixteen = eight.astype(np.uint16) * 251 + 13
    save_exr(tmp_path / "16.exr", sixteen)
    assert np.array_equal(read_exr(tmp_path / "16.exr"), sixteen)


def test_values_a_little_outside_are_clipped(tmp_path: Path) -> None:
    sharpened = VALUES.copy()
    sharpened[0, :3] = 1.3
    sharpened[1, :3] = -0.2
    sharpened[2, 0] = np.nan
    found = read_exr(write(tmp_path / "a.exr", sharpened))
    assert (found[0, :3] == 65535).all()
    assert (found[1, :3] == 0).all()
    assert (found[2, 0] == 0).all()


def test_scene_linear_light_is_refused_in_one_line(tmp_path: Path) -> None:
    lr, _ = write_pair(tmp_path, frames=3)
    keys = tmp_path / "keys"
    keys.mkdir()
    light = 4 * (texture(0, 96, 128) / np.float32(255)) ** 2
    write(keys / "key_0.000s.exr", light.astype(np.float32))
    write(keys / "key_0.080s.exr", light.astype(np.float32))
    done = invoke("plan", lr, "--ref-stream", keys, "--scale", "2", "--select", "content", "-q")
    assert done.exit_code == 2, done.output
    assert "expected display values from 0 to 1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("length", [0, 3, 4, 9, 60, 200, 400, -1])
def test_damaged_files_are_refused(tmp_path: Path, length: int) -> None:
    whole = write(tmp_path / "a.exr", VALUES).read_bytes()
    cut = tmp_path / "cut.exr"
    cut.write_bytes(whole[:length])
    with pytest.raises(MediaError, match=re.escape(str(cut))):
        load_picture(str(cut))
    if 0 <= length < 200:
        with pytest.raises(MediaError, match=re.escape(str(cut))):
            probe(str(cut))


def test_a_header_that_claims_any_size_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.exr", VALUES).read_bytes()
    at = whole.index(b"displayWindow\0box2i\0") + len(b"displayWindow\0box2i\0") + 4
    crafted = tmp_path / "large.exr"
    crafted.write_bytes(
        whole[:at] + np.array([0, 0, 99_999, 99_999], "<i4").tobytes() + whole[at + 16 :]
    )
    with pytest.raises(MediaError, match="100000x100000"):
        probe(str(crafted))


def test_key_frames_make_a_whole_loop_as_exr(tmp_path: Path) -> None:
    lr, hr = write_pair(tmp_path, frames=9)
    keys, sharp = tmp_path / "keys", tmp_path / "sharp"
    for clip, folder in ((lr, keys), (hr, sharp)):
        made = invoke("keyframes", clip, "-o", folder, "--at", "0,0.2", "--format", "exr", "-q")
        assert made.exit_code == 0, made.output
    # another program writes the treated pictures in its own way
    for file in sorted(sharp.glob("*.exr")):
        with OpenEXR.File(str(file)) as opened:
            values = opened.channels()["RGB"].pixels
        write(keys / file.name, values.astype(np.float32), "PIZ")

    out = tmp_path / "out.mkv"
    options = ("--engine", "bicubic", "--runner", "inline", "--trust-reference", "--json", "-q")
    done = invoke("run", lr, "--ref-stream", keys, "-o", out, *options)
    assert done.exit_code == 0, done.output
    assert "frames from keyframes.json (2 pictures)" in done.stdout
    shown = probe(str(out))
    assert (shown.width, shown.height) == (128, 96)
