"""Light fields through `pipeline run`: layouts, given views, references, videos."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from crossnetpp.data.degradation import degrade
from crossnetpp.networks.priors import weigh_references
from pipeline.assembly.finish import finish
from pipeline.cli.main import main
from pipeline.errors import StageError
from pipeline.execution.fusion import STEP_DECADES, fuse_results
from pipeline.media.read.probe import probe, scan
from pipeline.runs import run as runs
from pipeline.runs.parts import RunParts
from pipeline.schema.settings import RunSettings
from tests.support import scenes
from tests.support.scenes import read_views

SIZE = (64, 48)


def lr_of(hr: np.ndarray) -> np.ndarray:
    return degrade(hr, 2)


def write_lr(path: Path, rows: int = 3, cols: int = 3) -> Path:
    for row in range(rows):
        for col in range(cols):
            scenes.save_picture(
                path / f"view_{row:02}_{col:02}.png", lr_of(scenes.flowers(row, col))
            )
    return path


def write_hr(path: Path, *places: tuple[int, int]) -> Path:
    for row, col in places:
        scenes.save_picture(path / f"view_{row:02}_{col:02}.png", scenes.flowers(row, col))
    return path


def run(*arguments: object, engine: str = "bicubic") -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments), "--engine", engine, "-q"])


def assert_enlarged(found: dict[tuple[int, int, int], np.ndarray], *given: tuple[int, int]) -> None:
    """Compare views with the LR views enlarged by OpenCV, and `given` ones with the HR views."""
    assert len(found) == 9
    for (row, col, _), view in found.items():
        hr = scenes.flowers(row, col)
        plain = cv2.resize(lr_of(hr), SIZE, interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(view, hr if (row, col) in given else plain)


def test_a_folder_comes_back_with_its_names_and_given_views_untouched(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0), (2, 1))
    done = run(lr, "--ref-stream", hr)
    assert done.exit_code == 0, done.output
    out = tmp_path / "lf_x2"
    names = {file.name for file in lr.iterdir()} | {"lightfield.json"}
    assert {file.name for file in out.iterdir()} == names
    assert_enlarged(read_views(out), (0, 0), (2, 1))
    sidecar = json.loads((out / "lightfield.json").read_text())
    roles = {(v["row"], v["col"]): v["role"] for v in sidecar["views"]}
    assert [place for place, role in roles.items() if role == "reference"] == [(0, 0), (2, 1)]
    chosen = json.loads((tmp_path / "lf_x2.plan.json").read_text())["reference_map"]
    choices = {(c["views"]["row"], c["views"]["col"]): c for c in chosen}
    assert choices[0, 0]["why"] == choices[2, 1]["why"] == "given"
    assert choices[2, 2]["views"]["ref_row"] == 2
    assert choices[2, 2]["views"]["steps"] == 1


def test_the_plan_describes_how_many_frames_each_view_serves_and_from_how_far(
    tmp_path: Path,
) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0), (2, 2))
    done = CliRunner().invoke(main, ["plan", str(lr), "--ref-stream", str(hr)])
    assert done.exit_code == 0, done.output
    # (0, 2) and (2, 0) are equally far from both: the same row wins, then the lower index
    assert "HR view (0, 0) is used for 4 frames, 1 to 2 steps away" in done.stdout
    assert "HR view (2, 2) is used for 3 frames, 1 to 2 steps away" in done.stdout


def test_an_existing_output_is_kept_unless_forced(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0))
    (tmp_path / "lf_x2").mkdir()
    (tmp_path / "lf_x2" / "mine.txt").write_text("kept")
    refused = run(lr, "--ref-stream", hr)
    assert refused.exit_code == 2
    assert "already exists" in refused.stderr
    assert (tmp_path / "lf_x2" / "mine.txt").read_text() == "kept"
    forced = run(lr, "--ref-stream", hr, "--force")
    assert "lf_x2, which has no lightfield.json and so is not a light field" in forced.stderr
    assert (tmp_path / "lf_x2" / "mine.txt").read_text() == "kept"

    (tmp_path / "lf_x2" / "mine.txt").unlink()
    assert run(lr, "--ref-stream", hr, "--force").exit_code == 0
    (tmp_path / "lf_x2" / "mine.txt").write_text("kept")
    forced = run(lr, "--ref-stream", hr, "--force", "--on-error", "conceal")
    assert (forced.exit_code, "including mine.txt, which is not" in forced.stderr) == (2, True)
    assert (tmp_path / "lf_x2" / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize("layout", ["lenslet", "mosaic"])
def test_sheets_come_back_as_sheets(tmp_path: Path, layout: str) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (1, 1))
    converted = CliRunner().invoke(
        main, ["convert", str(lr), "--to", layout, "-o", str(tmp_path / "sheet.png")]
    )
    assert converted.exit_code == 0, converted.output
    done = run(tmp_path / "sheet.png", "--ref-stream", hr)
    assert done.exit_code == 0, done.output
    assert_enlarged(read_views(tmp_path / "sheet_x2.png"), (1, 1))
    assert cv2.imread(str(tmp_path / "sheet_x2.png")).shape == (3 * 48, 3 * 64, 3)


def test_the_output_may_have_another_layout(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0))
    done = run(lr, "--ref-stream", hr, "--to", "quilt")
    assert done.exit_code == 0, done.output
    assert_enlarged(read_views(tmp_path / "lf_x2_qs3x3a1.333.png"), (0, 0))


@pytest.mark.parametrize("name", ["q_qs3x3a1.png", "q.png"])
def test_a_quilt_comes_back_as_one_under_any_name(tmp_path: Path, name: str) -> None:
    hr = write_hr(tmp_path / "hr", (0, 0))
    rows = [np.hstack([lr_of(scenes.flowers(r, c)) for c in range(3)]) for r in (2, 1, 0)]
    scenes.save_picture(tmp_path / "lf_qs3x3a1.png", np.vstack(rows))
    reference = hr / "view_00_00.png"
    arguments = ["--ref-view", "0,0", "-o", tmp_path / name]
    done = run(tmp_path / "lf_qs3x3a1.png", "--ref-stream", reference, *arguments)
    assert done.exit_code == 0, done.output
    # a quilt's views are one row, from the bottom left
    found = {(c // 3, c % 3, m): v for (_, c, m), v in read_views(tmp_path / name).items()}
    assert_enlarged(found, (0, 0))


@pytest.mark.parametrize(
    ("options", "place"),
    [
        (["--ref-view", "2,1"], (2, 1)),
        (["--ref-view", "center"], (1, 1)),
        (["--ref-position", "-1,0.5"], None),
    ],
)
def test_a_single_picture_serves_the_view_it_shows(
    tmp_path: Path, options: list[str], place: tuple[int, int] | None
) -> None:
    lr = write_lr(tmp_path / "lf")
    picture = scenes.save_picture(tmp_path / "camera.png", scenes.flowers(*(place or (0, 0))))
    silent = run(lr, "--ref-stream", picture)
    assert silent.exit_code == 2
    assert "--ref-view" in silent.stderr
    done = run(lr, "--ref-stream", picture, *options)
    assert done.exit_code == 0, done.output
    assert_enlarged(read_views(tmp_path / "lf_x2"), *([place] if place else []))


def test_the_network_borrows_and_two_references_are_fused(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf", 1, 3), write_hr(tmp_path / "hr", (0, 0), (0, 2))
    for count in (1, 2):
        out = tmp_path / f"out{count}"
        done = run(lr, "--ref-stream", hr, "--ref-count", count, "-o", out, engine="torch")
        assert done.exit_code == 0, done.output
    one, two = (read_views(tmp_path / f"out{count}")[0, 1, 0].astype(float) for count in (1, 2))
    truth = scenes.flowers(0, 1)
    plain = cv2.resize(lr_of(truth), SIZE, interpolation=cv2.INTER_CUBIC)
    assert ((one - truth) ** 2).mean() < 0.5 * ((plain.astype(float) - truth) ** 2).mean()
    assert not np.array_equal(one, two)


def test_fusion_ignores_results_that_disagree_with_the_lr() -> None:
    truth = scenes.plane(0, 0, 0.0)
    wrong = truth.copy()
    wrong[:, 64:] = 255 - wrong[:, 64:]
    other = truth.copy()
    other[:, :64] = 0
    fused = fuse_results(lr_of(truth), [wrong, other], [1.0, 1.0]).astype(int)
    assert np.abs(fused - truth)[:, :32].max() <= 4
    assert np.abs(fused - truth)[:, 96:].max() <= 4


def test_a_nearer_reference_weighs_more_where_all_agree() -> None:
    truth = np.full((48, 64, 3), 100, np.uint8)
    above, below = truth + 1, truth - 1
    assert (fuse_results(lr_of(truth), [above, below], [1.0, 1.0]) == 100).all()
    far = weigh_references([1.0, 9.0], STEP_DECADES)
    assert (fuse_results(lr_of(truth), [above, below], far) == 101).all()


def write_camera(path: Path, frames: list[np.ndarray], pts: list[int]) -> Path:
    """Write a lossless video of different frames with these times in 1/600 s."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w", options={"video_track_timescale": "600"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "0", "bf": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.time_base = "yuv444p", Fraction(1, 600)
        stream.codec_context.time_base = Fraction(1, 600)
        for rgb, at in zip(frames, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 600)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_rig_of_videos_with_an_hr_centre_comes_back_camera_by_camera(tmp_path: Path) -> None:
    # a static scene; one window moves through all views together
    def window(row: int, col: int, moment: int) -> np.ndarray:
        at = moment // 2
        return np.ascontiguousarray(scenes.flowers(row, col)[at : at + 40, at : at + 56])

    # 12 frames, not evenly spaced
    pts = [0, 24, 48, 75, 99, 120, 144, 171, 192, 216, 241, 264]
    for row in range(3):
        for col in range(3):
            # one camera is a frame short
            times = pts[:-1] if (row, col) == (1, 0) else pts
            frames = [lr_of(window(row, col, m)) for m in range(len(times))]
            write_camera(tmp_path / "rig" / f"cam{row}_{col}.mp4", frames, times)
    hr = [window(1, 1, m) for m in range(len(pts))]
    write_camera(tmp_path / "hr" / "camera.mp4", hr, pts)
    arguments = ["--ref-view", "center", "--segment", 0.2, "-o", tmp_path / "o"]
    done = run(tmp_path / "rig", "--ref-stream", tmp_path / "hr" / "camera.mp4", *arguments)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "o").glob("*.mp4"))) == 9
    for row in range(3):
        for col in range(3):
            lr = probe(str(tmp_path / "rig" / f"cam{row}_{col}.mp4"))
            made = probe(str(tmp_path / "o" / f"cam{row}_{col}.mp4"))
            assert (made.width, made.height) == (56, 40)
            exact = [at * lr.time_base for at in scan(lr).pts]
            assert [at * made.time_base for at in scan(made).pts] == exact
            assert len(exact) == (11 if (row, col) == (1, 0) else 12)
    chosen = json.loads((tmp_path / "o.plan.json").read_text())["reference_map"]
    assert len(chosen) == 9 * 12 - 1
    times_of_hr = scan(probe(str(tmp_path / "hr" / "camera.mp4"))).pts
    for choice in chosen:
        # the same time
        assert choice["ref_pts"] == times_of_hr[choice["views"]["moment"]]
        assert (choice["why"] == "given") == (
            (choice["views"]["row"], choice["views"]["col"]) == (1, 1)
        )


def test_side_by_side_stereo_video_comes_back_side_by_side(tmp_path: Path) -> None:
    pts = [0, 24, 51]
    left, right = ([scenes.flowers(m, col) for m in range(3)] for col in (0, 3))
    pairs = [np.hstack([lr_of(a), lr_of(b)]) for a, b in zip(left, right, strict=True)]
    write_camera(tmp_path / "lr" / "pair.mp4", pairs, pts)
    write_camera(tmp_path / "hr" / "left.mp4", left, pts)
    arguments = ["--layout", "stereo", "--ref-view", "0,0", "-o", tmp_path / "out.mp4"]
    reference = tmp_path / "hr" / "left.mp4"
    done = run(tmp_path / "lr" / "pair.mp4", "--ref-stream", reference, *arguments)
    assert done.exit_code == 0, done.output
    made = probe(str(tmp_path / "out.mp4"))
    assert (made.width, made.height) == (128, 48)
    assert [at * made.time_base for at in scan(made).pts] == [Fraction(at, 600) for at in pts]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--select", "time"], "--select time cannot be used for light fields"),
        (["--start", "1"], "--start or --end cannot be used"),
        (["--ref-view", "9,9"], "--ref-view 9,9 is outside the grid"),
        (["--crop-grid", "4x4"], "--crop-grid 4x4 does not fit 3x3 views"),
        (["--ref-view", "1"], "for --ref-view"),
    ],
)
def test_wrong_options_are_refused_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0))
    if "--ref-view" in arguments:
        hr = hr / "view_00_00.png"
    refused = run(lr, "--ref-stream", hr, *arguments)
    assert refused.exit_code == 2, refused.output
    assert complaint in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "lf_x2").exists()


@pytest.mark.parametrize("command", ["run", "convert"])
def test_a_sheet_too_large_to_be_read_back_is_refused_before_the_run(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0))
    # the sheet would have 192 x 144 pixels, or 96 x 72
    monkeypatch.setenv("PIPELINE_MAX_MEGAPIXELS", "0.02" if command == "run" else "0.005")
    options = ["--to", "mosaic"]
    arguments = ["--ref-stream", str(hr), "--engine", "bicubic"] if command == "run" else []
    refused = CliRunner().invoke(main, [command, str(lr), *options, *arguments])
    assert refused.exit_code == 2
    assert "3x3 views of" in refused.stderr
    assert "--to folder" in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"lf", "hr"}


def test_view_options_beside_a_clip_are_refused(tmp_path: Path) -> None:
    picture = scenes.save_picture(tmp_path / "a.png", lr_of(scenes.flowers(0, 0)))
    hr = scenes.save_picture(tmp_path / "b.png", scenes.flowers(0, 0))
    refused = run(picture, "--ref-stream", hr, "--ref-view", "0,0")
    assert refused.exit_code == 2
    assert "applies only to light fields" in refused.stderr


def test_a_stopped_run_resumes_with_the_same_bits(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0))
    whole = run(lr, "--ref-stream", hr, "-o", tmp_path / "whole", engine="torch")
    assert whole.exit_code == 0, whole.output
    arguments = (lr, "--ref-stream", hr, "-o", tmp_path / "out", "--json")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    settings = RunSettings(
        input=str(lr), ref_stream=str(hr), output=str(tmp_path / "out"), engine="torch"
    )
    with pytest.raises(StageError, match="the segments are kept"):
        runs.run(settings, parts=RunParts(finish=partial(finish, join=full)))
    assert not (tmp_path / "out").exists()
    lost = sorted((tmp_path / ".out.run" / "segments").glob("00001*"))
    assert lost
    for file in lost:
        file.unlink()
    done = run(*arguments, engine="torch")
    assert done.exit_code == 0, done.output
    # a row of three views is a segment
    assert json.loads(done.stdout)["resumed_segments"] == 2
    for file in sorted((tmp_path / "whole").iterdir()):
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes()


def test_cameras_of_unequal_length_have_no_other_layout(tmp_path: Path) -> None:
    for col in range(3):
        times = [0, 24, 48][: 2 if col == 1 else 3]
        frames = [lr_of(scenes.flowers(0, col)) for _ in times]
        write_camera(tmp_path / "rig" / f"cam0_{col}.mp4", frames, times)
    picture = scenes.save_picture(tmp_path / "hr.png", scenes.flowers(0, 0))
    for to, name in (("folder", "out"), ("mosaic", "out"), ("h5", "out.h5")):
        options = ("--ref-view", "0,0", "--to", to, "-o", tmp_path / name)
        refused = run(tmp_path / "rig", "--ref-stream", picture, *options)
        assert refused.exit_code == 2, refused.output
        assert "the camera at (0, 1) has 2 frames, but another has " in refused.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"rig", "hr.png"}


@pytest.mark.ray
def test_ray_gives_the_same_bits(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0))
    for runner in ("inline", "ray"):
        arguments = ["--runner", runner, "-o", tmp_path / runner]
        done = run(lr, "--ref-stream", hr, *arguments, engine="torch")
        assert done.exit_code == 0, done.output
    for file in sorted((tmp_path / "inline").iterdir()):
        assert file.read_bytes() == (tmp_path / "ray" / file.name).read_bytes()


def test_a_second_pass_makes_neighbours_agree_and_leaves_nothing_behind(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf", 2, 2), write_hr(tmp_path / "hr", (0, 0))
    once = run(lr, "--ref-stream", hr, "-o", tmp_path / "once", engine="torch")
    arguments = ["-o", tmp_path / "twice", "--consistent", "--report", tmp_path / "twice.html"]
    twice = run(lr, "--ref-stream", hr, *arguments, engine="torch")
    assert once.exit_code == twice.exit_code == 0, twice.output
    first, second = read_views(tmp_path / "once"), read_views(tmp_path / "twice")
    np.testing.assert_array_equal(second[0, 0, 0], scenes.flowers(0, 0))
    assert not np.array_equal(first[1, 1, 0], second[1, 1, 0])
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert "view" in (tmp_path / "twice.html").read_text()


def test_an_edited_reference_map_is_run_as_edited(tmp_path: Path) -> None:
    lr, hr = write_lr(tmp_path / "lf"), write_hr(tmp_path / "hr", (0, 0), (2, 2))
    command = ["plan", str(lr), "--ref-stream", str(hr), "--save", str(tmp_path / "plan.json")]
    assert CliRunner().invoke(main, command).exit_code == 0
    plan = json.loads((tmp_path / "plan.json").read_text())
    entry = plan["reference_map"][1]
    assert (entry["ref_pts"], entry["views"]["steps"]) == (0, 1)
    entry["ref_pts"] = 1
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = run(lr, "--plan", tmp_path / "plan.json", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "out.plan.json").read_text())["reference_map"][1]
    assert (written["why"], written["views"]["ref_row"]) == ("edited", 2)
    entry["ref_pts"] = 7
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    refused = run(lr, "--plan", tmp_path / "plan.json", "-o", tmp_path / "other")
    assert refused.exit_code == 2
    assert "view (0, 1)" in refused.stderr
