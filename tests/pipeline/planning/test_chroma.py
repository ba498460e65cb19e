"""The chroma location of an input, as its key frames show it."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.media.pictures.stills import save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.planning.chroma import correct_chroma
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.plan import make_plan
from pipeline.schema.capture import Capture
from pipeline.schema.clip import VideoClip
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import RunSettings
from pipeline.tools.demo import SAMPLE

SCALE, RATE = 2, 25
# The columns and rows of pixels over which a chroma sample is averaged.
AVERAGED = {"left": (1, 2), "center": (2, 2), "topleft": (1, 1), "top": (2, 1)}


def subsample(chroma: NDArray[Any], location: str) -> NDArray[np.float64]:
    """Return a plane of 4:2:0 chroma from one with a sample per pixel."""
    columns, rows = AVERAGED[location]
    parts = [chroma[r::2, c::2] for r in range(rows) for c in range(columns)]
    return np.asarray(np.mean(parts, axis=0))


def write_recording(folder: Path, location: str, crf: int = 12) -> tuple[Path, Path]:
    """Write an H.264 recording with chroma at a location that it does not signal, and key frames.

    Conversion and subsampling are done in numpy, and x264 encodes the planes as they are.
    """
    sharp = [frame.rgb[80:400, 160:640] for frame in islice(read_frames(probe(str(SAMPLE))), 12)]
    lr, keys = folder / "lr.mp4", folder / "keys"
    keys.mkdir()
    with av.open(str(lr), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = 240, 160, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for number, frame in enumerate(sharp):
            small = cv2.resize(frame, (240, 160), interpolation=cv2.INTER_AREA) / 255.0
            luma = small @ [0.2126, 0.7152, 0.0722]
            blue = 128 + 224 * (small[..., 2] - luma) / 1.8556
            red = 128 + 224 * (small[..., 0] - luma) / 1.5748
            chroma = [subsample(each, location).ravel() for each in (blue, red)]
            planes = np.concatenate([(16 + 219 * luma).ravel(), *chroma]).reshape(240, 240)
            picture = av.VideoFrame.from_ndarray(
                np.rint(planes).clip(0, 255).astype(np.uint8), format="yuv420p"
            )
            picture.pts, picture.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(picture))
            if number in (0, 11):
                save_picture(keys / f"key_{number / RATE:.3f}s.png", np.ascontiguousarray(frame))
        container.mux(stream.encode(None))
    return lr, keys


def plan_recording(lr: Path, keys: Path, **changes: object) -> Plan:
    values: dict[str, object] = {
        "input": str(lr),
        "ref_stream": str(keys),
        "output": str(lr.with_name("out.mkv")),
        "engine": "torch",
        "runner": "inline",
    }
    return make_plan(RunSettings.model_validate(values | changes))


@pytest.mark.parametrize("location", AVERAGED)
def test_key_frames_show_where_chroma_is(tmp_path: Path, location: str) -> None:
    lr, keys = write_recording(tmp_path, location)
    plan = plan_recording(lr, keys)
    assert isinstance(plan.input, VideoClip)
    assert plan.input.colour.chroma == location
    notes = [note for note in plan.notes if "chroma samples" in note]
    assert len(notes) == (location != "left")
    assert plan.capture is not None
    assert plan.capture.chroma_shift is not None
    assert np.abs(plan.capture.chroma_shift).max() < 0.15  # measured with the right location

    # a stored plan keeps it
    save_plan(plan, tmp_path / "plan.json")
    again = load_plan(tmp_path / "plan.json")
    assert isinstance(again.input, VideoClip)
    assert again.input.colour.chroma == location


def test_other_captures_and_engines_leave_chroma_where_it_is_tagged(tmp_path: Path) -> None:
    lr, keys = write_recording(tmp_path, "center")
    for changes in ({"capture": "sensor"}, {"capture": "bicubic"}, {"engine": "bicubic"}):
        plan = plan_recording(lr, keys, **changes)
        assert isinstance(plan.input, VideoClip)
        assert plan.input.colour.chroma == "left"
        assert not any("chroma samples" in note for note in plan.notes)


@pytest.mark.parametrize(
    ("tagged", "shift", "expected"),
    [
        ("left", (0.0, 0.0), "left"),
        ("left", (0.28, 0.0), "left"),  # hardly closer to the centre
        ("left", (0.375, 0.0), "center"),  # of video that was scaled by 4 as if it were centred
        ("left", (0.0, -0.4), "topleft"),
        ("center", (-0.5, 0.0), "left"),
        ("topleft", (0.5, 0.0), "top"),
        ("", (0.5, 0.0), ""),
    ],
)
def test_the_nearest_location_is_chosen(
    tmp_path: Path, tagged: str, shift: tuple[float, float], expected: str
) -> None:
    clip = probe(str(SAMPLE))
    colour = clip.colour.model_copy(update={"chroma": tagged})
    weights = ((0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0),)
    capture = Capture(
        source="measured", scale=2, shape="box", rows=weights, columns=weights, chroma_shift=shift
    )
    found, note = correct_chroma(clip.model_copy(update={"colour": colour}), capture)
    assert found.colour.chroma == expected
    assert bool(note) == (expected != tagged)
    assert correct_chroma(clip, None) == (clip, "")
