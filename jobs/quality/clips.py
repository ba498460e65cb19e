"""Quality on clips whose truth is known: a key frame every 15 frames, x4, against bicubic.

    python -m jobs.quality.clips monster.mp4 flower.mp4

Each clip is made small, then enhanced three times: by its own key frames, by the key frames of the
other clip (which must do no harm), and bicubically. Given key frames count in no mean.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from jobs.machine import write_result
from pipeline.measuring.clips import FrameQuality, per_frame, summarise
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings
from pipeline.tools.degrade import degrade

KEY_FRAME_EVERY = 15


def enhance(lr: Path, ref: Path, folder: Path, engine: str, scale: int) -> Path:
    """Run the pipeline with its default encoder; returns the output."""
    settings = RunSettings(
        input=str(lr),
        ref_stream=str(ref),
        output=str(folder / f"{engine}.mp4"),
        scale=str(scale),  # type: ignore[arg-type]
        engine=engine,
        runner="inline",
        max_ref_distance=1000.0,
        force=True,
    )
    return Path(run(settings).output)


def measure(result: Path, truth: Path, given: frozenset[int]) -> list[FrameQuality]:
    """Return the quality of all frames but the given ones."""
    return list(per_frame(str(result), str(truth), skip=given))


def compare(name: str, frames: list[FrameQuality], base: list[FrameQuality]) -> dict[str, Any]:
    """Return means, mean gain, and the worst gain of any frame over bicubic."""
    gains = [a.psnr - b.psnr for a, b in zip(frames, base, strict=True)]
    means = summarise(frames)
    return {
        "reference": name,
        "psnr": round(means.psnr, 3),
        "ssim": means.ssim,
        "gain": round(sum(gains) / len(gains), 3),
        "worst_gain": round(min(gains), 3),
        "worst_frame": frames[gains.index(min(gains))].frame,
    }


def evaluate_clip(truth: Path, stranger: Path, folder: Path, scale: int) -> dict[str, Any]:
    """Return the figures of one clip; `stranger` is the HR clip with nothing in common."""
    lr, own, other = (folder / f"{n}.mp4" for n in ("lr", "own", "other"))
    degrade(str(truth), lr, scale=scale, force=True)
    degrade(str(truth), own, scale=1, every=KEY_FRAME_EVERY, force=True)
    degrade(str(stranger), other, scale=1, every=KEY_FRAME_EVERY, force=True)
    count = len(list(per_frame(str(enhance(lr, own, folder, "bicubic", scale)), str(truth))))
    given = frozenset(range(0, count, KEY_FRAME_EVERY))
    base = measure(folder / "bicubic.mp4", truth, given)
    fast = measure(enhance(lr, own, folder, "torch", scale), truth, given)
    harmed = measure(enhance(lr, other, folder, "torch", scale), truth, given)
    bicubic = summarise(base)
    return {
        "clip": truth.name,
        "scale": scale,
        "frames": len(base),
        "bicubic": {"psnr": round(bicubic.psnr, 3), "ssim": bicubic.ssim},
        "own key frames": compare("every 15th frame", fast, base),
        "unrelated reference": compare(stranger.name, harmed, base),
    }


def main() -> None:
    """Evaluate every clip named, each with the next one as its unrelated reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4, 8))
    parser.add_argument("--name", default="eval_clips")
    arguments = parser.parse_args()
    clips: list[Path] = arguments.clips
    rows = []
    for number, clip in enumerate(clips):
        with tempfile.TemporaryDirectory() as folder:
            stranger = clips[(number + 1) % len(clips)]
            rows.append(evaluate_clip(clip, stranger, Path(folder), arguments.scale))
    gains = [row["own key frames"]["gain"] for row in rows]
    write_result(arguments.name, {"clips": rows, "mean_gain": round(sum(gains) / len(gains), 3)})


if __name__ == "__main__":
    main()
