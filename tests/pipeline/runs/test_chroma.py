"""Outputs for browsers and phones are 4:2:0, whatever the input; others keep their chroma."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import choose_encoding
from tests.support.commands import invoke

WIDTH, HEIGHT, FRAMES = 64, 48, 3
COLOURS = ((235, 40, 40), (40, 200, 60), (50, 60, 220), (200, 200, 200))


def bars(width: int, height: int) -> np.ndarray:
    """Return four wide bars of plain colours, uint8 H x W x 3."""
    picture = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(COLOURS):
        picture[:, number * width // 4 : (number + 1) * width // 4] = colour
    return picture


def write(path: Path, codec: str, pix_fmt: str, *, scale: int = 1) -> Path:
    """Write a clip of the bars; `scale` 2 is its reference."""
    picture = bars(WIDTH * scale, HEIGHT * scale)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "0"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = pix_fmt
        stream.time_base = Fraction(1, 25)
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def run(lr: Path, out: Path | None, *options: str) -> tuple[Path, list[str]]:
    """Enhance a clip by plain up-sampling and return the output with the run's notes."""
    ref = write(lr.parent / "ref.mkv", "libx264", "yuv444p", scale=2)
    target = [] if out is None else ["-o", out]
    result = invoke(
        "run", lr, "--ref-stream", ref, *target, "--engine", "bicubic", "--runner", "inline",
        "--json", "-q", *options,
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    made = json.loads(result.stdout)
    return Path(made["output"]), made["notes"]


def stored_format(path: Path) -> str:
    with av.open(str(path)) as container:
        return container.streams.video[0].codec_context.pix_fmt


def chroma_notes(notes: list[str]) -> list[str]:
    return [note for note in notes if "4:4:4" in note or "4:2:2" in note or "RGB" in note]


@pytest.mark.parametrize(
    ("codec", "given", "suffix", "expected", "keep"),
    [
        ("libx264", "yuv444p", ".mp4", "yuv420p", "--pix-fmt yuv444p"),
        ("libx264", "yuv422p", ".m4v", "yuv420p", "--pix-fmt yuv422p"),
        ("libx264", "yuv444p", ".mov", "yuv420p", "--pix-fmt yuv444p"),
        ("libx265", "yuv444p10le", ".mp4", "yuv420p10le", "--pix-fmt yuv444p10le"),
        ("libx264rgb", "rgb24", ".mp4", "yuv420p", ".mkv"),
        ("libx264rgb", "rgb24", ".mov", "yuv420p", ".mkv"),
    ],
)
def test_an_output_in_mp4_or_mov_is_420(
    tmp_path: Path, codec: str, given: str, suffix: str, expected: str, keep: str
) -> None:
    lr = write(tmp_path / "lr.mkv", codec, given)
    out, notes = run(lr, tmp_path / f"out{suffix}")
    assert stored_format(out) == expected
    (note,) = chroma_notes(notes)
    assert f"{keep} to keep" in note

    # plain areas keep their colours
    source = next(iter(read_frames(probe(str(lr))))).rgb.astype(float)
    made = next(iter(read_frames(probe(str(out))))).rgb.astype(float)
    for number in range(4):
        row, column = HEIGHT // 2, (2 * number + 1) * WIDTH // 8
        levels = 257 if given.endswith("10le") else 1
        assert np.abs(source[row, column] - made[2 * row, 2 * column]).max() <= 2 * levels

    if keep == ".mkv":
        kept, notes = run(lr, tmp_path / "kept.mkv")
        assert stored_format(kept) == "bgr0"
    else:
        kept, notes = run(lr, tmp_path / f"kept{suffix}", *keep.split())
        assert stored_format(kept) == keep.split()[-1]
    assert not any("instead of" in note for note in notes)


def test_the_default_output_of_a_444_mp4_is_420(tmp_path: Path) -> None:
    out, notes = run(write(tmp_path / "lr.mp4", "libx264", "yuv444p"), None)
    assert (out.name, stored_format(out)) == ("lr_x2.mp4", "yuv420p")
    assert "4:2:0, which browsers and phones play, instead of 4:4:4" in chroma_notes(notes)[0]


def test_lossless_and_matroska_keep_their_chroma_with_a_note(tmp_path: Path) -> None:
    lr = write(tmp_path / "lr.mp4", "libx264", "yuv444p")
    for name, options in (("out.mkv", ()), ("out.mp4", ("--crf", "0"))):
        out, notes = run(lr, tmp_path / name, *options)
        assert stored_format(out) == "yuv444p"
        (note,) = chroma_notes(notes)
        assert "few browsers and phones play H.264 in 4:4:4" in note
        assert "try --pix-fmt yuv420p" in note


def test_lossy_chroma_of_other_encoders_is_noted(tmp_path: Path) -> None:
    lr = write(tmp_path / "lr.mkv", "libx264", "yuv444p")
    _, notes = run(lr, tmp_path / "out.webm", "--codec", "libvpx-vp9", "--crf", "40")
    assert chroma_notes(notes) == [
        "the colours are stored in 4:2:0 instead of 4:4:4; try --pix-fmt yuv444p to keep 4:4:4"
    ]


def test_rgb_stays_lossless_in_matroska(tmp_path: Path) -> None:
    out, notes = run(write(tmp_path / "lr.mkv", "libx264rgb", "rgb24"), None)
    assert (out.name, stored_format(out)) == ("lr_x2.mkv", "bgr0")
    assert chroma_notes(notes) == []


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".ts"])
def test_the_encoding_of_420_does_not_depend_on_the_container(tmp_path: Path, suffix: str) -> None:
    clip = probe(str(write(tmp_path / "lr.mkv", "libx264", "yuv420p")))
    assert choose_encoding(clip, suffix=suffix) == choose_encoding(clip)
    _, notes = run(Path(clip.path), tmp_path / "out.mp4")
    assert chroma_notes(notes) == []
