"""Frames that are close in time: containers that cannot separate them, commands on them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.errors import InputError, MediaError
from pipeline.measuring.clips import evaluate
from pipeline.media.join.capabilities import check_times
from pipeline.media.read.probe import probe, scan
from pipeline.planning.plan import make_plan
from pipeline.report.matching import match_truth
from pipeline.schema.settings import RunSettings
from pipeline.tools.compare import write_comparison
from pipeline.tools.degrade import degrade
from tests.support.commands import invoke
from tests.support.recordings import settings_for, texture, write_video

RATE = 2000  # frames per second, as high-speed cameras have


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    return write_video(tmp_path / "fast.mp4", [texture(n, 48, 64) for n in range(8)], rate=RATE)


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """A clip of four different frames, of which two have the same time."""
    path = tmp_path / "doubled.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(texture(8 * number, 48, 64), format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                packet.pts = packet.dts = max(1, number)
                container.mux(packet)
    return path


def test_a_plan_refuses_a_container_that_would_merge_frames(fast: Path, tmp_path: Path) -> None:
    ref = write_video(tmp_path / "ref.mp4", [texture(n, 96, 128) for n in range(8)], rate=RATE)
    settings = settings_for((fast, ref), tmp_path / "out.mkv", engine="bicubic", scale="2")
    with pytest.raises(InputError, match=r"0\.000500 s and 0\.001000 s would.* 1 ms; try out\.mp4"):
        make_plan(settings)

    kept = RunSettings.model_validate(
        settings.model_dump(exclude_unset=True) | {"output": str(tmp_path / "out.mp4")}
    )
    plan = make_plan(kept)
    assert len(plan.reference_map) == 8

    # the output of a plan may be replaced by another one
    saved = tmp_path / "plan.json"
    saved.write_text(plan.model_dump_json())
    command = ("run", fast, "--ref-stream", ref, "--plan", saved, "-o", tmp_path / "out.mkv", "-q")
    done = invoke(*map(str, command))
    assert done.exit_code == 2
    assert "stores times in steps of 1 ms" in done.stderr
    assert not list(tmp_path.glob("*out.mkv*"))


def test_other_commands_refuse_it_before_they_work(fast: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    with pytest.raises(InputError, match="steps of 1 ms"):
        degrade(str(fast), out, scale=2)
    with pytest.raises(InputError, match="steps of 1 ms"):
        write_comparison([str(fast), str(fast)], out, mode="side", labels=["a", "b"])
    assert degrade(str(fast), out, scale=2, every=2).frames == 4
    assert len(scan(probe(str(out))).pts) == 4


@pytest.mark.parametrize(
    ("ticks", "merged"),
    [([0, 90, 179], False), ([0, 44, 90], True), ([0, 45, 90], True), ([44, 45], False)],
)
def test_times_are_rounded_as_the_muxer_does(
    fast: Path, ticks: list[int], merged: bool, tmp_path: Path
) -> None:
    clip = probe(str(fast)).model_copy(update={"time_base": Fraction(1, 90_000)})
    if merged:
        with pytest.raises(InputError, match=r"try out\.mp4"):
            check_times(clip, ticks, tmp_path / "out.webm")
    else:
        check_times(clip, ticks, tmp_path / "out.webm")
    check_times(clip, ticks, tmp_path / "out.mp4")


def test_close_frames_are_measured_against_their_own(fast: Path, doubled: Path) -> None:
    for path in (fast, doubled):
        found = evaluate(path, path)
        assert (found.psnr, found.ssim) == (100, 1), path


def test_a_report_pairs_close_frames_by_the_nearest_time(fast: Path, tmp_path: Path) -> None:
    ref = write_video(tmp_path / "ref.mp4", [texture(n, 96, 128) for n in range(8)], rate=RATE)
    settings = settings_for((fast, ref), tmp_path / "out.mp4", engine="bicubic", scale="2")
    plan, truth = make_plan(settings), probe(str(ref))
    times = scan(truth).pts
    assert match_truth(plan, truth, times, truth) == list(times)


def test_doubled_frames_are_refused_where_an_output_needs_their_times(
    doubled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.mkv"
    with pytest.raises(MediaError, match=r"two frames at 0\.040 s .*-fps_mode cfr"):
        degrade(str(doubled), out, scale=2)
    inputs = [str(doubled), str(doubled)]
    with pytest.raises(MediaError, match=r"two frames at 0\.040 s .*-fps_mode cfr"):
        write_comparison(inputs, out, mode="side", labels=["a", "b"])
    picture = tmp_path / "out.png"
    assert write_comparison(inputs, picture, mode="side", labels=["a", "b"]) == 1


def test_a_gif_of_too_many_frames_is_refused_before_they_are_read(
    fast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.tools.compare.MOST_GIF_FRAMES", 7)
    monkeypatch.setattr("pipeline.tools.compare.read_together", pytest.fail)
    inputs = [str(fast), str(fast)]
    with pytest.raises(InputError, match="at most 7 frames, but the recordings have 8"):
        write_comparison(inputs, tmp_path / "out.gif", mode="side", labels=["a", "b"])
