"""Training pairs: correct flow, correct faults, and samples that depend on their number alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader, Subset

from crossnetpp.data import faults
from crossnetpp.data.layers import Layer, compose_layers, invert_displacement
from crossnetpp.data.light_fields import LightFields
from crossnetpp.data.mixture import Mixture, MixtureSettings, Sample
from crossnetpp.data.photographs import Photographs, draw_displacement
from crossnetpp.data.recordings import Clips, Views
from crossnetpp.data.sample import DataError, Pair, PairSource, crop_pair
from tests.support import ROOT

PHOTOGRAPH = ROOT / "tests" / "data" / "kodak_21.jpg"
MOSAIC = ROOT / "tests" / "data" / "flowers_8x8.png"
CLIP = ROOT / "pipeline" / "samples" / "monster.mp4"


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    return Photographs([PHOTOGRAPH])


def warp_reference(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return the reference warped onto the target, and a mask of pixels with known flow."""
    assert pair.flow is not None
    size = pair.flow.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x, y = x + pair.flow[..., 0], y + pair.flow[..., 1]
    inside = (x > 2) & (x < size - 3) & (y > 2) & (y < size - 3)  # False where it is NaN
    warped = cv2.remap(
        pair.reference, np.nan_to_num(x, nan=-9), np.nan_to_num(y, nan=-9), cv2.INTER_CUBIC
    )
    return warped, inside


@pytest.mark.parametrize("seed", range(16))
def test_the_true_flow_aligns_the_reference_with_the_target(
    photographs: Photographs, seed: int
) -> None:
    pair = photographs.draw(np.random.default_rng(seed), 128, 1.0)
    warped, inside = warp_reference(pair)
    assert inside.mean() > 0.2
    errors = np.abs(warped.astype(int) - pair.target)[inside]
    assert errors.mean() < 3
    # An occluder, the wrong surface or a fold would give large errors
    assert np.quantile(errors, 0.999) < 60
    assert errors.mean() < 0.6 * np.abs(pair.reference.astype(int) - pair.target)[inside].mean()


def test_motion_grows_and_surfaces_separate(photographs: Photographs) -> None:
    small, large = (
        [photographs.draw(np.random.default_rng(seed), 96, motion).flow for seed in range(24)]
        for motion in (0.0, 1.0)
    )
    reach = [np.median([np.nanmax(np.abs(flow)) for flow in flows]) for flows in (small, large)]
    assert reach[0] < 8
    assert reach[1] > 2 * reach[0]
    occluded = [np.isnan(flow[32:64, 32:64]).any() for flow in large]
    assert 0.2 < np.mean(occluded) < 0.9


def test_nearer_surfaces_hide_farther_ones_in_both_views() -> None:
    """Compose three flat surfaces of one colour each, moved by whole pixels."""

    def surface(colour: int, by: int, columns: tuple[int, int]) -> Layer:
        covers = np.zeros((2, 8, 40), np.float32)
        covers[0, :, columns[0] : columns[1]] = 1
        covers[1, :, columns[0] + by : columns[1] + by] = 1
        picture = np.full((8, 40, 3), colour, np.uint8)
        flow = np.tile(np.array((by, 0), np.float32), (8, 40, 1))
        # Layers are square
        pad = [np.pad(cover, ((0, 32), (0, 0)), "edge") for cover in covers]
        whole = np.pad(picture, ((0, 32), (0, 0), (0, 0)), "edge")
        return Layer(whole, whole, np.pad(flow, ((0, 32), (0, 0), (0, 0)), "edge"), pad[0], pad[1])

    far, middle, near = surface(50, 0, (0, 40)), surface(100, 3, (10, 20)), surface(200, 7, (4, 8))
    pair = compose_layers([far, middle, near])
    assert pair.flow is not None
    target, reference, flow = pair.target[4, :, 0], pair.reference[4, :, 0], pair.flow[4, :, 0]
    assert target.tolist() == [50] * 4 + [200] * 4 + [50] * 2 + [100] * 10 + [50] * 20
    assert reference.tolist() == [50] * 11 + [200] * 4 + [100] * 8 + [50] * 17
    assert (flow[4:8] == 7).all()  # near surface
    # 10..19 of the middle surface move to 13..22, of which 11..14 are hidden
    assert np.isnan(flow[10:12]).all()
    assert (flow[12:20] == 3).all()
    # The middle surface hides 20..22 of the far one
    assert np.isnan(flow[20:23]).all()
    assert (flow[23:] == 0).all()
    assert (flow[[*range(4), 8, 9]] == 0).all()


def test_an_inverse_leads_back_or_is_nan() -> None:
    displacement = draw_displacement(np.random.default_rng(2), 96, 1.0)
    flow = invert_displacement(displacement)
    y, x = np.mgrid[:96, :96].astype(np.float32)
    known = np.isfinite(flow[..., 0])
    assert 0.3 < known.mean() < 1
    there = cv2.remap(
        displacement,
        *(np.nan_to_num(axis) for axis in (x + flow[..., 0], y + flow[..., 1])),
        cv2.INTER_LINEAR,
    )
    assert np.abs(there + flow)[known].max() < 0.1


def test_photographs_that_are_too_small_are_reported(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((200, 400, 3), np.uint8))
    with pytest.raises(DataError, match=r"no photograph of at least 300x300 \(tried 1\)"):
        Photographs([tmp_path / "small.png"])
    with pytest.raises(DataError, match="no photograph of at least 640x640; try smaller crops"):
        Photographs([PHOTOGRAPH]).draw(np.random.default_rng(0), 640, 1.0)


def test_clips_and_views_are_cropped_at_one_position() -> None:
    rng = np.random.default_rng(0)
    for source in (Clips([CLIP], reach=1, every=10), Views([[PHOTOGRAPH, PHOTOGRAPH]])):
        pair = source.draw(rng, 96, 0.5)
        assert pair.target.shape == pair.reference.shape == (96, 96, 3)
        assert pair.flow is None
    assert np.array_equal(pair.target, pair.reference)
    with pytest.raises(DataError, match=r"no readable frame in .*kodak_21\.jp"):
        Clips([PHOTOGRAPH.with_suffix(".jp")])
    with pytest.raises(DataError, match=r"found only one view \(.*\) of a scene"):
        Views([[PHOTOGRAPH]])


def draw_pairs(photographs: Photographs, size: int = 160) -> tuple[Pair, Pair]:
    """Return a pair with little motion and nearly complete flow, and another pair."""
    first = next(
        pair
        for seed in range(100)
        if (pair := photographs.draw(np.random.default_rng(seed), size, 0.1)).flow is not None
        and np.isfinite(pair.flow).mean() > 0.97
    )
    return first, photographs.draw(np.random.default_rng(7), size, 0.1)


@pytest.mark.parametrize("name", faults.FAULTS)
@pytest.mark.parametrize("seed", range(4))
def test_a_fault_changes_only_the_reference_and_leaves_no_wrong_flow(
    photographs: Photographs, name: str, seed: int
) -> None:
    pair, other = draw_pairs(photographs)
    before = [array.copy() for array in (pair.target, pair.reference, pair.flow)]
    broken, again = (
        faults.FAULTS[name](np.random.default_rng(seed), pair, other) for _ in range(2)
    )
    assert np.array_equal(broken.reference, again.reference)
    assert not np.array_equal(broken.reference, pair.reference)
    assert np.array_equal(broken.target, pair.target)
    for array, kept in zip((pair.target, pair.reference, pair.flow), before, strict=True):
        assert np.array_equal(array, kept, equal_nan=True)
    assert broken.reference.shape == pair.reference.shape
    assert broken.reference.dtype == np.uint8
    nothing = faults.FAULTS[name](np.random.default_rng(seed), Pair(*before[:2]), other)
    assert nothing.flow is None
    assert np.array_equal(nothing.reference, broken.reference)
    if name == "unrelated":
        assert broken.flow is None
        return
    warped, inside = warp_reference(broken)
    difference = np.abs(warped.astype(int) - pair.target)[inside]
    expected = np.abs(warp_reference(pair)[0].astype(int) - pair.target)[warp_reference(pair)[1]]
    if name in ("occluder", "displaced"):
        # The remaining flow still leads to the same surface
        assert np.quantile(difference, 0.999) <= np.quantile(expected, 0.999) + 8
        assert np.isnan(broken.flow).mean() > np.isnan(pair.flow).mean()
    else:
        assert np.array_equal(broken.flow, pair.flow, equal_nan=True)


def test_faults_have_their_stated_strength(photographs: Photographs) -> None:
    pair, other = draw_pairs(photographs)
    grey = Pair(pair.target, np.full((160, 160, 3), 100, np.uint8))
    levels, casts, deviations, areas = [], [], [], []
    edge = np.zeros((160, 160, 3), np.uint8)
    edge[:, 80:] = 250
    for seed in range(60):
        rng = np.random.default_rng(seed)
        levels.append(faults.change_exposure(rng, grey, other).reference.mean() / 100)
        means = faults.change_colour(rng, grey, other).reference.mean((0, 1))
        casts.append(means.max() / means.min())
        rise = np.diff(
            faults.blur_reference(rng, Pair(edge, edge), other).reference[80, :, 0].astype(float)
        )
        places = np.arange(159) - 79
        deviations.append(np.sqrt((rise * places**2).sum() / 250))
        hidden = faults.hide_part(rng, Pair(edge, np.zeros_like(edge)), Pair(edge, edge + 255))
        areas.append((hidden.reference.max(-1) > 0).mean())
    assert min(levels) < 0.6 < 1.4 < max(levels)
    assert min(levels) > 0.38
    assert max(levels) < 1.85
    assert 1.2 < max(casts) < 1.42
    assert 0.6 < min(deviations) < 1 < 2.5 < max(deviations) < 3.2
    assert 1 / 40 < min(areas) < 0.1 < 0.2 < max(areas) <= 1 / 4


def test_a_sharpened_reference_overshoots_at_edges_and_is_noisy() -> None:
    grey = np.full((160, 160, 3), 100, np.uint8)
    edge = np.full((160, 160, 3), 50, np.uint8)
    edge[:, 80:] = 150
    noises, overshoots = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noises.append(
            faults.sharpen_reference(rng, Pair(grey, grey), Pair(grey, grey)).reference.std()
        )
        rng = np.random.default_rng(seed)
        sharp = faults.sharpen_reference(rng, Pair(edge, edge), Pair(edge, edge)).reference
        overshoots.append(sharp[:, 80:84].mean((0, 2)).max() - 150)
    assert 0 <= min(noises) < 1
    assert 7 < max(noises) < 8.2
    # a step of 100 levels minus its blur is at most 50, times 0.4 to 1.8
    assert 5 < min(overshoots) < 25
    assert 60 < max(overshoots) < 90


def test_a_displaced_reference_is_shifted_by_64_pixels(photographs: Photographs) -> None:
    pair, other = draw_pairs(photographs)
    assert pair.flow is not None
    for seed in range(8):
        broken = faults.displace_reference(np.random.default_rng(seed), pair, other)
        assert broken.flow is not None
        known = np.isfinite(broken.flow).all(-1)
        by = (broken.flow - pair.flow)[known]
        assert np.ptp(by, axis=0).max() < 1e-3
        assert np.hypot(*by[0]) == pytest.approx(64, abs=1)
        assert 0.2 < known.mean() < 0.7


def test_every_fault_is_drawn(photographs: Photographs) -> None:
    pair, other = draw_pairs(photographs, 96)
    rng, drawn = np.random.default_rng(0), set()
    for _ in range(60):
        state = rng.bit_generator.state
        broken = faults.break_reference(rng, pair, other)
        rng.bit_generator.state = state
        rng.integers(len(faults.FAULTS))
        after = rng.bit_generator.state
        for name, fault in faults.FAULTS.items():
            rng.bit_generator.state = after
            if np.array_equal(fault(rng, pair, other).reference, broken.reference):
                drawn.add(name)
    assert drawn == set(faults.FAULTS)


@pytest.fixture(scope="module")
def sources(photographs: Photographs) -> list[tuple[float, PairSource]]:
    return [(3.0, photographs), (1.0, LightFields.from_mosaics([MOSAIC]))]


SETTINGS = MixtureSettings(size=48, steps=6, batch=2, fault_rate=0.5, seed=3)


def is_same(first: Sample, second: Sample) -> bool:
    return all(
        torch.equal(a.nan_to_num(nan=1e9), b.nan_to_num(nan=1e9))
        for a, b in zip(first[:3], second[:3], strict=True)
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_mixture_continues_with_the_samples_of_an_uninterrupted_one(
    sources: list[tuple[float, PairSource]], workers: int
) -> None:
    whole = [Mixture(sources, SETTINGS)[number] for number in range(12)]
    assert whole[0][0].shape == whole[0][1].shape == (3, 48, 48)
    assert whole[0][2].shape == (2, 48, 48)
    resumed = Mixture(sources, SETTINGS)
    loader = DataLoader(Subset(resumed, range(5, 12)), batch_size=None, num_workers=workers)
    assert all(is_same(a, b) for a, b in zip(whole[5:], loader, strict=True))
    # All samples of a run differ
    assert len({drawn[0].numpy().tobytes() for drawn in whole}) == 12


def test_ranks_share_the_samples_of_one_process(
    sources: list[tuple[float, PairSource]],
) -> None:
    mixture = Mixture(sources, SETTINGS)
    shares = [
        list(DataLoader(Subset(mixture, range(rank, 12, 2)), batch_size=None, num_workers=1))
        for rank in range(2)
    ]
    assert all(is_same(shares[number % 2][number // 2], mixture[number]) for number in range(12))


def test_another_seed_draws_other_samples(sources: list[tuple[float, PairSource]]) -> None:
    other = Mixture(sources, MixtureSettings(size=48, steps=6, batch=2, seed=4))
    assert not is_same(other[0], Mixture(sources, SETTINGS)[0])
    assert len(other) == 12
    with pytest.raises(IndexError):
        other[12]


class LabelledSource:
    """A source whose pictures encode its label and the stage of the curriculum."""

    def __init__(self, level: int) -> None:
        self.level = level

    def draw(self, rng: np.random.Generator, size: int, motion: float) -> Pair:
        target = np.full((size, size, 3), self.level, np.uint8)
        return Pair(target, np.full((size, size, 3), round(motion * 200), np.uint8))


def test_weights_rates_and_curriculum_have_the_configured_effect() -> None:
    settings = MixtureSettings(
        size=8, steps=400, batch=2, fault_rate=0, relit_rate=0, curriculum=0.25
    )
    mixture = Mixture(
        [(3.0, LabelledSource(10)), (1.0, LabelledSource(20)), (0.0, LabelledSource(30))], settings
    )
    drawn = [mixture.make_pair(number) for number in range(800)]
    levels = [int(pair.target[0, 0, 0]) for pair in drawn]
    assert levels.count(10) / 800 == pytest.approx(0.75, abs=0.05)
    assert levels.count(30) == 0
    motions = [int(pair.reference[0, 0, 0]) for pair in drawn]
    assert motions[0] == 20
    assert motions[100] == round(200 * 0.55)
    assert set(motions[200:]) == {200}
    relit = Mixture(
        [(1.0, LabelledSource(100))], MixtureSettings(size=8, fault_rate=0, relit_rate=1)
    )
    assert {int(relit.make_pair(number).target[0, 0, 0]) for number in range(9)} != {100}
    for number in range(9):
        pair = relit.make_pair(number)
        # Target and reference were 100 and 20 everywhere; both are relit by the same factor
        np.testing.assert_allclose(pair.reference[0, 0] / 20, pair.target[0, 0] / 100, atol=0.05)


def test_a_crop_lies_inside_both_pictures_of_different_proportions() -> None:
    tall = np.zeros((100, 50, 3), np.uint8)
    wide = np.zeros((60, 200, 3), np.uint8)
    rng = np.random.default_rng(0)
    for pair in (Pair(tall, wide), Pair(wide, tall)):
        for _ in range(20):
            cropped = crop_pair(rng, pair, 40)
            assert cropped.target.shape == cropped.reference.shape == (40, 40, 3)


def test_settings_come_from_yaml() -> None:
    text = "size: 128\nsteps: 100\nfault_rate: 0.3\ncurriculum: 1\nseed: 9\n"
    settings = MixtureSettings.from_mapping(yaml.safe_load(text))
    assert settings == MixtureSettings(size=128, steps=100, fault_rate=0.3, curriculum=1, seed=9)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"sise": 128}, "found the setting 'sise', expected one of size, steps"),
        ({"size": "large"}, "found size: 'large', expected a whole number"),
        ({"steps": 2.5}, "found steps: 2.5, expected a whole number"),
        ({"fault_rate": True}, "found fault_rate: True, expected a number"),
        ({"fault_rate": 1.5}, "found fault_rate: 1.5, expected 0 to 1"),
        ({"batch": 0}, "found batch: 0, expected 1 or more"),
    ],
)
def test_invalid_settings_are_reported(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        MixtureSettings.from_mapping(mapping)


def test_a_mixture_without_sources_is_reported() -> None:
    with pytest.raises(DataError, match="no source with a weight above 0"):
        Mixture([(0.0, LabelledSource(1))], SETTINGS)
