"""Cases B1 to B20: recordings from real cameras, recorders and editors."""

from __future__ import annotations

import io
import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from jobs.field_cases.case import DATA, Bench, Case, expect, expect_done, expect_refusal
from pipeline.media.pictures.stills import load_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan

TEST_PATTERN = "testsrc2=s=320x180"


def _describe_times(path: Path) -> tuple[int, Fraction, Fraction]:
    """Return a video's number of frames, and the times of the first and the last one in seconds."""
    clip = probe(str(path))
    pts = scan(clip).pts
    return len(pts), pts[0] * clip.time_base, pts[-1] * clip.time_base


def _check_field_coded(bench: Bench) -> str:
    shutil.copy(DATA / "odd" / "field_coded.ts", bench.folder / "in.ts")
    bench.make_reference("3840x2160")
    done = bench.enhance("in.ts", "out.mkv")
    expect_done(done)
    count, first, _ = _describe_times(bench.folder / "out.mkv")
    expect(count == 7, f"{count} frames, expected 7")
    expect("interlaced" in done.text, "interlacing is not detected")
    return f"{count} frames from {float(first):.3f} s, interlaced"


def _check_exif(bench: Bench) -> str:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    photograph = Image.fromarray(load_picture(str(DATA / "kodak_21.jpg"))[:128, :192])
    buffer = io.BytesIO()
    photograph.save(buffer, "JPEG", exif=exif)
    for number in (1, 2):
        (bench.folder / f"e_{number:02}.jpg").write_bytes(buffer.getvalue())
    bench.ffmpeg("-framerate", "15", "-i", "e_%02d.jpg", "-c", "copy", "in.avi")
    bench.make_reference("384x256")
    expect_done(bench.pipeline("probe", "in.avi"))
    expect_done(bench.enhance("in.avi", "out.mkv"))
    return "read"


def _check_heic(bench: Bench) -> str:
    shutil.copy(DATA / "tiled.heic", bench.folder / "phone.HEIC")
    bench.make_reference()
    expect_done(bench.enhance("phone.HEIC", "out.png"))
    height, width, _ = load_picture(str(bench.folder / "out.png")).shape
    expect((width, height) == (640, 384), f"{width}x{height}, expected 640x384")
    return "all tiles are present"


def _check_derived_duration(bench: Bench) -> str:
    pattern = f"{TEST_PATTERN}:r=30:d=1"
    bench.ffmpeg("-f", "lavfi", "-i", pattern, "-c:v", "libx264", "-bf", "0", "a.flv")
    bench.ffmpeg("-i", "a.flv", "-c", "copy", "a.ts")
    bench.make_reference()
    expect_done(bench.enhance("a.ts", "out.ts"))
    before, after = (_describe_times(bench.folder / name) for name in ("a.ts", "out.ts"))
    expect(before == after, f"times {after}, expected {before}")
    return f"{after[0]} frames, every time as before"


def _check_raw_streams(bench: Bench) -> str:
    bench.make_reference()
    quiet = ("-x265-params", "log-level=error")
    for name, codec in (("a.h264", ("libx264",)), ("a.hevc", ("libx265", *quiet))):
        bench.ffmpeg("-f", "lavfi", "-i", f"{TEST_PATTERN}:d=1", "-c:v", *codec, name)
        expect_done(bench.enhance(name, f"{name}.mkv"))
        count, _, last = _describe_times(bench.folder / f"{name}.mkv")
        expect((count, last) == (25, Fraction(24, 25)), f"{name}: {count} frames to {last} s")
    bench.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x360:d=1", "-c:v", "libx264", "ref.h264")
    expect_done(bench.enhance("a.h264", "other.mkv", ref="ref.h264"))
    return "25 frames at their rate; also as reference"


def _check_beginning(bench: Bench) -> str:
    pattern = f"{TEST_PATTERN}:r=25:d=4"
    bench.ffmpeg("-f", "lavfi", "-i", pattern, "-c:v", "libx264", "-g", "25", "whole.ts")
    data = (bench.folder / "whole.ts").read_bytes()
    (bench.folder / "part.ts").write_bytes(data[60160:])
    bench.make_reference()
    done = bench.enhance("part.ts", "out.ts")
    expect_done(done)
    expect("begins between key frames" in done.text, "no note")
    return f"{_describe_times(bench.folder / 'out.ts')[0]} frames, with a note"


def _check_open_group(bench: Bench) -> str:
    options = "open-gop=1:keyint=25:min-keyint=25:scenecut=0:bframes=3:log-level=error"
    source = ("-f", "lavfi", "-i", f"{TEST_PATTERN}:r=25:d=4")
    bench.ffmpeg(*source, "-c:v", "libx265", "-x265-params", options, "a.mp4")
    bench.ffmpeg("-ss", "2", "-i", "a.mp4", "-c", "copy", "a.ts")
    bench.make_reference()
    expect_done(bench.enhance("a.ts", "out.ts"))
    count, first, _ = _describe_times(bench.folder / "out.ts")
    expect((count, float(first)) == (50, 1.6), f"{count} frames from {float(first)} s")
    return "50 frames from 1.600 s"


def _check_not_coded(bench: Bench) -> str:
    shutil.copy(DATA / "odd" / "not_coded.avi", bench.folder / "a.avi")
    bench.make_reference("128x96")
    expect_done(bench.enhance("a.avi", "out.mkv"))
    count = _describe_times(bench.folder / "out.mkv")[0]
    expect(count == 8, f"{count} frames, expected 8")
    return "8 frames, one of them longer"


def _read_choices(bench: Bench, name: str) -> list[dict[str, object]]:
    plan = json.loads((bench.folder / name).read_text(encoding="utf-8"))
    return list(plan["reference_map"])


def _check_equal_numbers(bench: Bench) -> str:
    (bench.folder / "hr").mkdir()
    source = ("-f", "lavfi", "-i", "mandelbrot=s=320x192:r=5")
    bench.ffmpeg(*source, "-frames:v", "8", "-start_number", "11", "hr/f_%04d.png")
    expect_done(bench.pipeline("degrade", "hr", "--scale", "2", "-o", "lr"))
    expect_done(bench.enhance("lr", "out", ref="hr"))
    choices = _read_choices(bench, "out.plan.json")
    pairs = [(choice["pts"], choice["ref_pts"]) for choice in choices]
    expect(all(a == b for a, b in pairs), f"pairs {pairs}")
    return "frame n borrows from reference n"


def _make_video(bench: Bench, frames: int = 40) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=640x360:r=20", "-frames:v", str(frames))
    bench.ffmpeg(*source, "-c:v", "ffv1", "hr.mkv")
    bench.ffmpeg("-i", "hr.mkv", "-vf", "scale=320:180", "-c:v", "ffv1", "lr.mkv")
    (bench.folder / "refs").mkdir()


def _write_frame(bench: Bench, number: int, name: str) -> None:
    chosen = f"select=eq(n\\,{number})"
    bench.ffmpeg("-i", "hr.mkv", "-vf", chosen, "-frames:v", "1", f"refs/{name}")


def _check_frame_numbers(bench: Bench) -> str:
    _make_video(bench)
    for number in (0, 15, 30):
        _write_frame(bench, number, f"frame_{number:06}.png")
    expect_done(bench.enhance("lr.mkv", "out.mkv", ref="refs"))
    chosen = {c["pts"]: c["ref_pts"] for c in _read_choices(bench, "out.plan.json")}
    tick = 50  # duration of a frame in Matroska's ticks, which are milliseconds
    found = [chosen[number * tick] for number in (0, 15, 30)]
    expect(found == [0, 1, 2], f"frames 0, 15, 30 have the stills {found}")
    return "still 15 belongs to frame 15"


def _check_constant_times(bench: Bench) -> str:
    _make_video(bench)
    for number, take in ((0, 1), (15, 2), (30, 3)):
        _write_frame(bench, number, f"promo_15s_{take:04}.png")
    expect_done(bench.enhance("lr.mkv", "out.mkv", ref="refs"))
    used = {c["ref_pts"] for c in _read_choices(bench, "out.plan.json")}
    expect({0, 1, 2} <= used, f"only the stills {used} are used")
    return "a time that all files share is ignored"


def _check_orientation(bench: Bench) -> str:
    picture = Image.fromarray(load_picture(str(DATA / "kodak_21.jpg"))[:360, :640])
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(bench.folder / "ref.tif", tiffinfo={0x112: 6})
    picture.reduce(2).save(bench.folder / "in.png")
    done = bench.enhance("in.png", "out.png", ref="ref.tif")
    expect_done(done)
    shown = load_picture(str(bench.folder / "ref.tif"))
    expect(np.array_equal(shown, np.asarray(picture)), "the picture is not upright")
    return "upright"


def _check_gray(bench: Bench) -> str:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, axis=0)
    Image.fromarray(ramp).save(bench.folder / "ramp.png")
    bench.ffmpeg("-i", "ramp.png", "-pix_fmt", "gray", "-c:v", "rawvideo", "y.avi")
    frame = next(read_frames(probe(str(bench.folder / "y.avi"))))
    wrong = np.abs(frame.rgb[32, :, 0].astype(int) - ramp[32]).max()
    expect(wrong <= 1, f"levels are wrong by up to {wrong}")
    return "full range"


def _check_noisy_reference(bench: Bench) -> str:
    photograph = load_picture(str(DATA / "kodak_21.jpg"))
    small = cv2.resize(photograph, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(1).normal(0, 20, photograph.shape)
    noisy = np.clip(photograph + noise, 0, 255).astype(np.uint8)
    Image.fromarray(small).save(bench.folder / "in.png")
    Image.fromarray(noisy).save(bench.folder / "ref.png")
    options = ("--ref-stream", "ref.png", "--scale", "4", "-q")
    psnr = {}
    for engine in ("torch", "bicubic"):
        name = f"{engine}.png"
        expect_done(bench.pipeline("run", "in.png", *options, "--engine", engine, "-o", name))
        psnr[engine] = cv2.PSNR(load_picture(str(bench.folder / name)), photograph)
    found = f"{psnr['torch']:.1f} dB, plain up-sampling {psnr['bicubic']:.1f} dB"
    expect(psnr["torch"] >= psnr["bicubic"], found)
    return found


def _check_compressed_input(bench: Bench) -> str:
    photograph = load_picture(str(DATA / "kodak_21.jpg"))
    frames = [photograph[4 * n : 4 * n + 384, 8 * n : 8 * n + 512] for n in range(3)]
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(bench.folder / f"{number}.png")
    bench.ffmpeg("-i", "%d.png", "-c:v", "ffv1", "ref.mkv")
    small = ("-vf", "scale=128:96:flags=area", "-pix_fmt", "yuv420p", "-c:v", "libx264")
    bench.ffmpeg("-i", "%d.png", *small, "-crf", "34", "lr.mkv")
    options = ("--ref-stream", "ref.mkv", "--scale", "4", "-q", "--codec", "ffv1")
    psnr = {}
    for name, more in (
        ("bicubic", ("--engine", "bicubic")),
        ("torch", ("--engine", "torch")),
        ("trusted", ("--engine", "torch", "--trust-reference")),
    ):
        expect_done(bench.pipeline("run", "lr.mkv", *options, *more, "-o", f"{name}.mkv"))
        made = read_frames(probe(str(bench.folder / f"{name}.mkv")))
        psnr[name] = min(cv2.PSNR(a.rgb, b) for a, b in zip(made, frames, strict=True))
    gain = psnr["torch"] - psnr["bicubic"]
    found = f"{psnr['torch']:.1f} dB (plain up-sampling: {psnr['bicubic']:.1f} dB)"
    expect(gain >= 6 and psnr["torch"] >= 34 and psnr["trusted"] >= 40, found)
    return found


def _check_pictures_to_video(bench: Bench) -> str:
    (bench.folder / "lr").mkdir()
    bench.ffmpeg("-f", "lavfi", "-i", TEST_PATTERN, "-frames:v", "3", "lr/%03d.png")
    bench.make_reference()
    done = bench.enhance("lr", "video.mp4")
    made = bench.folder / "video.mp4"
    expect(not made.is_dir(), "a folder named video.mp4")
    if done.status == 0:
        return f"a video of {_describe_times(made)[0]} frames"
    expect_refusal(done)
    return "refused in one line"


def _check_joined(bench: Bench) -> str:
    source = ("-f", "lavfi", "-i", f"{TEST_PATTERN}:d=1", "-c:v", "libx264")
    bench.ffmpeg(*source, "x.ts")
    bench.ffmpeg(*source, "-output_ts_offset", "0.5", "y.ts")
    joined = b"".join((bench.folder / name).read_bytes() for name in ("x.ts", "y.ts"))
    (bench.folder / "xy.ts").write_bytes(joined)
    bench.make_reference()
    plan = ("plan", "xy.ts", "--ref-stream", "ref.png", "--scale", "2", "--engine", "bicubic")
    expect_refusal(bench.pipeline(*plan), "time")
    return "refused by plan in one line"


def _check_one_time(bench: Bench) -> str:
    bench.make_reference()
    source = ("-f", "lavfi", "-i", f"{TEST_PATTERN}:r=25:d=1", "-c:v", "libx264", "-bf", "0")
    bench.ffmpeg(*source, "whole.mp4")
    late = "setts=pts='if(eq(N,9),PTS+DURATION,PTS)':dts=DTS"
    bench.ffmpeg("-i", "whole.mp4", "-c", "copy", "-bsf:v", late, "in.mp4")
    command = ("ffmpeg -i INPUT -fps_mode cfr", "two frames at 0.400 s")
    expect_refusal(bench.enhance("in.mp4", "out.mp4"), *command)
    expect_refusal(bench.pipeline("degrade", "in.mp4", "--scale", "2", "-o", "lr.mp4"), *command)
    bench.ffmpeg("-i", "in.mp4", "-fps_mode", "cfr", "-c:a", "copy", "again.mp4")
    expect_done(bench.enhance("again.mp4", "out.mp4"))
    return "refused at the start; the advice works"


def _check_close_frames(bench: Bench) -> str:
    bench.make_reference()
    source = ("-f", "lavfi", "-i", f"{TEST_PATTERN}:r=2000", "-frames:v", "8", "-c:v", "libx264")
    bench.ffmpeg(*source, "in.mp4")
    expect_refusal(bench.enhance("in.mp4", "out.mkv"), "steps of 1 ms; try out.mp4")
    expect_done(bench.enhance("in.mp4", "out.mp4"))
    return "refused at the start; the advice works"


def _check_fields_in_matroska(bench: Bench) -> str:
    field_coded = str(DATA / "odd" / "field_coded.ts")
    bench.ffmpeg("-v", "fatal", "-i", field_coded, "-c", "copy", "in.mkv")
    count, first, last = _describe_times(bench.folder / "in.mkv")
    expect(count == 7, f"{count} frames, expected 7")
    expect(last - first == Fraction(1, 5), f"{float(last - first)} s from first to last")
    return f"{count} frames"


def _check_raw_rates(bench: Bench) -> str:
    bench.make_reference()
    quiet = ("-x265-params", "log-level=error")
    source = ("-f", "lavfi", "-i", f"{TEST_PATTERN}:r=30:d=1")
    for name, codec in (("a.h264", ("libx264",)), ("a.hevc", ("libx265", *quiet))):
        bench.ffmpeg(*source, "-c:v", *codec, name)
        expect_done(bench.enhance(name, f"{name}.mp4"))
        count, _, last = _describe_times(bench.folder / f"{name}.mp4")
        expect((count, last) == (30, Fraction(29, 30)), f"{name}: {count} frames to {last} s")
    bench.ffmpeg(
        *source,
        "-c:v",
        "libx265",
        "-x265-params",
        "vui-timing-info=0:log-level=error",
        "no_rate.hevc",
    )
    done = bench.enhance("no_rate.hevc", "no_rate.mkv")
    expect_done(done)
    expect("does not state its frame rate" in done.text, "no note")
    return "30 frames per second; if none are stated, a note"


def _check_hints(bench: Bench) -> str:
    photograph = Image.fromarray(load_picture(str(DATA / "tiled.heic")))
    stills = bench.folder / "stills"
    stills.mkdir()
    shutil.copy(DATA / "tiled.heic", stills / "IMG_2.HEIC")
    photograph.save(stills / "a.jpg", quality=95)
    photograph.reduce(2).save(bench.folder / "in.png")
    done = bench.enhance("in.png", "out.png", ref="stills")
    expect_done(done)
    expect("(2 pictures)" in done.text, "HEIC beside JPEG is not read")

    (bench.folder / "lr").mkdir()
    for number in range(4):
        photograph.reduce(2).save(bench.folder / "lr" / f"{number:04}.png")
    expect_done(bench.enhance("lr/%04d.png", "out", ref="stills/a.jpg"))
    layout = ("--layout", "folder", "--grid", "2x2")
    expect_refusal(bench.pipeline("probe", "lr", *layout), "--template")

    bench.make_reference()
    source = ("-f", "lavfi", "-i", f"{TEST_PATTERN}:d=1", "-c:v", "libx264")
    bench.ffmpeg(*source, "x.ts")
    bench.ffmpeg(*source, "-output_ts_offset", "200", "y.ts")
    joined = b"".join((bench.folder / name).read_bytes() for name in ("x.ts", "y.ts"))
    (bench.folder / "gap.ts").write_bytes(joined)
    done = bench.enhance("gap.ts", "gap.mkv")
    expect_done(done)
    expect("has no frames for 199.0 s" in done.text, "no note about the gap")
    return "read, found, hinted and noted"


def _check_offset(bench: Bench) -> str:
    # both cameras record the same bursts of noise; the second one starts half a second later
    tone = "aevalsrc=random(0)*lt(mod(t*t*3\\,1.7)\\,0.6):s=16000:d=14"
    scene = ("-f", "lavfi", "-i", "testsrc2=s=640x360:r=10:d=14", "-f", "lavfi", "-i", tone)
    bench.ffmpeg(*scene, "-c:v", "libx264", "-c:a", "pcm_s16le", "whole.mkv")
    bench.ffmpeg("-i", "whole.mkv", "-vf", "scale=320:180", "-c:a", "copy", "lr.mkv")
    bench.ffmpeg("-i", "whole.mkv", "-ss", "0.5", "-c:a", "pcm_s16le", "ref.mkv")
    options = ("--ref-offset", "auto", "--end", "1")
    done = bench.enhance("lr.mkv", "out.mkv", *options, ref="ref.mkv")
    expect_done(done)
    plan = json.loads((bench.folder / "out.plan.json").read_text(encoding="utf-8"))
    offset = float(plan["reference"]["offset"])
    expect("sound" in " ".join(plan["notes"]), "the sound is not compared")
    expect(abs(abs(offset) - 0.5) < 0.06, f"an offset of {offset} s")
    return "half a second, by sound"


CASES = (
    Case("B1", "AVCHD, two packets a frame", "all frames, interlaced", _check_field_coded),
    Case("B1b", "AVCHD in Matroska", "7 frames", _check_fields_in_matroska),
    Case("B2", "EXIF in frames", "read", _check_exif),
    Case("B3", "HEIC from a phone, in tiles", "the whole picture", _check_heic),
    Case("B4", ".ts with times from milliseconds", "the same times", _check_derived_duration),
    Case("B5", "raw .h264 and .hevc", "25 frames at their rate", _check_raw_streams),
    Case("B5b", "raw streams of other rates", "their rate, or a note", _check_raw_rates),
    Case("B6", ".ts from between key frames", "from its first frame, a note", _check_beginning),
    Case("B7", "HEVC .ts that begins with CRA and RASL", "50 frames", _check_open_group),
    Case("B8", "MPEG-4 frames that are not coded", "the frame before is longer", _check_not_coded),
    Case("B9", "folders with the same numbers", "frame n uses n", _check_equal_numbers),
    Case("B10", "stills named by frame number", "frame 15 gets 15", _check_frame_numbers),
    Case("B11", "names with a constant time", "it is ignored", _check_constant_times),
    Case("B12", "TIFF of orientation 6", "upright", _check_orientation),
    Case("B13", "8-bit gray raw AVI", "full range", _check_gray),
    Case("B14", "a noisy reference", "never worse", _check_noisy_reference),
    Case(
        "B15",
        "compressed LR, true key frames",
        "frames with key frames look like them",
        _check_compressed_input,
    ),
    Case("B16", "pictures in, video out", "a video or a refusal", _check_pictures_to_video),
    Case("B17", "joined .ts, overlapping times", "refused by plan", _check_joined),
    Case("B18", "two frames at one time", "advice that fits", _check_one_time),
    Case("B18b", "2000 frames per second to .mkv", "advice that fits", _check_close_frames),
    Case("B19", "mixed stills, patterns, gaps, grids", "a note or a hint", _check_hints),
    Case("B20", "the offset of a part, by sound", "sound is compared first", _check_offset),
)
