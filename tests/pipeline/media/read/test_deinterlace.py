"""Interlaced recordings are detected and deinterlaced, with the same bits in every segment."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import CliRunner

import pipeline
from pipeline.cli.main import main
from pipeline.lightfield.intermediate import as_stills
from pipeline.media.join.capabilities import container_notes
from pipeline.media.read.detect_interlacing import choose_deinterlacing
from pipeline.media.read.frames import FrameReader, read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import choose_encoding
from pipeline.schema.clip import Clip
from tests.support import DATA

FRAMES, HEIGHT, WIDTH = 20, 96, 128
SAMPLES = Path(pipeline.__file__).parent / "samples"


def field(time: int) -> np.ndarray:
    """Return the moving picture at a field's time: a bright bar on a slope, H x W gray."""
    ground = np.tile(np.linspace(40, 90, WIDTH), (HEIGHT, 1))
    ground[:, 4 + 2 * time : 24 + 2 * time] = 220
    return ground.astype(np.uint8)


def weave(index: int) -> np.ndarray:
    """Return frame `index` with the rows of two fields, the lower one first.

    With `bff=1` the encoder tags frames without a field order as bottom field first.
    """
    woven = field(2 * index)
    woven[::2] = field(2 * index + 1)[::2]
    return woven


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("interlaced") / "woven.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.time_base = Fraction(1, 25)
        stream.options = {"crf": "4", "x264-params": "bff=1:keyint=5:min-keyint=5:scenecut=0"}
        for index in range(FRAMES):
            gray = av.VideoFrame.from_ndarray(weave(index), format="gray")
            frame = gray.reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("sandbox", [False, True])
def test_woven_frames_that_say_they_are_progressive_are_found(
    sandbox: bool, tmp_path: Path
) -> None:
    real = SAMPLES / "monster.mp4"
    pictures = [
        frame.rgb[280:440, 200:440] for frame in islice(read_frames(probe(str(real))), 10, 38)
    ]
    woven = tmp_path / "woven.mp4"
    with av.open(str(woven), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = 160, 240, "yuv420p"
        for first, second in zip(pictures[::2], pictures[1::2], strict=True):
            both = first.copy()
            both[1::2] = second[1::2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(both)))
        container.mux(stream.encode())
    clip = probe(str(woven), sandbox=sandbox)
    assert not clip.interlaced
    found = choose_deinterlacing(clip, "auto")
    assert found.deinterlace == "all"
    assert choose_deinterlacing(clip, "off").deinterlace == "off"
    (note,) = container_notes(found, tmp_path / "out.mp4", choose_encoding(found))
    assert "interlaced (without being tagged) and is deinterlaced by bwdif" in note


@pytest.mark.parametrize("name", ["big_buck_bunny_720p.mp4", "odd/sar_2x1.mp4"])
def test_progressive_recordings_stay_as_they_are(name: str) -> None:
    # idet alone takes the second, a moving test pattern, for interlaced
    assert choose_deinterlacing(probe(str(DATA / name)), "auto").deinterlace == "off"


def rows_differ(picture: np.ndarray) -> float:
    """Return how much neighbouring rows differ: combs where fields of two times are woven."""
    luma = picture.mean(axis=-1)
    return float(np.abs(np.diff(luma, axis=0)).mean())


def test_an_interlaced_recording_is_found(interlaced: Path) -> None:
    clip = probe(str(interlaced))
    assert clip.interlaced
    assert choose_deinterlacing(clip, "auto").deinterlace == "flagged"
    assert choose_deinterlacing(clip, "off").deinterlace == "off"
    assert choose_deinterlacing(clip, "bwdif").deinterlace == "all"
    plain = clip.model_copy(update={"interlaced": False})
    assert choose_deinterlacing(plain, "auto").deinterlace == "off"
    pictures = as_stills(plain)
    assert choose_deinterlacing(pictures, "bwdif") == pictures


def test_combs_go_and_every_frame_and_time_stays(interlaced: Path) -> None:
    woven = probe(str(interlaced))
    clean = choose_deinterlacing(woven, "auto")
    before, after = list(read_frames(woven)), list(read_frames(clean))
    assert (
        [frame.pts for frame in after] == [frame.pts for frame in before] == list(scan(woven).pts)
    )
    assert len(after) == FRAMES
    for index in range(1, FRAMES - 1):
        assert rows_differ(after[index].rgb) < 0.25 * rows_differ(before[index].rgb)
        # the picture at the time of the first field, also where the other one was
        truth = field(2 * index).astype(float)
        miss = np.abs(after[index].rgb.mean(axis=-1) - truth)
        assert miss.mean() < 0.5
        assert np.abs(before[index].rgb.mean(axis=-1) - truth).mean() > 2


def test_a_part_has_the_bits_of_the_whole(interlaced: Path) -> None:
    clip = choose_deinterlacing(probe(str(interlaced)), "auto")
    whole = {frame.pts: frame.rgb for frame in read_frames(clip)}
    times = sorted(whole)
    for start in (3, 5, 11):
        part = list(read_frames(clip, times[start], times[start + 4]))
        assert [frame.pts for frame in part] == times[start : start + 4]
        for frame in part:
            assert np.array_equal(frame.rgb, whole[frame.pts])
    reader = FrameReader(clip)
    for index in (10, 2, 19):
        assert np.array_equal(reader.get(times[index]), whole[times[index]])
    reader.close()


def run(clip: Path, out: Path, *more: str) -> tuple[str, Clip]:
    where = [str(clip), "--ref-stream", str(clip.with_name("hr.mkv")), "-o", str(out)]
    options = ["--engine", "bicubic", "--scale", "2", "--codec", "ffv1", "--segment", "0.2"]
    done = CliRunner().invoke(main, ["run", *where, *options, "--runner", "inline", *more])
    assert done.exit_code == 0, done.output
    return done.stderr, probe(str(out))


def test_a_run_says_what_it_did(interlaced: Path, tmp_path: Path) -> None:
    larger = CliRunner().invoke(
        main,
        ["degrade", str(interlaced), "--scale", "1", "-o", str(interlaced.with_name("hr.mkv"))],
    )
    assert larger.exit_code == 0, larger.output
    output, clean = run(interlaced, tmp_path / "clean.mkv")
    assert "is deinterlaced by bwdif, at the same frame rate" in output
    assert not clean.interlaced
    output, woven = run(interlaced, tmp_path / "woven.mkv", "--deinterlace", "off")
    assert "is enhanced as if it were progressive" in output
    combs = [rows_differ(list(read_frames(clip))[9].rgb) for clip in (clean, woven)]
    assert combs[0] < 0.4 * combs[1]
