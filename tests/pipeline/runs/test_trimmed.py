"""Runs that end within a recording whose frame rate no number of milliseconds can express."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.support.clips import picture
from tests.support.commands import invoke


def write_clip(path: Path, rate: Fraction, width: int, height: int) -> Path:
    """Encode twelve pictures at a constant frame rate."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"bf": "0", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("rate", [Fraction(24), Fraction(24000, 1001), Fraction(60)])
def test_the_last_frame_may_have_the_containers_usual_duration(
    tmp_path: Path, rate: Fraction, suffix: str
) -> None:
    lr = write_clip(tmp_path / "lr.mkv", rate, 64, 48)
    ref = write_clip(tmp_path / "ref.mkv", rate, 128, 96)
    arguments = [lr, "--ref-stream", ref, "--engine", "bicubic", "-q"]
    for frames in (1, 2, 3, 5):
        out = tmp_path / f"out_{frames}{suffix}"
        end = f"{float((frames - Fraction(1, 2)) / rate):.4f}"
        done = invoke("run", *arguments, "--end", end, "-o", out)
        assert done.exit_code == 0, done.stderr
        with av.open(out) as container:
            times = [frame.time for frame in container.decode(video=0)]
        assert len(times) == frames
        assert times[-1] == pytest.approx(float((frames - 1) / rate), abs=0.001)
