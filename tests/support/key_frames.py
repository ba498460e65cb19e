"""A clip of two scenes, its key frames, and plans with them, for tests of `pipeline keyframes`."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support import DATA, ROOT
from tests.support.commands import invoke

SIDECAR = "keyframes.json"
RATE = Fraction(30000, 1001)
CUT = 45  # frames of the first scene


def write_clip(
    path: Path, frames: list[np.ndarray], aspect: Fraction = Fraction(1), interval: int = 20
) -> Path:
    """Encode frames at 29.97 per second, with a key frame in every `interval` frames."""
    ticks = {"video_track_timescale": "30000"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=ticks) as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        stream.options = {"crf": "8", "g": str(interval), "sc_threshold": "0", "threads": "1"}
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = number
            frame.time_base = 1 / RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_two_scenes(path: Path) -> Path:
    """Encode 45 frames of a hand-held camera and 35 of a film, at 29.97 per second."""
    frames: list[np.ndarray] = []
    monster = ROOT / "pipeline" / "samples" / "monster.mp4"
    for source, count in ((monster, CUT), (DATA / "big_buck_bunny_720p.mp4", 35)):
        read = list(read_frames(probe(str(source))))[:count]
        frames += [cv2.resize(f.rgb, (160, 96), interpolation=cv2.INTER_AREA) for f in read]
    return write_clip(path, frames)


def write_keys(clip: Path, folder: Path, *options: object) -> dict[str, Any]:
    """Call the command, and return the object that it prints."""
    done = invoke("keyframes", clip, "-o", folder, *options, "--json", "-q")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def enlarge(folder: Path, suffix: str = ".png", appended: str = "") -> None:
    """Enlarge every picture by 2, as another program would, and save it under its name."""
    for file in sorted(folder.glob("*.png")):
        picture = cv2.resize(cv2.imread(str(file)), None, fx=2, fy=2)
        file.unlink()
        assert cv2.imwrite(str(file.with_name(f"{file.stem}{appended}{suffix}")), picture)


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def plan_with(clip: Path, ref: Path, **changes: object) -> Plan:
    values = {"input": str(clip), "ref_stream": str(ref), "output": str(ref.parent / "out.mkv")}
    return make_plan(RunSettings.model_validate(values | changes))


def find_source(plan: Plan) -> str:
    (note,) = [note for note in plan.notes if note.startswith("reference pictures: ")]
    return note.removeprefix("reference pictures: ")


def list_exact(plan: Plan) -> list[int]:
    """Return the numbers of the frames whose reference has exactly their time."""
    return [n for n, choice in enumerate(plan.reference_map) if choice.seconds == 0.0]
