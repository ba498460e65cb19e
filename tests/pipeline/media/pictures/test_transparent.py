"""Pictures with transparency: straight colours, every kind of alpha, and refused formats."""

from __future__ import annotations

import zlib
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
from pipeline.media.pictures import stills
from pipeline.media.pictures.transparent import load_alpha
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import choose_encoding
from tests.pipeline.media.test_alpha import HEIGHT, WIDTH, disc, transparent

ARGUMENTS = ("--scale", "2", "--engine", "bicubic", "--runner", "inline")


def rgba(deep: bool = False) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return a picture whose colours vary wherever its alpha does, H x W x 4."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.dstack([rows * 3, cols * 2, 255 - rows - cols, disc(3)]).astype(np.uint8)
    return pixels.astype(np.uint16) * 257 if deep else pixels


def run(source: Path, out: Path, *, status: int = 0) -> str:
    command = ["run", str(source), "--ref-stream", str(source), *ARGUMENTS, "-o", str(out)]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == status, done.output
    return done.output


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("deep", [False, True])
def test_colours_are_not_multiplied_by_alpha(suffix: str, deep: bool, tmp_path: Path) -> None:
    pixels, source, out = rgba(deep), tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    stills.save_picture(source, pixels[..., :3].copy(), pixels[..., 3].copy())
    if not deep:
        # Pillow reads the same pixels, and writes its own file for the reader
        assert np.array_equal(np.asarray(Image.open(source)), pixels)
        Image.fromarray(pixels).save(source)
    (frame,) = read_frames(probe(str(source)))
    assert np.array_equal(frame.rgb, pixels[..., :3])
    assert np.array_equal(frame.alpha, pixels[..., 3])
    run(source, out)
    (made,) = read_frames(probe(str(out)))
    size = (2 * WIDTH, 2 * HEIGHT)
    assert np.array_equal(made.rgb, cv2.resize(frame.rgb, size, interpolation=cv2.INTER_CUBIC))
    assert np.array_equal(made.alpha, cv2.resize(frame.alpha, size, interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("deep", [False, True])
def test_a_tiff_says_that_its_fourth_channel_is_straight_alpha(deep: bool, tmp_path: Path) -> None:
    pixels = rgba(deep)
    stills.save_picture(tmp_path / "a.tif", pixels[..., :3].copy(), pixels[..., 3].copy())
    with Image.open(tmp_path / "a.tif") as image:
        assert image.tag_v2[338] == (2,)  # ExtraSamples of TIFF 6.0: unassociated


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_alpha_is_turned_as_the_colours_are(deep: bool, orientation: int, tmp_path: Path) -> None:
    pixels = rgba(deep)
    pixels[..., :3] = pixels[..., 3:]
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, turned = tmp_path / "plain.png", tmp_path / "turned.png"
    cv2.imwrite(str(plain), pixels)
    # the chunk of EXIF goes before the pixels (PNG 3, 5.6)
    data, body = plain.read_bytes(), exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = len(body).to_bytes(4, "big") + b"eXIf" + body
    check = zlib.crc32(chunk[4:]).to_bytes(4, "big")
    turned.write_bytes(data[:33] + chunk + check + data[33:])
    rgb = stills.load_picture(str(turned))
    assert (rgb.shape[:2] == (WIDTH, HEIGHT)) == (orientation >= 5)
    assert np.array_equal(load_alpha(str(turned), rgb), rgb[..., 0])


def test_a_transparent_colour_of_deep_grey_is_read(tmp_path: Path) -> None:
    grey = np.full((HEIGHT, WIDTH), 40000, np.uint16)
    grey[:, : WIDTH // 2] = 1234
    Image.fromarray(grey).save(tmp_path / "g.png", transparency=1234)
    (frame,) = read_frames(probe(str(tmp_path / "g.png")))
    assert frame.alpha is not None
    assert (frame.alpha[:, : WIDTH // 2] == 0).all()
    assert (frame.alpha[:, WIDTH // 2 :] == 65535).all()


def test_one_transparent_picture_makes_a_folder_transparent(tmp_path: Path) -> None:
    folder, pixels = tmp_path / "in", rgba()
    folder.mkdir()
    stills.save_picture(folder / "0.png", pixels[..., :3].copy())
    stills.save_picture(folder / "1.png", pixels[..., :3].copy(), pixels[..., 3].copy())
    assert "transparency is kept" in run(folder, tmp_path / "out")
    first, second = read_frames(probe(str(tmp_path / "out")))
    assert first.alpha is not None
    assert second.alpha is not None
    assert (first.alpha == 255).all()
    assert second.alpha.min() == 0


def test_a_note_names_the_unread_pictures_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), (value, 0, 0)) for value in (10, 90, 200)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert "a.webp contains 3 pictures, but only the first" in run(
        tmp_path / "a.webp", tmp_path / "out.png"
    )


@pytest.mark.parametrize(
    ("suffix", "deep", "alpha"),
    [(".jpg", False, True), (".bmp", True, False), (".ppm", False, True), (".webp", True, False)],
)
def test_a_picture_that_cannot_hold_it_is_refused_beforehand(
    suffix: str, deep: bool, alpha: bool, tmp_path: Path
) -> None:
    pixels, source = rgba(deep), tmp_path / "in.png"
    stills.save_picture(source, pixels[..., :3].copy(), pixels[..., 3].copy() if alpha else None)
    output = run(source, tmp_path / f"out{suffix}", status=2)
    assert f"{suffix} cannot hold a picture with" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png"]


def test_the_loss_of_jpeg_is_noted(tmp_path: Path) -> None:
    stills.save_picture(tmp_path / "in.png", rgba()[..., :3].copy())
    assert ".jpg compression is lossy" in run(tmp_path / "in.png", tmp_path / "out.jpg")


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_containers_without_a_place_for_it_are_refused_beforehand(
    suffix: str, tmp_path: Path
) -> None:
    source = transparent(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")
    output = run(source, tmp_path / f"out{suffix}", status=2)
    assert (
        f"{suffix} files cannot hold the transparency of" in output
        or f"{suffix} files cannot hold libvpx-vp9" in output
    )
    assert [path.name for path in tmp_path.iterdir()] == ["in.webm"]


def test_pixels_that_are_not_square_keep_it_in_quicktime(tmp_path: Path) -> None:
    square = transparent(tmp_path / "square.mov", "prores_ks", "yuva444p10le")
    source = tmp_path / "in.mov"
    with av.open(str(square)) as given, av.open(str(source), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0], opaque=True)
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    run(source, tmp_path / "out.mov")
    out = probe(str(tmp_path / "out.mov"))
    assert (out.alpha, out.sample_aspect_ratio) == (True, probe(str(source)).sample_aspect_ratio)
    assert out.sample_aspect_ratio != 1


def test_a_preset_selects_an_encoder_that_has_presets(tmp_path: Path) -> None:
    clip = probe(str(transparent(tmp_path / "in.webm", "libvpx-vp9", "yuva420p")))
    assert choose_encoding(clip).codec == "libvpx-vp9"
    assert choose_encoding(clip, preset="ultrafast").codec == "libx264"


def test_numbered_pictures_with_alpha_are_read_again_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = transparent(tmp_path / "in.mkv", "ffv1", "bgra")
    run(source, tmp_path / "out/%03d.tif")
    assert "WARN" not in capfd.readouterr().err
    (frame,) = read_frames(probe(str(tmp_path / "out/001.tif")))
    assert frame.alpha is not None
    assert frame.alpha.min() == 0


def test_a_plan_for_pictures_with_alpha_is_not_run_for_others(tmp_path: Path) -> None:
    source, plan = transparent(tmp_path / "in.mkv", "ffv1", "bgra"), tmp_path / "plan.json"
    command = [str(source), "--ref-stream", str(source)]
    made = CliRunner().invoke(
        main,
        ["plan", *command, "--scale", "2", "-o", str(tmp_path / "a/%d.png"), "--save", str(plan)],
    )
    assert made.exit_code == 0, made.output
    other = ["-o", str(tmp_path / "b/%d.exr"), "--plan", str(plan)]
    done = CliRunner().invoke(main, ["run", *command, *other])
    assert done.exit_code == 2
    assert "EXR drops the transparency" in done.output


def test_stills_that_were_renumbered_are_verified(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        stills.save_picture(folder / f"p{number}.png", rgba()[..., :3].copy())
    run(folder, tmp_path / "out/%03d.tif")
    verified = CliRunner().invoke(main, ["verify", str(folder), str(tmp_path / "out")])
    assert verified.exit_code == 0, verified.output
    (tmp_path / "out/002.tif").unlink()
    verified = CliRunner().invoke(main, ["verify", str(folder), str(tmp_path / "out")])
    assert "it has 2 pictures, expected 3" in verified.output


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".jp2"])
def test_a_format_that_cannot_be_written_is_refused_beforehand(suffix: str, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    stills.save_picture(source, rgba(deep=False)[..., :3].copy())
    output = run(source, tmp_path / f"out{suffix}", status=2)
    assert f"pictures cannot be written as {suffix}; expected .bmp, .jpeg, .jpg, .png, " in output
    assert "; try out.png" in output
