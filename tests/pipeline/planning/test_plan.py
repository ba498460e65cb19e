"""Plans: decided from real files, deterministic, editable, and refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from pipeline.errors import InputError, PairingError
from pipeline.planning.capture import make_sensor_capture
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.plan import make_plan
from pipeline.schema.adaptation import Adaptation, KeyPair
from pipeline.schema.parsing import parse_seconds
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import save_plan
from pipeline.schema.settings import RunSettings
from tests.support import ROOT
from tests.support.recordings import texture, write_video


@pytest.fixture
def plan_of(pair: tuple[Path, Path], tmp_path: Path) -> Callable[..., Plan]:
    def make(**changes: object) -> Plan:
        values = {
            "input": str(pair[0]),
            "ref_stream": str(pair[1]),
            "output": str(tmp_path / "out.mkv"),
        }
        return make_plan(RunSettings(**(values | changes)))  # type: ignore[arg-type]

    return make


def test_a_plan_says_what_serves_what(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(segment=0.5)
    assert (plan.scale, plan.width, plan.height) == (2, 128, 96)
    assert len(plan.reference_map) == 40
    assert all(c.seconds == 0 and c.why == "nearest" for c in plan.reference_map)
    assert sum(s.frames for s in plan.segments) == 40
    assert [s.frames for s in plan.segments] == [20, 13, 7]
    assert plan.encoding.codec == "libx264"


def test_a_plan_is_deterministic_and_its_digest_ignores_the_output(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    first, second = plan_of(), plan_of()
    assert first == second
    assert first.digest() == plan_of(output=str(tmp_path / "other.mkv")).digest()
    assert first.digest() != plan_of(crf=20).digest()


def test_a_part_of_the_input_is_planned(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(start="0.4", end="0:00.8")
    assert len(plan.reference_map) == 10
    assert plan.segments[0].start_pts == plan.reference_map[0].pts
    with pytest.raises(InputError, match="no frame with"):
        plan_of(start=100)


def test_an_offset_moves_the_references(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(ref_offset=0.2)
    assert plan.reference_map[20].ref_pts != plan_of().reference_map[20].ref_pts
    assert plan.reference.offset == 0.2
    assert any("shifted by +0.200" in note for note in plan.notes)


def test_streams_that_share_no_time_are_refused(plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(PairingError, match="does not overlap the input's"):
        plan_of(ref_offset=500)


def test_one_still_serves_every_frame(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    imageio.imwrite(still, texture(4, 96, 128))
    plan = plan_of(ref_stream=str(still))
    assert plan.reference.select == "content"
    choice = plan.reference_map[4]
    assert (choice.ref_pts, choice.seconds) == (0, None)
    assert choice.similarity is not None
    assert choice.similarity > 0.9


def test_stills_with_times_in_their_names_are_chosen_by_time(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    for at in (0, 0.8):
        imageio.imwrite(tmp_path / f"key_{at:.1f}s.png", texture(int(at * 25), 96, 128))
    plan = plan_of(ref_stream=str(tmp_path))
    assert plan.reference.select == "time"
    assert [c.ref_pts for c in plan.reference_map] == [0] * 11 + [1] * 29


def test_a_saved_plan_comes_back_the_same(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of()
    save_plan(plan, tmp_path / "plan.json")
    assert load_plan(tmp_path / "plan.json") == plan
    lines = (tmp_path / "plan.json").read_text().splitlines()
    assert sum('"ref_pts"' in line for line in lines) == len(plan.reference_map)


def test_a_plan_is_saved_to_a_pipe_that_a_program_reads(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan, pipe = plan_of(), tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="no program is reading from"):
        save_plan(plan, pipe)

    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    while True:
        try:
            save_plan(plan, pipe)
            break
        except InputError:  # the reader has not opened the pipe yet
            time.sleep(0.01)
    save_plan(plan, tmp_path / "plan.json")
    assert reader.communicate()[0] == (tmp_path / "plan.json").read_text()


def test_an_edited_map_is_honoured_and_marked(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of()
    data = json.loads(plan.model_dump_json())
    data["reference_map"][3]["ref_pts"] = data["reference_map"][5]["ref_pts"]
    data["reference_map"][4]["ref_pts"] = None
    (tmp_path / "plan.json").write_text(json.dumps(data))
    edited = load_plan(tmp_path / "plan.json").reference_map
    assert (edited[3].ref_pts, edited[3].why) == (plan.reference_map[5].ref_pts, "edited")
    assert edited[3].seconds == pytest.approx(2 / 25)
    assert (edited[4].ref_pts, edited[4].seconds, edited[4].why) == (None, None, "edited")
    assert edited[5:] == plan.reference_map[5:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["reference_map"].pop(), "does not fit the input's frames"),
        (
            lambda d: d["reference_map"][0].update(ref_pts=123456),
            "is not the pts of a reference frame",
        ),
        (lambda d: d.update(version=9), "is not a valid plan"),
        (lambda d: d.update(surprise=1), "is not a valid plan"),
        (lambda d: d["input"].update(widht=1), r": input\.widht: "),
        (lambda d: d["reference"]["clip"].pop("codec"), r": reference\.clip\.codec: "),
        (lambda d: d["input"].update(kind="film"), r": input: "),
        (
            lambda d: d["input"].update(grid={"layout": "h5"}, kind="views"),
            r": input\.grid\.views: ",
        ),
        (lambda d: d["reference_map"][3].update(pts="x"), r": reference_map\.3\.pts: "),
        (lambda d: d["input"].update(fingerprint="x"), "is not the file that the plan"),
        (lambda d: d["reference_map"].reverse(), "does not fit the input's frames"),
        (lambda d: d["segments"][0].update(frames=3), "does not fit the input's frames"),
        (lambda d: d["segments"][0].update(index=7), "out of order"),
        (lambda d: d.update(width=999), "does not match the input's"),
        (lambda d: d.update(engine="magic"), "unknown engine"),
        (lambda d: d["encoding"].update(codec="magic"), "no encoder"),
    ],
)
def test_broken_plans_are_refused(
    plan_of: Callable[..., Plan],
    tmp_path: Path,
    change: Callable[[dict[str, object]], object],
    message: str,
) -> None:
    data = json.loads(plan_of().model_dump_json())
    change(data)
    (tmp_path / "plan.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        load_plan(tmp_path / "plan.json")


def test_a_plan_is_run_from_any_folder_and_with_its_own_reference(
    plan_of: Callable[..., Plan],
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pair[0].parent)
    plan = plan_of(input=pair[0].name, ref_stream=pair[1].name)
    assert plan == plan_of()
    save_plan(plan, tmp_path / "plan.json")
    monkeypatch.chdir(tmp_path)
    assert load_plan(tmp_path / "plan.json") == plan
    swapped = RunSettings(input=str(pair[0]), ref_stream=str(pair[0]))
    with pytest.raises(InputError, match=r"the reference .* is not the file"):
        load_plan(tmp_path / "plan.json", swapped)


def test_options_beside_a_plan_are_accepted_or_refused(
    plan_of: Callable[..., Plan], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    save_plan(plan_of(), tmp_path / "plan.json")
    lr, hr = str(pair[0]), str(pair[1])
    given = RunSettings(input=lr, ref_stream=hr, engine="bicubic", batch=3)
    loaded = load_plan(tmp_path / "plan.json", given)
    assert (loaded.engine, loaded.batch, loaded.model) == ("bicubic", 3, "fast")
    again = RunSettings(input=lr, scale="2", select="time", max_ref_distance=2, segment=10)
    repeated = load_plan(tmp_path / "plan.json", again)
    assert repeated.digest() == plan_of().digest()
    assert any("--segment: ignored, because the plan decides" in note for note in repeated.notes)
    with pytest.raises(
        InputError, match=r"--max-ref-distance 1\.0 contradicts the plan .* made with 2\.0"
    ):
        load_plan(tmp_path / "plan.json", RunSettings(input=lr, max_ref_distance=1))


@pytest.mark.parametrize("given", [{}, {"model": "fast"}, {"adapt": "off"}])
def test_other_weights_replace_the_training_in_a_plan(
    plan_of: Callable[..., Plan],
    pair: tuple[Path, Path],
    tmp_path: Path,
    given: dict[str, str],
) -> None:
    """The request of the plan stays unless the command has one."""
    pairs = (KeyPair(pts=0, ref_pts=0, position=0),)
    trained = Adaptation(request="auto", steps=20, pairs=pairs, done=True, used=True)
    save_plan(plan_of().model_copy(update={"adaptation": trained}), tmp_path / "plan.json")
    settings = RunSettings(input=str(pair[0]), output=str(tmp_path / "out.mkv"), **given)
    loaded = load_plan(tmp_path / "plan.json", settings)
    expected = {"model": Adaptation(request="auto"), "adapt": None}
    assert loaded.adaptation == expected.get(next(iter(given), ""), trained)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"request": "seconds"}, "the request is seconds and seconds is None"),
        ({"seconds": 60}, "the request is auto and seconds is 60.0"),
        ({"request": "seconds", "seconds": 0}, "greater than 0"),
        ({"request": "off", "steps": 80}, "the request is off, but steps or done is set"),
        ({"done": True}, "the training is done, but steps is null; expected a number"),
        ({"request": "sometimes"}, "is not a valid plan"),
    ],
)
def test_an_impossible_adaptation_in_a_plan_is_one_line(
    plan_of: Callable[..., Plan], tmp_path: Path, edit: dict[str, object], message: str
) -> None:
    text = plan_of().model_dump_json()
    wrong = json.loads(text) | {"adaptation": {"request": "auto", **edit}}
    (tmp_path / "plan.json").write_text(json.dumps(wrong))
    with pytest.raises(InputError, match="adaptation") as found:
        load_plan(tmp_path / "plan.json")
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_a_capture_of_another_scale_in_a_plan_is_refused(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of().model_copy(update={"capture": make_sensor_capture(4)})
    save_plan(plan, tmp_path / "plan.json")
    with pytest.raises(
        InputError, match=r"the capture in .* is for scale 4, but the plan has scale 2"
    ):
        load_plan(tmp_path / "plan.json")


def test_a_file_that_is_no_plan_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(InputError, match="is not a valid plan"):
        load_plan(tmp_path / "plan.json")
    with pytest.raises(InputError, match="cannot read a plan from"):
        load_plan(tmp_path / "missing.json")


def test_output_mistakes_are_found_before_anything_runs(
    plan_of: Callable[..., Plan], pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "there.mkv").write_bytes(b"")
    with pytest.raises(InputError, match="already exists"):
        plan_of(output=str(tmp_path / "there.mkv"))
    assert plan_of(output=str(tmp_path / "there.mkv"), force=True)
    with pytest.raises(InputError, match="does not exist; create it first"):
        plan_of(output=str(tmp_path / "missing" / "out.mkv"))
    with pytest.raises(InputError, match=r"is also the .*, which must not be replaced"):
        plan_of(output=str(pair[1]), force=True)


def test_a_full_disk_is_found_beforehand(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="free some space"):
        plan_of()


def test_a_tele_reference_gets_a_map(tmp_path: Path) -> None:
    sample = ROOT / "pipeline" / "samples" / "monster.mp4"
    from pipeline.media.read.frames import read_frames
    from pipeline.media.read.probe import probe

    frame = next(iter(read_frames(probe(str(sample))))).rgb
    lr = write_video(tmp_path / "lr.mkv", [np.ascontiguousarray(frame[::2, ::2])])
    tele = tmp_path / "tele.png"
    imageio.imwrite(tele, np.repeat(np.repeat(frame[100:340, 150:510], 2, 0), 2, 1))
    plan = make_plan(
        RunSettings(input=str(lr), ref_stream=str(tele), output=str(tmp_path / "o.mkv"), scale="2")
    )
    assert plan.reference.affine is not None
    assert plan.reference.affine[0] == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("1:02.5", 62.5),
        ("1:00:02", 3602.0),
        ("-0.5", -0.5),
        ("-0:00.5", -0.5),
        ("-1:30", -90.0),
        ("-1:00:02", -3602.0),
        ("5e-1", 0.5),
    ],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "-", "1:-30", "--5", "0:-0:05", "1:", "12:30 pm"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected seconds|could not convert"):
        parse_seconds(text)
