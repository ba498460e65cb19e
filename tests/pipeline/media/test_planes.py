"""Enlarged planes against cubic interpolation computed in numpy, and whole runs with planes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.ledger.names import PLAN
from pipeline.ledger.run_folder import run_folder_of
from pipeline.media.planes import PlaneFormat, can_scale_planes
from pipeline.media.read.decoder import Decoder
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import choose_encoding
from pipeline.pairing.upsample import upsample
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.schema.clip import VideoClip
from pipeline.schema.plan import Plan
from tests.support.clips import make_video
from tests.support.commands import invoke
from tests.support.recordings import settings_for, write_pair


def interpolate(plane: NDArray[Any], axis: int, positions: NDArray[Any]) -> NDArray[np.float64]:
    """Return a plane's values at positions along an axis, by the cubic kernel with a = -0.75."""
    a = -0.75
    found = np.zeros([len(positions) if i == axis else n for i, n in enumerate(plane.shape)])
    for tap in range(-1, 3):
        whole = np.floor(positions).astype(int) + tap
        t = np.abs(positions - whole)
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        weights = np.where(t <= 1, near, far)
        rows = np.take(plane, np.clip(whole, 0, plane.shape[axis] - 1), axis).astype(float)
        found += rows * (weights[:, None] if axis == 0 else weights)
    return found


def enlarge_luma(plane: NDArray[Any], scale: int) -> NDArray[np.float64]:
    rows, columns = [(np.arange(n * scale) + 0.5) / scale - 0.5 for n in plane.shape]
    return interpolate(interpolate(plane, 0, rows), 1, columns)


def enlarge_chroma(plane: NDArray[Any], scale: int, location: float) -> NDArray[np.float64]:
    """Return a plane of left chroma, made from one whose first column is at this luma position."""
    height, width = plane.shape
    rows = (np.arange(height * scale) + 0.5) / scale - 0.5
    luma = (2 * np.arange(width * scale) + 0.5) / scale - 0.5
    return interpolate(interpolate(plane, 0, rows), 1, (luma - location) / 2)


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "location"),
    [("libx264", "yuv420p", 0.0), ("mjpeg", "yuvj420p", 0.5), ("libx265", "yuv420p10le", 0.0)],
)
def test_planes_are_interpolated_where_their_samples_are(
    tmp_path: Path, codec: str, pix_fmt: str, location: float
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = make_video(tmp_path / "v.mkv", codec=codec, options=options, pts=[0], pix_fmt=pix_fmt)
    clip = probe(str(path))
    assert isinstance(clip, VideoClip)
    decoder = Decoder(clip)
    decoded = next(decoder.frames(None))[1].to_ndarray().astype(float)
    decoder.close()

    made = PlaneFormat(clip.width * 4, clip.height * 4, pix_fmt.replace("j", ""))
    planes = next(iter(read_frames(clip, planes=made))).rgb
    assert planes.shape == made.shape
    assert planes.dtype == (np.uint16 if "10" in pix_fmt else np.uint8)

    height, width = clip.height, clip.width
    top = 1023 if "10" in pix_fmt else 255
    luma = np.clip(enlarge_luma(decoded[:height], 4), 0, top)
    assert np.abs(planes[: made.height] - luma).max() < 1.5

    chroma = decoded[height:].reshape(2, height // 2, width // 2)
    got = planes[made.height :].reshape(2, made.height // 2, made.width // 2)
    for small, large in zip(chroma, got, strict=True):
        expected = np.clip(enlarge_chroma(small, 4, location), 0, top)
        assert np.abs(large - expected).max() < 2.0


def plan_of(tmp_path: Path, **changes: object) -> Plan:
    settings = settings_for(write_pair(tmp_path, frames=12), tmp_path / "out.mkv", **changes)
    return pin_plan(make_plan(settings))


def test_planes_are_enlarged_where_nothing_needs_rgb(tmp_path: Path) -> None:
    assert plan_of(tmp_path).planes
    assert not plan_of(tmp_path, engine="torch").planes
    assert not plan_of(tmp_path, pix_fmt="yuv444p").planes
    assert not plan_of(tmp_path, codec="ffv1", preset=None, pix_fmt="bgr0").planes
    settings = settings_for(write_pair(tmp_path, frames=12), tmp_path / "out.mkv")
    assert not pin_plan(make_plan(settings), is_written=False).planes

    clip = plan_of(tmp_path).input
    assert isinstance(clip, VideoClip)
    encoding = choose_encoding(clip)
    assert can_scale_planes(clip, encoding, 128, 96)
    assert not can_scale_planes(clip, encoding, 127, 96)
    assert not can_scale_planes(clip.model_copy(update={"height": 47}), encoding, 128, 96)
    assert not can_scale_planes(clip.model_copy(update={"alpha": True}), encoding, 128, 96)
    deep = clip.model_copy(update={"pix_fmt": "yuv420p10le"})
    assert not can_scale_planes(deep, encoding, 128, 96)


@pytest.mark.parametrize("sandbox", ["on", "off"])
def test_a_run_with_planes_shows_what_enlarged_rgb_shows(tmp_path: Path, sandbox: str) -> None:
    lr, hr = write_pair(tmp_path, frames=12)
    out = tmp_path / "out.mkv"
    words = ["--engine", "bicubic", "--runner", "inline", "--codec", "ffv1", "--sandbox", sandbox]
    done = invoke("run", lr, "--ref-stream", hr, *words, "--pix-fmt", "yuv420p", "-o", out)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out.plan.json").read_text())["planes"]

    small, large = (list(read_frames(probe(str(path)))) for path in (lr, out))
    assert [frame.pts for frame in small] == [frame.pts for frame in large]
    for before, after in zip(small, large, strict=True):
        difference = np.abs(after.rgb.astype(int) - upsample(before.rgb, 96, 128))
        assert difference.mean() < 1.5
        assert np.percentile(difference.mean(2), 99) < 6  # the chroma is shared by four pixels


def test_a_plan_with_planes_for_a_network_is_refused(tmp_path: Path) -> None:
    lr, hr = write_pair(tmp_path, frames=12)
    saved, out = tmp_path / "plan.json", tmp_path / "out.mkv"
    words = ["--engine", "bicubic", "--runner", "inline", "-o", out]
    assert invoke("plan", lr, "--ref-stream", hr, *words[:2], "--save", saved).exit_code == 0
    edited = json.loads(saved.read_text()) | {"planes": True, "engine": "torch"}
    saved.write_text(json.dumps(edited))
    done = invoke("run", lr, "--ref-stream", hr, "--plan", saved, "--runner", "inline", "-o", out)
    assert done.exit_code == 2
    assert "sets planes to true" in done.stderr
    assert not out.exists()


def test_an_unfinished_run_of_rgb_frames_stays_one(tmp_path: Path) -> None:
    """Versions before planes enlarged RGB; a mixture of both would have different bits."""
    plan = plan_of(tmp_path)
    older = plan.model_copy(update={"planes": False, "threads": 1})
    folder = run_folder_of(Path(plan.output))
    folder.mkdir(mode=0o700)
    (folder / PLAN).write_text(older.model_dump_json(exclude={"planes"}))

    again = pin_plan(plan.model_copy(update={"threads": 0}))
    assert (again.planes, again.threads) == (False, 1)
    assert again.digest() == older.digest() != plan.digest()
