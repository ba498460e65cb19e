"""Which key frames a plan offers, and how many steps they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.adaptation import decision
from pipeline.adaptation.decision import _choose_steps, choose_steps, decide_adaptation
from pipeline.adaptation.key_frames import (
    list_key_pairs,
    pick_groups,
    read_key_frames,
)
from pipeline.adaptation.request import AdaptRequest, parse_adapt, train_nothing
from pipeline.errors import InputError
from pipeline.planning.plan import make_plan
from pipeline.progress import SILENT
from pipeline.runs.adapting import plan_adaptation
from pipeline.schema.adaptation import Adaptation, KeyPair
from pipeline.schema.plan import Plan
from pipeline.schema.settings import RunSettings
from tests.support.camera import EVERY, SCALE, read_clip, write_camera
from tests.support.recordings import write_video


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    lr, keys, _ = write_camera(tmp_path_factory.mktemp("camera"))
    return make_plan(RunSettings(input=str(lr), ref_stream=str(keys), engine="torch"))


def test_the_key_frames_are_the_frames_that_the_reference_shows(plan: Plan) -> None:
    pairs = list_key_pairs(plan)
    assert [pair.position for pair in pairs] == [0, 6, 12, 18, 24, 30]
    assert {pair.scene for pair in pairs} == {0}

    cut = plan.model_copy(update={"cuts": (pairs[2].pts,)})
    assert [pair.scene for pair in list_key_pairs(cut)] == [0, 0, 1, 1, 1, 1]

    keys = read_key_frames(plan, pairs)
    frames = read_clip(31)
    assert [key.position for key in keys] == [0, 6, 12, 18, 24, 30]
    for key, frame in zip(keys, frames[::EVERY], strict=True):
        assert key.hr.shape == frame.shape
        assert key.lr.shape == (frame.shape[0] // SCALE, frame.shape[1] // SCALE, 3)
        assert np.abs(key.hr.astype(int) - frame).mean() < 4


def test_a_reference_of_something_else_is_left_out(plan: Plan, tmp_path: Path) -> None:
    """Its frames have the times of the input's, but do not show them."""
    sharp = read_clip(31)
    sharp[12] = np.ascontiguousarray(255 - sharp[12][::-1])
    keys = write_video(tmp_path / "keys.mkv", sharp, every=EVERY)
    settings = RunSettings(input=plan.input.path, ref_stream=str(keys), engine="torch")
    other = make_plan(settings)
    pairs = list_key_pairs(other)
    assert len(pairs) == 6
    assert [key.position for key in read_key_frames(other, pairs)] == [0, 6, 18, 24, 30]


def test_a_reference_of_another_instant_is_left_out(plan: Plan, tmp_path: Path) -> None:
    """It agrees with its frame by more than 24 dB, but the scene has moved by 0.75 LR pixels."""
    sharp = read_clip(31)
    sharp[12] = np.roll(sharp[12], 3, axis=1)
    keys = write_video(tmp_path / "keys.mkv", sharp, every=EVERY)
    settings = RunSettings(input=plan.input.path, ref_stream=str(keys), engine="torch")
    other = make_plan(settings)
    pairs = list_key_pairs(other)
    assert [pair.position for pair in pairs] == [0, 6, 12, 18, 24, 30]
    assert [key.position for key in read_key_frames(other, pairs)] == [0, 6, 18, 24, 30]


def test_large_references_limit_the_number_of_key_frames(plan: Plan) -> None:
    """All of them are in memory at once."""

    def count_pairs(width: int, height: int) -> int:
        clip = plan.reference.clip.model_copy(update={"width": width, "height": height})
        reference = plan.reference.model_copy(update={"clip": clip})
        return len(list_key_pairs(plan.model_copy(update={"reference": reference})))

    assert count_pairs(3840, 2160) == 6
    assert count_pairs(8000, 5000) == 5
    assert count_pairs(16000, 10000) == 3


def test_few_numbers_of_steps_are_possible() -> None:
    assert [choose_steps(fitting) for fitting in (9, 10, 39, 40, 79, 160)] == [
        *(0, 10, 20, 40, 40, 160)
    ]


def test_of_many_key_frames_groups_of_neighbours_are_taken() -> None:
    pairs = [KeyPair(pts=n, ref_pts=n, position=n) for n in range(100)]
    picked = [pair.pts for pair in pick_groups(pairs, 24)]
    assert picked == [*range(8), *range(46, 54), *range(92, 100)]
    assert pick_groups(pairs[:24], 24) == pairs[:24]
    assert [pair.pts for pair in pick_groups(pairs, 3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("auto", AdaptRequest("auto")),
        ("off", AdaptRequest("off")),
        ("90", AdaptRequest("seconds", 90.0)),
        ("1:30", AdaptRequest("seconds", 90.0)),
    ],
)
def test_requests_are_parsed(
    text: str, request_: AdaptRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of the current folder do not change what a word or a time means."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / text).touch()
    assert parse_adapt(text) == request_


def test_auto_takes_at_most_a_quarter_of_the_run(plan: Plan) -> None:
    pairs = list_key_pairs(plan)
    auto = AdaptRequest("auto")

    def choose(run_seconds: float | None, work: int = 0) -> Adaptation:
        found = _choose_steps(plan, auto, pairs, work, 2.0, run_seconds).adaptation
        assert found is not None
        return found

    # a quarter of 400 s is 50 steps of 2 s, of which judging takes the time of 15; 20 fit
    assert choose(400.0).steps == 20
    assert choose(440.0).steps == 40
    assert choose(1e6).steps == 160
    short = choose(100.0)
    assert short.steps == 0
    assert "more than a quarter of the run's 100 s" in short.note
    assert short.pairs == ()
    # without a known speed: a step of 2 x 256 x 256 pixels takes as long as three results
    assert choose(None, work=660 * 2 * 256 * 256).steps == 40


@pytest.mark.parametrize(("engine", "adapts"), [("torch", True), ("auto", True), ("onnx", False)])
def test_auto_adapts_only_where_no_engine_has_to_be_built_again(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, engine: str, adapts: bool
) -> None:
    monkeypatch.setattr(decision, "LEAST_WORK", 0)
    named = plan.model_copy(update={"engine": engine})
    found, _ = decide_adaptation(named, AdaptRequest("auto"), lambda: 1e6, SILENT)
    assert (found is not None and found.trains) == adapts
    training, _ = decide_adaptation(named, AdaptRequest("seconds", 0.01), lambda: None, SILENT)
    assert training is not None
    assert training.trains


def test_the_first_key_frames_may_be_useless(plan: Plan, tmp_path: Path) -> None:
    """A step is timed with later ones if the first shows something else or stands alone."""
    sharp = read_clip(31)
    sharp[0] = np.ascontiguousarray(255 - sharp[0][::-1])
    keys = write_video(tmp_path / "keys.mkv", sharp, every=EVERY)
    settings = RunSettings(input=plan.input.path, ref_stream=str(keys), engine="torch")
    alone = plan.model_copy(update={"cuts": (list_key_pairs(plan)[1].pts,)})
    for each in (make_plan(settings), alone):
        found, note = decide_adaptation(each, AdaptRequest("seconds", 0.01), lambda: None, SILENT)
        assert note == ""
        assert found is not None
        assert found.steps == 10
        assert len(found.pairs) == 6


def test_two_passes_train_nothing() -> None:
    assert train_nothing(AdaptRequest("auto")) == AdaptRequest("off")
    file = AdaptRequest("file", file=Path("camera.safetensors"))
    assert train_nothing(file) == file
    with pytest.raises(InputError, match="--adapt 90 cannot be combined with --consistent"):
        train_nothing(AdaptRequest("seconds", 90.0))


def test_nothing_is_decided_without_enough_to_learn_from(plan: Plan, tmp_path: Path) -> None:
    def decide(of: Plan, kind: str = "seconds") -> tuple[Adaptation | None, str]:
        request = AdaptRequest("seconds", 60.0) if kind == "seconds" else parse_adapt(kind)
        return decide_adaptation(of, request, lambda: None, SILENT)

    assert decide(plan, "off") == (None, "")
    assert decide(plan, "auto") == (None, "")  # too short a run
    assert decide(plan.model_copy(update={"engine": "bicubic"})) == (None, "")

    keys = write_video(tmp_path / "keys.mkv", read_clip(7), every=EVERY)
    few = make_plan(RunSettings(input=plan.input.path, ref_stream=str(keys), engine="torch"))
    found, note = decide(few)
    assert found is None
    assert note == (
        "the weights are not adapted: the key frames show 2 frames of the input, but at least 3 "
        "are needed"
    )

    assert (
        plan_adaptation(
            plan.model_copy(update={"engine": "bicubic"}),
            AdaptRequest("file"),
            Adaptation(request="file", steps=10),
            SILENT,
            "inline",
        ).adaptation
        is None
    )

    paper = plan.model_copy(update={"model": str(tmp_path / "paper.safetensors")})
    from crossnetpp.checkpoint import save_weights
    from crossnetpp.networks.build import build_network

    save_weights(build_network("crossnet"), "crossnet", Path(paper.model))
    found, note = decide(paper)
    assert found is None
    assert "cannot be adapted; only the network of fast" in note
