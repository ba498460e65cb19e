"""Measure the quality of enhanced clips with a key frame every 15 frames.

    python -m jobs.quality.clips monster.mp4 flower.mp4

Each clip is downscaled, and then enhanced in three ways: with its own key frames, with the key
frames of the next clip (which must do no harm), and by bicubic up-sampling. The original clip is
the ground truth. The means exclude the key frames.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from jobs.bad_input import report_bad_input
from jobs.machine import write_result
from pipeline.measuring.clips import FrameQuality, measure_frames, summarise_frames
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings
from pipeline.tools.degrade import degrade

KEY_FRAME_EVERY = 15


def enhance(lr: Path, ref: Path, folder: Path, engine: str, scale: int) -> Path:
    """Enhance `lr` to a file in `folder` with the default encoder, and return the file's path."""
    settings = RunSettings(
        input=str(lr),
        ref_stream=str(ref),
        output=str(folder / f"{engine}.mkv"),  # in .mp4, chroma would be subsampled to 4:2:0
        scale=str(scale),  # type: ignore[arg-type]
        engine=engine,
        runner="inline",
        max_ref_distance=1000.0,
        force=True,
    )
    return Path(run(settings).output)


def measure_enhanced(result: Path, truth: Path, given: frozenset[int]) -> list[FrameQuality]:
    """Return the quality of all frames except the key frames, whose numbers are in `given`."""
    return list(measure_frames(str(result), str(truth), skip=given))


def compare_frames(
    name: str, frames: list[FrameQuality], base: list[FrameQuality]
) -> dict[str, Any]:
    """Return the mean PSNR and SSIM of `frames`, and their mean and smallest gain over `base`.

    PSNR and gains are in dB; `name` describes the reference.
    """
    gains = [a.psnr - b.psnr for a, b in zip(frames, base, strict=True)]
    means = summarise_frames(frames)

    return {
        "reference": name,
        "psnr": round(means.psnr, 3),
        "ssim": means.ssim,
        "gain": round(sum(gains) / len(gains), 3),
        "worst_gain": round(min(gains), 3),
        "worst_frame": frames[gains.index(min(gains))].frame,
    }


def evaluate_clip(truth: Path, unrelated: Path, folder: Path, scale: int) -> dict[str, Any]:
    """Return the figures for the clip `truth`; `unrelated` is an HR clip of another scene."""
    lr = folder / "lr.mp4"
    own = folder / "own.mp4"
    other = folder / "other.mp4"
    degrade(str(truth), lr, scale=scale, force=True)
    degrade(str(truth), own, scale=1, every=KEY_FRAME_EVERY, force=True)
    degrade(str(unrelated), other, scale=1, every=KEY_FRAME_EVERY, force=True)

    count = len(list(measure_frames(str(enhance(lr, own, folder, "bicubic", scale)), str(truth))))
    given = frozenset(range(0, count, KEY_FRAME_EVERY))
    base = measure_enhanced(folder / "bicubic.mkv", truth, given)
    fast = measure_enhanced(enhance(lr, own, folder, "torch", scale), truth, given)
    misled = measure_enhanced(enhance(lr, other, folder, "torch", scale), truth, given)

    bicubic = summarise_frames(base)
    return {
        "clip": truth.name,
        "scale": scale,
        "frames": len(base),
        "bicubic": {"psnr": round(bicubic.psnr, 3), "ssim": bicubic.ssim},
        "own key frames": compare_frames("every 15th frame", fast, base),
        "unrelated reference": compare_frames(unrelated.name, misled, base),
    }


@report_bad_input()
def main() -> None:
    """Evaluate every clip, using the next clip as its unrelated reference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+", type=Path, help="HR clips, in any order")
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4, 8))
    parser.add_argument("--name", default="eval_clips", help="write jobs/results/NAME.json")
    arguments = parser.parse_args()
    clips: list[Path] = arguments.clips

    rows = []
    for number, clip in enumerate(clips):
        with tempfile.TemporaryDirectory() as folder:
            unrelated = clips[(number + 1) % len(clips)]
            rows.append(evaluate_clip(clip, unrelated, Path(folder), arguments.scale))

    gains = [row["own key frames"]["gain"] for row in rows]
    write_result(arguments.name, {"clips": rows, "mean_gain": round(sum(gains) / len(gains), 3)})


if __name__ == "__main__":
    main()
