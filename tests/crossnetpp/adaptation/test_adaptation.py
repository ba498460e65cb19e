"""Adaptation of `fast` to a small recording that a real encoder made."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.adaptation import (
    LEAST_STEPS,
    MOST_STEPS,
    AdaptationSettings,
    Adapted,
    KeyFrame,
    Progress,
    adapt,
    count_steps,
    time_step,
)
from crossnetpp.adaptation.crops import Crops, find_turns
from crossnetpp.adaptation.judging import make_cases, measure_psnr
from crossnetpp.adaptation.key_frames import hold_out, list_examples
from crossnetpp.adaptation.training import Training
from crossnetpp.checkpoint import load_network
from crossnetpp.data.degradation import reduce_levels
from crossnetpp.data.recorder import CAPTURES, Recorded, record_clip
from crossnetpp.machine import is_linux
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.taps import make_box_taps, make_separable_taps
from tests.support import ROOT

SCALE = 4
EVERY = 10
TAPS = make_box_taps(SCALE)
TINY = AdaptationSettings(steps=6, threads=1, side=64)


@cache
def read_frames() -> list[np.ndarray]:
    """Return all frames of a real clip, cropped to 128 x 96 pixels, HR."""
    capture = cv2.VideoCapture(str(ROOT / "pipeline" / "samples" / "monster.mp4"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(np.ascontiguousarray(read[1][200:296, 240:368, ::-1]))
    return frames


@cache
def record() -> Recorded:
    return record_clip(read_frames(), SCALE, CAPTURES["recorded"], every=EVERY)


def key_frames() -> list[KeyFrame]:
    return [KeyFrame(record().lr[n], hr, n) for n, hr in record().keys.items()]


def load_fast() -> CrossNetFast:
    network = load_network("fast")
    assert isinstance(network, CrossNetFast)
    return network


def measure_held_out(network: CrossNetFast) -> float:
    """Return the mean PSNR in dB of the held-out key frame with its neighbours."""
    keys = key_frames()
    _, held_out = hold_out(list_examples(keys))
    cases = make_cases(keys, held_out, SCALE, TINY.side, torch.device("cpu"))
    taps = torch.from_numpy(TAPS)
    far = [measure_psnr(network, case, SCALE, taps) for case in cases if not case.is_still]
    return float(np.mean(far))


@cache
def adapted() -> Adapted:
    return adapt(load_fast(), key_frames(), TAPS, TINY)


def compute_psnr(network: CrossNetFast, number: int) -> float:
    """Return the PSNR in dB of a frame between two key frames, against the original frame."""
    before = number // EVERY * EVERY
    planes = [
        torch.from_numpy(picture / np.float32(255)).permute(2, 0, 1)[None]
        for picture in (record().lr[number], record().keys[before], record().keys[before + EVERY])
    ]
    with torch.inference_mode():
        prepared = [network.prepare(p, SCALE, torch.from_numpy(TAPS)) for p in planes[1:]]
        sr = network.enhance(planes[0], *prepared).sr[0].permute(1, 2, 0).numpy()
    error = np.rint(sr.clip(0, 1) * 255) - read_frames()[number]
    return float(10 * np.log10(255**2 / (error**2).mean()))


def test_frames_between_the_key_frames_gain() -> None:
    result = adapted()
    assert result.used
    assert result.steps == TINY.steps
    assert result.held_out_gain_db is not None
    assert result.held_out_gain_db > 0.05
    assert result.held_out_db == pytest.approx(measure_held_out(load_fast()), abs=6e-4)
    after = result.held_out_db + result.held_out_gain_db
    assert after == pytest.approx(measure_held_out(result.network), abs=2e-3)

    shipped = load_fast()
    gains = {
        number: compute_psnr(result.network, number) - compute_psnr(shipped, number)
        for number in (11, 14, 25, 42)
    }
    assert np.mean(list(gains.values())) > 0.05
    assert min(gains.values()) > -0.1


def test_the_same_settings_give_the_same_bits() -> None:
    again = adapt(load_fast(), key_frames(), TAPS, TINY)
    first, second = adapted().network.state_dict(), again.network.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert again.held_out_gain_db == adapted().held_out_gain_db

    other = adapt(load_fast(), key_frames(), TAPS, replace(TINY, seed=1))
    third = other.network.state_dict()
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_the_weights_are_as_they_will_be_saved() -> None:
    for tensor in adapted().network.state_dict().values():
        assert torch.equal(tensor, tensor.half().float())


def test_the_given_network_and_threads_are_left_as_they_were() -> None:
    network = load_fast()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    threads = torch.get_num_threads()
    adapt(network, key_frames(), TAPS, TINY)
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert torch.get_num_threads() == threads
    assert not network.training


def test_weights_that_do_not_win_are_not_used() -> None:
    # the targets are noise, except for that of the key frame in the middle, which is held out
    rng = np.random.default_rng(0)
    keys = [
        key if place == 3 else key._replace(hr=rng.integers(0, 256, key.hr.shape, np.uint8))
        for place, key in enumerate(key_frames())
    ]
    network = load_fast()
    seen: list[Progress] = []
    result = adapt(network, keys, TAPS, TINY, seen.append)
    assert not result.used
    assert result.network is network
    assert result.blend == 0
    assert result.held_out_gain_db is not None
    assert result.held_out_gain_db < 0.05
    assert seen[-1].gain_db == result.held_out_gain_db
    assert "do not improve" in result.note


def test_a_step_that_is_not_finite_leaves_the_weights() -> None:
    taps = torch.from_numpy(TAPS.copy())
    keys = key_frames()
    crops = Crops(keys, list_examples(keys), TAPS, side=64, still_share=0.0)
    training = Training(load_fast(), taps, steps=4, seed=0)
    training.run_step(crops, 0)
    before = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}

    taps.fill_(float("nan"))
    training.run_step(crops, 1)
    assert training.dropped == 1
    after = training.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    taps.copy_(torch.from_numpy(TAPS))
    training.run_step(crops, 2)
    assert training.dropped == 1
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_weights_that_give_no_finite_picture_are_not_used() -> None:
    network = load_fast()
    with torch.no_grad():
        network.fusion.leave.weight.fill_(3e38)
    result = adapt(network, key_frames(), TAPS, TINY)
    assert not result.used
    assert result.held_out_db is None
    assert result.held_out_gain_db is None
    assert "6 of 6 steps were dropped, because values were not finite" in result.note


@pytest.mark.skipif(not is_linux(), reason="limits the address space, as only Linux does")
def test_the_weights_stay_if_memory_runs_out() -> None:
    script = """
import resource
import torch
from crossnetpp.adaptation import AdaptationSettings, adapt
from tests.crossnetpp.adaptation.test_adaptation import TAPS, key_frames, load_fast

network, keys = load_fast(), key_frames()
torch.set_num_threads(1)
# loads what libraries load late, which would fail in other ways without memory
adapt(network, keys, TAPS, AdaptationSettings(steps=1, threads=1, side=64))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 32 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
result = adapt(network, keys, TAPS, AdaptationSettings(steps=10, threads=1, side=96))
assert result.network is network and not result.used
print(result.note)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("memory ran out during training: ")
    assert done.stdout.count("\n") == 1


def test_a_programming_error_is_not_taken_for_a_want_of_memory() -> None:
    def fail(_: Progress) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        adapt(load_fast(), key_frames(), TAPS, replace(TINY, steps=1), fail)


def test_progress_is_reported_with_the_gain_so_far() -> None:
    seen: list[Progress] = []
    adapt(load_fast(), key_frames(), TAPS, replace(TINY, steps=8), seen.append)
    assert [each.step for each in seen[:-1]] == list(range(1, 9))
    assert {each.steps for each in seen} == {8}
    assert seen[0].gain_db is None
    assert seen[4].gain_db is not None
    assert seen[-1].gain_db is not None


def test_too_few_or_too_small_key_frames_are_refused() -> None:
    keys = key_frames()
    with pytest.raises(ValueError, match="found 2 key frames with a neighbour in their scene"):
        adapt(load_fast(), keys[:2], TAPS, TINY)

    apart = [key._replace(scene=number) for number, key in enumerate(keys)]
    with pytest.raises(ValueError, match="found 0 key frames with a neighbour in their scene"):
        adapt(load_fast(), apart, TAPS, TINY)

    small = [key._replace(lr=key.lr[:12, :16], hr=key.hr[:48, :64]) for key in keys]
    with pytest.raises(ValueError, match="found key frames of 64x48, expected at least 64x64"):
        adapt(load_fast(), small, TAPS, TINY)

    mixed = [*keys[:3], keys[3]._replace(hr=keys[3].hr[:92])]
    with pytest.raises(ValueError, match="found a key frame of 128x92 for an LR frame of 32x24"):
        adapt(load_fast(), mixed, TAPS, TINY)


def test_seconds_become_steps_before_the_training() -> None:
    assert count_steps(60.0, 1.0) == 45
    assert count_steps(5.0, 1.0) == LEAST_STEPS
    assert count_steps(1e6, 1.0) == MOST_STEPS

    seconds = time_step(load_fast(), key_frames(), TAPS, threads=1, side=64)
    assert 0 < seconds < 60


def test_no_key_frame_is_a_reference_of_its_own() -> None:
    keys = key_frames()
    keys[4] = keys[4]._replace(scene=1)
    examples = list_examples(keys)
    assert [(each.target, each.neighbours) for each in examples] == [
        (0, (1,)), (1, (0, 2)), (2, (1, 3)), (3, (2,)), (5, (6,)), (6, (5,)),
    ]  # fmt: skip

    training, held_out = hold_out(examples)
    assert [each.target for each in held_out] == [2]
    assert sorted(each.target for each in (*training, *held_out)) == [0, 1, 2, 3, 5, 6]


def test_a_farther_neighbour_counts_less() -> None:
    places = (0, 10, 30)
    keys = [key._replace(position=p) for key, p in zip(key_frames()[:3], places, strict=True)]
    example = list_examples(keys)[1]
    assert example.neighbours == (0, 2)
    assert example.weights == pytest.approx((1.0, 10**-0.5))


def test_crops_are_turned_only_as_the_kernel_allows() -> None:
    assert len(find_turns(TAPS)) == 8

    box = np.zeros(16)
    box[6:10] = 0.25
    shifted = np.zeros(16)
    shifted[7:11] = 0.25  # one HR pixel to the right
    rows, columns = make_separable_taps(box, shifted), make_separable_taps(shifted, shifted)
    assert find_turns(rows) == [(0, False), (2, True)]  # mirrored in y
    assert len(find_turns(columns)) == 2
    assert find_turns(columns)[0] == (0, False)
    wide = np.zeros(16)
    wide[4:12] = 0.125
    assert len(find_turns(make_separable_taps(box, wide))) == 4


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_pictures_of_a_crop_fit_together(share: float) -> None:
    keys = [
        KeyFrame(reduce_levels(frame.astype(np.float32), SCALE, "area").round().astype(np.uint8),
                 frame, number)
        for number, frame in enumerate(read_frames()[:40:10])
    ]  # fmt: skip
    crops = Crops(keys, list_examples(keys), TAPS, side=64, still_share=share)
    rng = np.random.default_rng(5)
    counts = set()
    for _ in range(12):
        batch = crops.draw(rng, 2, torch.device("cpu"))
        assert batch.lr.shape == (2, 3, 16, 16)
        assert batch.target.shape == (2, 3, 64, 64)
        assert {each.shape for each in batch.references} == {batch.target.shape}
        assert batch.weights.shape == (2, len(batch.references))
        counts.add(len(batch.references))

        means = torch.nn.functional.avg_pool2d(batch.target, SCALE)
        assert (255 * (means - batch.lr)).abs().max() <= 0.51
        for reference in batch.references:
            assert not torch.equal(reference, batch.target)
        error = (batch.references[0] - batch.target).abs().mean()
        assert error < 0.1
    assert counts == {1, 2}
