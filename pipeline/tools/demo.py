"""Demonstrate the complete workflow on a bundled clip, which also serves as the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, already_there
from pipeline.measuring.clips import FrameQuality, measure_frames
from pipeline.media.join.remux import join_segments
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import choose_encoding
from pipeline.media.write.segment import SegmentWriter
from pipeline.pairing.given import list_given_frames
from pipeline.planning.edited_plan import load_plan
from pipeline.progress import make_reporter
from pipeline.schema.settings import RunSettings
from pipeline.tools.compare import draw_label
from pipeline.tools.degrade import degrade

if TYPE_CHECKING:
    from pipeline.runs.result import RunResult

SAMPLE = Path(__file__).parents[1] / "samples" / "monster.mp4"
SCALE = 4
KEY_FRAME_EVERY = 15
# All files that a demo writes.
FILES = (
    *("lr.mp4", "ref.mp4", "compare.png", "compare.mp4", "report.html"),
    *("bicubic.mp4", "bicubic.plan.json", "auto.mp4", "auto.plan.json"),
)
ZOOM = 3  # magnification of the detail in the picture


@dataclass(frozen=True)
class Contender:
    """One of the compared methods, with its result and the quality of its frames."""

    name: str
    result: RunResult
    frames: list[FrameQuality]


def _enhance(lr: Path, ref: Path, folder: Path, engine: str, quiet: bool) -> RunResult:
    from pipeline.runs.run import run

    settings = RunSettings(
        input=str(lr),
        ref_stream=str(ref),
        output=str(folder / f"{engine}.mp4"),
        scale=SCALE,
        engine=engine,
        runner="inline",
        force=True,
    )
    return run(settings, make_reporter(quiet=quiet))


def run_contender(lr: Path, ref: Path, folder: Path, engine: str, quiet: bool) -> Contender:
    """Enhance `lr` with `engine`, and measure the frames that the reference does not provide."""
    result = _enhance(lr, ref, folder, engine, quiet)
    plan = load_plan(result.reference_map)
    frames = list(measure_frames(result.output, str(SAMPLE), skip=list_given_frames(plan)))
    return Contender("bicubic" if engine == "bicubic" else "CrossNet++ fast", result, frames)


@dataclass(frozen=True)
class Demonstration:
    """The results of a demo: the methods it compared, and the files it wrote for viewing."""

    contenders: list[Contender]
    key_frames: int
    """Number of frames that were used as references."""
    report: Path
    picture: Path
    clip: Path


def make_demo(folder: Path, *, force: bool, quiet: bool) -> Demonstration:
    """Downscale the sample, enlarge it with and without references, and compare the results.

    The references are every 15th frame of the sample. All files are written to `folder`. Raises
    OutputExistsError if the folder exists and `force` is not set; with `force`, the files of an
    earlier demo are replaced, and all others are kept. Raises InputError if `folder`
    is a file.
    """
    if folder.exists() and not force:
        raise already_there(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, but a demo is written to a folder; try another -o")
    clear_folder(folder)

    lr = folder / "lr.mp4"
    ref = folder / "ref.mp4"
    progress = make_reporter(quiet=quiet)
    degrade(str(SAMPLE), lr, scale=SCALE, progress=progress)
    keys = degrade(str(SAMPLE), ref, scale=1, every=KEY_FRAME_EVERY, progress=progress)
    contenders = [run_contender(lr, ref, folder, engine, quiet) for engine in ("bicubic", "auto")]

    # halfway between two key frames, where borrowing is hardest
    middle = KEY_FRAME_EVERY // 2
    plain, enhanced = (decode_video(Path(each.result.output)) for each in contenders)
    columns = {
        "bicubic": plain[middle],
        "CrossNet++ fast": enhanced[middle],
        "original": decode_video(SAMPLE)[middle],
    }

    picture = folder / "compare.png"
    clip = folder / "compare.mp4"
    write_picture(columns, picture)
    write_clip(plain, enhanced, clip)

    from pipeline.report.page import write_report  # imports torch

    report = folder / "report.html"
    write_report(
        Path(contenders[1].result.output), report, ground_truth=str(SAMPLE), progress=progress
    )

    return Demonstration(
        contenders=contenders,
        key_frames=keys.frames,
        report=report,
        picture=picture,
        clip=clip,
    )


def clear_folder(folder: Path) -> None:
    """Create the folder if it is missing, and delete only the files of an earlier demo from it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def decode_video(path: Path) -> list[NDArray[np.uint8]]:
    """Return all frames of a short clip as uint8 H x W x 3 RGB."""
    return [np.asarray(frame.rgb, dtype=np.uint8) for frame in read_frames(probe(str(path)))]


def _worst_window(
    bicubic: NDArray[np.uint8], truth: NDArray[np.uint8], side: int
) -> tuple[int, int]:
    """Return the top row and left column of the window in which `bicubic` lost the most detail.

    The window has `side` x `side` pixels.
    """
    lost = cv2.absdiff(bicubic, truth).astype(np.float32).mean(axis=2)
    energy = cv2.boxFilter(lost, -1, (side, side))

    half = side // 2
    inner = energy[half : lost.shape[0] - half, half : lost.shape[1] - half]
    row, col = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(row), int(col)


def write_picture(columns: dict[str, NDArray[np.uint8]], path: Path) -> None:
    """Write a picture with a labelled column per entry: the whole frame above an enlarged detail.

    The first entry must be the bicubic result, and the last one the original.
    """
    pictures = list(columns.values())
    bicubic, truth = pictures[0], pictures[-1]
    side = min(truth.shape[1] // ZOOM, truth.shape[0])
    row, col = _worst_window(bicubic, truth, side)

    size = (truth.shape[1], truth.shape[1])
    stacks = []
    for name, frame in columns.items():
        detail = frame[row : row + side, col : col + side]
        large = np.asarray(cv2.resize(detail, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        stacks.append(np.concatenate((draw_label(frame, name), large)))

    imageio.imwrite(path, np.concatenate(stacks, axis=1))


def write_clip(left: list[NDArray[np.uint8]], right: list[NDArray[np.uint8]], path: Path) -> None:
    """Write two equally long clips side by side, with the sample's times and sound."""
    clip = probe(str(SAMPLE))
    encoding = choose_encoding(clip)
    height, width = left[0].shape[:2]

    segment = path.with_suffix(".nut")
    times = [frame.pts for frame in read_frames(clip)]
    with SegmentWriter(str(segment), clip, encoding, 2 * width, height) as writer:
        for pts, a, b in zip(times, left, right, strict=True):
            pair = (draw_label(a, "bicubic"), draw_label(b, "CrossNet++ fast"))
            writer.write(np.concatenate(pair, axis=1), pts)

    join_segments(clip, [segment], path, encoding)
    segment.unlink()
