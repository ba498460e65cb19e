"""Notes of the plan on gaps in the input, and on files that are not read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest
from PIL import Image

from pipeline.planning.plan import make_plan
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support.recordings import texture


def write_with_gap(path: Path, gaps: dict[int, int]) -> Path:
    """Write 30 frames at 25 per second, with `gaps` in seconds before the frames it names."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.time_base = Fraction(1, 25)
        stream.options = {"g": "5", "bf": "0", "preset": "ultrafast"}
        late = 0
        for number in range(30):
            late += 25 * gaps.get(number, 0)
            frame = av.VideoFrame.from_ndarray(texture(number, 96, 128), format="rgb24")
            frame.pts, frame.time_base = number + late, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_pictures(folder: Path, side: int, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"view_{number + 1:04}.png"), texture(number, side, side))
    return folder


def plan_of(folder: Path, lr: Path | str, ref: Path | str, **changes: object) -> Plan:
    output = folder / ("out.ts" if str(lr).endswith(".ts") else "out")
    values = {"input": str(lr), "ref_stream": str(ref), "output": str(output), "scale": "2"}
    return make_plan(RunSettings.model_validate(values | changes))


@pytest.mark.parametrize(
    ("gaps", "note"),
    [
        ({15: 300}, "has no frames for 300.0 s, from 0.560 to 300.600 s; the output keeps"),
        ({5: 20, 15: 120}, "for 120.0 s, from 20.560 to 140.600 s, the longest of 2 gaps; "),
        ({15: 2}, None),
    ],
)
def test_a_gap_in_a_transport_stream_is_noted(
    tmp_path: Path, gaps: dict[int, int], note: str | None
) -> None:
    lr = write_with_gap(tmp_path / "lr.ts", gaps)
    ref = tmp_path / "ref.png"
    Image.fromarray(texture(0, 192, 256)).save(ref)
    found = [each for each in plan_of(tmp_path, lr, ref).notes if "has no frames" in each]
    assert len(found) == (note is not None)
    assert note is None or note in found[0]


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    lr = write_pictures(tmp_path / "lr", 48)
    ref = write_pictures(tmp_path / "ref", 96)
    for name in ("a.dng", "b.DNG", "c.mov", "d.txt", ".e.dng"):
        (ref / name).write_bytes(b"unread")
    notes = plan_of(tmp_path, lr, ref).notes
    line = "files in its folder that are not read: 2 .dng, 1 .mov; convert pictures to PNG"
    assert [note for note in notes if "not read" in note] == [f"reference: {line}"]


@pytest.mark.parametrize("sandbox", ["off", "on"])
def test_a_numbered_pattern_names_the_pictures_of_a_folder(tmp_path: Path, sandbox: str) -> None:
    lr = write_pictures(tmp_path / "lr", 48)
    ref = write_pictures(tmp_path / "ref", 96)
    (ref / "view_0002_old.png").write_bytes(b"another file")
    plan = plan_of(tmp_path, lr / "view_%04d.png", ref / "view_%d.png", sandbox=sandbox)
    assert [Path(file).name for file in plan.input.files] == [
        f"view_{number:04}.png" for number in range(1, 5)
    ]
    assert [choice.ref_pts for choice in plan.reference_map] == [0, 1, 2, 3]
