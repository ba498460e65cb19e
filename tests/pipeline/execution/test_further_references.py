"""Frames with several references: decoding, weights, mixing, and the same bits everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossnetpp.classical.mix import mix_with_flow
from deploy.load import load_engine
from deploy.protocol import Pixels
from pipeline.execution.consistency import find_lr_error, keep_confirmed
from pipeline.execution.decode import DecodeStage
from pipeline.execution.guard import remove_ghosts
from pipeline.execution.infer import enhance_batch
from pipeline.execution.runners import run_inline
from pipeline.execution.task import Batch, ReferenceGroup, plan_header, tasks_for
from pipeline.ledger.ledger import Ledger
from pipeline.media.read.frames import FrameReader
from pipeline.pairing.capture import make_taps
from pipeline.pixels import as_pixels
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.progress import SilentReporter
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceMap
from tests.support.recordings import settings_for, write_keys

PAIR_FRAMES = 30


@pytest.fixture(scope="module")
def keys(pair: tuple[Path, Path]) -> tuple[Path, Path]:
    """Return an LR recording and key frames of it: frames 0, 12 and 24 of 30."""
    return pair[0], write_keys(pair[0].parent, frames=PAIR_FRAMES, every=12)


@pytest.fixture
def plan(keys: tuple[Path, Path], tmp_path: Path) -> Plan:
    settings = settings_for(keys, tmp_path / "out.mkv", engine="torch", batch=4)
    return pin_plan(make_plan(settings))


def decode(plan: Plan) -> list[Batch]:
    """Return all batches of a plan."""
    decoder = DecodeStage(plan_header(plan))
    tasks = tasks_for(plan, [segment.index for segment in plan.segments])
    batches = [batch for task in tasks for batch in decoder.batches(task)]
    decoder.close()
    return batches


def test_the_plan_has_two_key_frames_between_them(plan: Plan) -> None:
    several = [len(choice.references) for choice in plan.reference_map]
    assert several == [1] + [2] * 11 + [1] + [2] * 11 + [1] * 6


def test_key_frames_that_alternate_are_decoded_once(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = FrameReader.get

    def get(self: FrameReader, pts: int) -> Pixels:
        read.append(pts)
        return real(self, pts)

    monkeypatch.setattr(FrameReader, "get", get)
    whole = plan.segments[0].model_copy(
        update={"end_pts": plan.segments[-1].end_pts, "frames": PAIR_FRAMES}
    )
    batches = decode(plan.model_copy(update={"segments": (whole,)}))
    assert len(batches) == 8
    assert len(read) == 3
    assert read == sorted(set(read))


def test_frames_are_grouped_by_their_number_of_references(plan: Plan) -> None:
    first, *_, last = decode(plan)
    assert [(group.frames, len(group.refs)) for group in first.groups] == [([0], 1), ([1, 2, 3], 2)]
    assert [(group.frames, len(group.refs)) for group in last.groups] == [([0, 1], 1)]


@pytest.mark.parametrize("rate", ["known", "unknown"])
def test_a_reference_weighs_less_for_every_frame_of_distance(plan: Plan, rate: str) -> None:
    if rate == "unknown":
        clip = plan.input.model_copy(update={"frame_rate": None})
        plan = plan.model_copy(update={"input": clip})
    found = {
        batch.pts[i]: weights
        for batch in decode(plan)
        for group in batch.groups
        for i, weights in zip(group.frames, group.weights, strict=True)
    }
    for number, pts in enumerate(plan.reference_map.pts[:24]):
        to_key = number % 12
        farther = abs(12 - 2 * to_key)
        expected = [1.0] if to_key == 0 else [1.0, 10 ** (-0.05 * farther)]
        assert found[pts] == pytest.approx(expected, rel=1e-3), number


def test_references_by_content_weigh_the_same(plan: Plan) -> None:
    reference = plan.reference.model_copy(update={"select": "content"})
    (_, group) = decode(plan.model_copy(update={"reference": reference}))[0].groups
    assert (group.weights == 1).all()


@pytest.mark.parametrize("mixes_flow", [False, True])
def test_the_network_mixes_the_references_of_a_clip(plan: Plan, mixes_flow: bool) -> None:
    plan = plan.model_copy(update={"mixes_flow": mixes_flow})
    engine = load_engine("torch", threads=1)
    batch = decode(plan)[0]
    alone, both = batch.groups
    frames = enhance_batch(plan, engine, batch).frames
    kernel = make_taps(plan.capture)

    def enhance(group: ReferenceGroup, count: int) -> list[Pixels]:
        lr = batch.lr[group.frames]
        weights = group.weights[:, :count]
        sr = engine.enhance(lr, *group.refs[:count], weights=weights, kernel=kernel)
        mixed = [mix(group, number, each, count) for number, each in enumerate(sr)]
        return [guard(each, small) for each, small in zip(mixed, lr, strict=True)]

    def mix(group: ReferenceGroup, number: int, sr: Pixels, count: int) -> Pixels:
        if not mixes_flow:
            return sr
        refs = [ref[number] / np.float32(255) for ref in group.refs[:count]]
        lr = batch.lr[group.frames[number]] / np.float32(255)
        weights = group.weights[number, :count]
        small = sr / np.float32(255)
        # the clip is 4:2:0
        image = mix_with_flow(small, lr, refs, weights, kernel, luma_only=True)
        return as_pixels(np.rint(image.clip(0, 1) * 255).astype(np.uint8))

    def guard(sr: Pixels, lr: Pixels) -> Pixels:
        error = find_lr_error(plan)
        return remove_ghosts(sr if error is None else keep_confirmed(sr, lr, kernel, error), lr)

    expected = enhance(both, 2)
    assert all(np.array_equal(frames[i], sr) for i, sr in zip(both.frames, expected, strict=True))
    assert not any(map(np.array_equal, expected, enhance(both, 1)))
    assert np.array_equal(frames[0], enhance(alone, 1)[0])


def test_far_references_weigh_less_in_the_result(plan: Plan) -> None:
    """Where both explain the input equally well, only the weights decide."""
    engine = load_engine("torch", threads=1)
    batch = decode(plan)[0]
    group = batch.groups[1]
    lr, (near, far) = batch.lr[group.frames], group.refs
    singles = [engine.enhance(lr, ref).astype(int) for ref in (near, far)]
    for weights in ([1.0, 1e-6], [1e-6, 1.0]):
        prior = np.array([weights] * len(lr), np.float32)
        mixed = engine.enhance(lr, near, far, weights=prior).astype(int)
        errors = [np.abs(mixed - single).mean() for single in singles]
        assert errors.index(min(errors)) == weights.index(max(weights))


def commit(plan: Plan, order: list[int]) -> dict[int, str]:
    """Run segments of a plan in this order with one worker, and return the digest of each."""
    engine = load_engine(plan.engine, model=plan.model, threads=plan.threads)
    with Ledger(plan) as ledger:
        run_inline(ledger, engine, SilentReporter())
        return {index: ledger.records[index].sha256 for index in order}


def test_a_segment_has_the_same_bits_alone(plan: Plan, tmp_path: Path) -> None:
    indices = [segment.index for segment in plan.segments]
    whole = commit(plan, indices)
    for index in indices:
        segment = plan.segments[index].model_copy(update={"index": 0})
        part = {
            "segments": (segment,),
            "reference_map": plan.reference_map.between(segment.start_pts, segment.end_pts),
            "output": str(tmp_path / f"{index}.mkv"),
        }
        assert commit(plan.model_copy(update=part), [0])[0] == whole[index]


def test_the_digest_covers_the_second_reference(plan: Plan) -> None:
    alone = plan.model_copy(
        update={
            "reference_map": ReferenceMap(
                type(choice)(choice.pts, choice.ref_pts, choice.seconds, choice.why)
                for choice in plan.reference_map
            )
        }
    )
    assert alone.digest() != plan.digest()
    assert Plan.model_validate_json(plan.model_dump_json()).digest() == plan.digest()
