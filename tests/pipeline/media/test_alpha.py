"""Transparency is enlarged with the picture and never dropped without a note."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from pipeline.cli.main import main
from pipeline.media.join.verify import find_differences
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import choose_encoding

WIDTH, HEIGHT = 96, 64
TIMES = [0, 3, 4, 9, 15, 16]  # a variable frame rate


def disc(number: int) -> NDArray[np.uint8]:
    """Return the alpha of frame `number`: a soft disc that moves over nothing."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(rows - 30, cols - 30 - 4 * number)
    return np.clip(255 - (away - 12) * 20, 0, 255).astype(np.uint8)


def transparent(path: Path, codec: str, pix_fmt: str, **options: str) -> Path:
    """Encode red that fades to blue, cut out by `disc`, at `TIMES` of 1/25 s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        for number, pts in enumerate(TIMES):
            rgba = np.full((HEIGHT, WIDTH, 4), (200, 40, 40, 0), np.uint8)
            rgba[:, WIDTH // 2 :, 2] = 180
            rgba[..., 3] = disc(number)
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pix_fmt)
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def alphas(path: Path) -> list[NDArray[np.uint8]]:
    """Read the transparency of every frame by swscale, not by the code under test."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        beside = stream.codec_context.name in ("vp9", "libvpx-vp9")
        context = av.CodecContext.create("libvpx-vp9", "r") if beside else None
        found = []
        for packet in container.demux(stream):
            for frame in context.decode(packet) if context else packet.decode():
                assert isinstance(frame, av.VideoFrame)
                found.append(frame.reformat(format="rgba").to_ndarray()[..., 3])
    return found


def enlarged(alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    size = (2 * WIDTH, 2 * HEIGHT)
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def run(source: Path, *options: str) -> str:
    arguments = ["--scale", "2", "--engine", "bicubic", "--runner", "inline", *options]
    done = CliRunner().invoke(main, ["run", str(source), "--ref-stream", str(source), *arguments])
    assert done.exit_code == 0, done.output
    return done.output


CASES = [
    ("prores.mov", "prores_ks", "yuva444p10le", {}),
    ("vp9.webm", "libvpx-vp9", "yuva420p", {"lossless": "1", "b": "0"}),
    ("packed.mkv", "ffv1", "bgra", {}),
    ("planar.mkv", "ffv1", "yuva422p10le", {}),
    ("animation.mov", "qtrle", "argb", {}),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt", "options"), CASES, ids=lambda v: str(v))
def test_transparency_comes_through_by_default(
    name: str, codec: str, pix_fmt: str, options: dict[str, str], tmp_path: Path
) -> None:
    source = transparent(tmp_path / name, codec, pix_fmt, **options)
    given = alphas(source)
    assert np.abs(given[0].astype(int) - disc(0)).max() <= 1
    output = run(source, "-q")
    made = next(path for path in tmp_path.iterdir() if path.stem.endswith("_x2"))
    assert "dropped" not in output
    found = alphas(made)
    assert len(found) == len(TIMES)
    # ProRes and VP9 lose a little of it, FFV1 nothing beyond the rounding to 8 bits here
    bound = 1 if made.suffix == ".mkv" and codec != "libvpx-vp9" else 12
    for before, after in zip(given, found, strict=True):
        assert np.abs(after.astype(int) - enlarged(before)).max() <= bound
    one, two = probe(str(source)), probe(str(made))
    assert two.alpha
    times = [[pts * clip.time_base for pts in scan(clip).pts] for clip in (one, two)]
    assert [abs(a - b) <= Fraction(1, 2000) for a, b in zip(*times, strict=True)] == [True] * 6
    assert CliRunner().invoke(main, ["verify", str(source), str(made)]).exit_code == 0


def test_an_opaque_encoder_is_noted_before_and_after_the_run_and_writes_no_alpha_tag(
    tmp_path: Path,
) -> None:
    source = transparent(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")
    out = tmp_path / "out.mkv"
    arguments = (str(source), "--ref-stream", str(source), "--scale", "2", "--codec", "libx264")
    plan = CliRunner().invoke(main, ["plan", *arguments])
    assert "transparency is dropped" in plan.output
    output = run(source, "--codec", "libx264", "-o", str(out))
    assert "transparency is dropped" in output
    with av.open(str(out)) as container:
        # with the tag, players would look for an alpha stream that is missing
        assert "alpha_mode" not in container.streams.video[0].metadata
    assert not probe(str(out)).alpha
    verified = CliRunner().invoke(main, ["verify", str(source), str(out)])
    assert verified.exit_code == 1
    assert verified.output == "it is opaque, but the input has transparency\n"


def test_an_output_that_lost_its_transparency_is_found_out(tmp_path: Path) -> None:
    source = transparent(tmp_path / "in.mkv", "ffv1", "bgra")
    opaque = tmp_path / "opaque.mkv"
    run(source, "--codec", "ffv1", "--pix-fmt", "bgr0", "-q", "-o", str(opaque))
    clip = probe(str(source))
    kept = find_differences(clip, scan(clip), opaque, 192, 128, choose_encoding(clip))
    assert kept == ["it is opaque, expected the transparency of the input"]
    assert find_differences(clip, scan(clip), opaque, 192, 128) == []


def test_one_codec_may_carry_it_for_another_with_exact_order(tmp_path: Path) -> None:
    source, out = transparent(tmp_path / "in.mov", "prores_ks", "yuva444p10le"), tmp_path / "o.webm"
    run(source, "-q", "--codec", "vp9", "-o", str(out))
    for before, after in zip(alphas(source), alphas(out), strict=True):
        assert np.abs(after.astype(int) - enlarged(before)).max() <= 12


def test_segments_and_children_give_the_same_transparency(tmp_path: Path) -> None:
    source = transparent(tmp_path / "in.webm", "libvpx-vp9", "yuva420p", g="2")
    whole, parts, guarded = (tmp_path / f"{name}.webm" for name in ("whole", "parts", "guarded"))
    run(source, "-q", "-o", str(whole))
    run(source, "-q", "-o", str(guarded), "--sandbox", "on")
    assert guarded.read_bytes() == whole.read_bytes()
    run(source, "-q", "-o", str(parts), "--segment", "0.2")
    for one, other in zip(alphas(whole), alphas(parts), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 12


@pytest.mark.parametrize("deep", [False, True])
def test_pictures_keep_theirs(deep: bool, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        bgra = np.full((HEIGHT, WIDTH, 4), 120, np.uint16 if deep else np.uint8)
        bgra[..., 3] = disc(number).astype(bgra.dtype) * (257 if deep else 1)
        cv2.imwrite(str(folder / f"p_{number}.png"), bgra)
    run(folder, "-q", "-o", str(tmp_path / "out"))
    for number in range(3):
        made = cv2.imread(str(tmp_path / f"out/p_{number}.png"), cv2.IMREAD_UNCHANGED)
        assert made.dtype == (np.uint16 if deep else np.uint8)
        source = disc(number).astype(made.dtype) * (257 if deep else 1)
        size = (2 * WIDTH, 2 * HEIGHT)
        wanted = cv2.resize(source, size, interpolation=cv2.INTER_CUBIC)
        assert np.array_equal(made[..., 3], wanted)
        assert (made[..., :3] == 120).all()


def test_a_palette_with_a_transparent_colour_is_read(tmp_path: Path) -> None:
    palette = Image.new("P", (WIDTH, HEIGHT), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.paste(1, (0, 0, WIDTH // 2, HEIGHT))
    palette.save(tmp_path / "p.png", transparency=1)
    (frame,) = read_frames(probe(str(tmp_path / "p.png")))
    assert frame.alpha is not None
    assert (frame.alpha[:, : WIDTH // 2] == 0).all()
    assert (frame.alpha[:, WIDTH // 2 :] == 255).all()
    assert tuple(frame.rgb[0, -1]) == (10, 20, 30)
