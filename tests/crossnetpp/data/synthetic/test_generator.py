"""Composed samples: exact flow, occlusions, faults, captures, and repeatable draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.data.sample import DataError
from crossnetpp.data.synthetic.captures import record_pictures
from crossnetpp.data.synthetic.covers import draw_covers
from crossnetpp.data.synthetic.faults import KINDS, break_references
from crossnetpp.data.synthetic.generator import GeneratorSettings, PairGenerator, SyntheticBatch
from crossnetpp.data.synthetic.jpeg import compress_jpeg
from crossnetpp.data.synthetic.motion import FOCAL_LENGTH, SceneMotion, draw_motion
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.warp import warp
from tests.support import ROOT

PHOTOGRAPH = ROOT / "tests" / "data" / "kodak_21.jpg"
CPU = torch.device("cpu")
CLEAN = GeneratorSettings(
    reach=12, scales=(4,), recorded=0, chroma_subsampled=0, fault_rate=0, single_rate=0
)


def read_photograph() -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(PHOTOGRAPH))[..., ::-1])


def make_generator(settings: GeneratorSettings = CLEAN) -> PairGenerator:
    return PairGenerator.from_files([PHOTOGRAPH], settings, CPU)


def test_homographies_project_the_points_of_a_plane_as_a_camera_does() -> None:
    rng = np.random.default_rng(3)
    size = 100
    motion = draw_motion(rng, 3, size, 20.0)
    assert np.allclose(motion.find_homographies(0), np.eye(3))

    # A camera alone: points X of the plane n . X = 1 turn and move, and are projected
    camera = SceneMotion(motion.turns, motion.shifts, motion.normals, 0 * motion.own, size)
    focal = FOCAL_LENGTH * size
    turn = cv2.Rodrigues(np.array((0, 0, motion.turns[2])))[0]
    turn = turn @ cv2.Rodrigues(np.array((0, motion.turns[1], 0)))[0]
    turn = turn @ cv2.Rodrigues(np.array((motion.turns[0], 0, 0)))[0]
    for layer in range(3):
        pixel = rng.uniform(-50, 50, 2)
        ray = np.append(pixel / focal, 1)
        point = ray / (motion.normals[layer] @ ray)
        moved = turn @ point + motion.shifts[layer]
        expected = focal * moved[:2] / moved[2]

        got = camera.find_homographies(1.0)[layer] @ np.append(pixel, 1)
        assert got[:2] / got[2] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_flow_aligns_the_reference_with_the_target(seed: int) -> None:
    settings = GeneratorSettings(
        layers=(1, 1), reach=6, recorded=0, chroma_subsampled=0, fault_rate=0, single_rate=1
    )
    batch = make_generator(settings).draw((seed,), 2, 128)
    target, (reference,) = batch.samples.target, batch.samples.references
    known = ~torch.isnan(batch.flow).any(1, keepdim=True)
    assert known.float().mean() > 0.5

    aligned = warp(reference, torch.nan_to_num(batch.flow), "bicubic")
    before = ((reference - target).abs() * known).sum() / known.sum() / 3
    after = ((aligned - target).abs() * known).sum() / known.sum() / 3
    assert after < 2.5 / 255
    assert after < before


def test_known_flow_always_ends_on_the_same_surface(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = torch.rand((8, 3), generator=torch.Generator().manual_seed(5))
    numbers = iter(range(8))
    generator = make_generator(
        GeneratorSettings(layers=(8, 8), reach=24, recorded=0, fault_rate=0, single_rate=1)
    )

    # Surfaces of one colour each; only the relighting, which keeps them apart, changes them
    def paint(_rng: np.random.Generator, batch: int, side: int) -> Tensor:
        return colours[next(numbers)].view(1, 3, 1, 1).expand(batch, 3, side, side)

    monkeypatch.setattr(generator, "_draw_textures", paint)
    batch = generator.draw((11,), 2, 96)
    known = ~torch.isnan(batch.flow).any(1, keepdim=True)
    assert 0.2 < known.float().mean() < 0.99

    ends = warp(batch.samples.references[0], torch.nan_to_num(batch.flow))
    difference = ((ends - batch.samples.target).abs().amax(1, keepdim=True))[known]
    # At the end of a flow, interpolation may mix in a trace of a neighbouring surface
    assert float((difference > 3 / 255).float().mean()) < 0.05
    assert float(difference.max()) < 0.15


def test_a_draw_depends_on_its_seed_alone() -> None:
    def draw(generator: PairGenerator, seed: int) -> list[Tensor]:
        return flatten(generator.draw((1, seed), 2, 64))

    first, second = make_generator(), make_generator()
    draw(second, 7)  # Earlier draws leave no trace
    for one, other in zip(draw(first, 8), draw(second, 8), strict=True):
        assert torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
    assert not torch.equal(draw(first, 8)[1], draw(first, 9)[1])


def flatten(batch: SyntheticBatch) -> list[Tensor]:
    samples = batch.samples
    tensors = [samples.lr, samples.target, *samples.references, samples.weights, samples.taps]
    return [*tensors, batch.flow]


def test_the_samples_are_eight_bit_levels_with_shapes_that_fit() -> None:
    generator = make_generator(GeneratorSettings(fault_rate=0.6))
    counts = set()
    for seed in range(10):
        samples = generator.draw((seed,), 2, 64).samples
        scale = samples.target.shape[-1] // samples.lr.shape[-1]
        assert scale in (2, 4, 8)
        assert samples.taps.shape == (2, 2, 4 * scale)
        assert samples.target.shape == (2, 3, 64, 64)
        assert samples.weights.shape == (2, len(samples.references))
        assert samples.weights.max() == 1
        counts.add(len(samples.references))
        for image in (samples.lr, samples.target):
            assert torch.allclose(image * 255, (image * 255).round(), atol=1e-3)
            assert 0 <= image.min() <= image.max() <= 1
    assert counts == {1, 2}


def test_a_missing_reference_has_no_weight_and_no_flow() -> None:
    generator = make_generator()
    missing = present = 0
    for seed in range(8):
        batch = generator.draw((seed,), 4, 64)
        absent = batch.samples.weights[:, 0] == 0
        assert torch.isnan(batch.flow[absent]).all()
        missing += int((batch.samples.weights == 0).sum())
        present += int((batch.samples.weights > 0).sum())
    assert missing
    assert present > 4 * missing


def test_lr_follows_from_the_target_by_the_stated_kernel() -> None:
    target = torch.from_numpy(read_photograph()[:64, :96]).permute(2, 0, 1)[None].float() / 255
    random = torch.Generator().manual_seed(0)
    kernels = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        lr, taps = record_pictures(rng, random, target, 4, recorded=0, chroma_subsampled=0)
        expected = reduce_antialiased(target, 4, taps).clamp(0, 1)
        assert float((lr - expected).abs().max()) <= 0.5 / 255 + 1e-6
        assert float(taps[:, 0].sum(1) @ taps[:, 1].sum(1)) == pytest.approx(1, abs=1e-5)
        kernels.append(taps)
    assert any(not torch.equal(kernels[0], other) for other in kernels[1:])

    noisy, _ = record_pictures(
        np.random.default_rng(0), random, target, 4, recorded=1, chroma_subsampled=0
    )
    lr, _ = record_pictures(
        np.random.default_rng(0), random, target, 4, recorded=0, chroma_subsampled=0
    )
    assert 0.3 / 255 < float((noisy - lr).abs().mean()) < 20 / 255


@pytest.mark.parametrize("quality", [20, 50, 90])
def test_jpeg_loses_what_libjpeg_loses(quality: int) -> None:
    picture = read_photograph()[:99, :130]
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    got = compress_jpeg(image, torch.tensor([float(quality)]))[0].permute(1, 2, 0).numpy() * 255

    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    data = cv2.imencode(".jpg", picture[..., ::-1], options)[1]
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float64)
    loss = np.square(expected - picture).mean()
    assert np.square(got - expected).mean() < 0.25 * loss
    assert np.square(got - picture).mean() == pytest.approx(loss, rel=0.1)


def test_blurred_references_equal_those_of_opencv() -> None:
    picture = read_photograph()[:64, :64]
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    for seed in range(60):
        rng = np.random.default_rng(seed)
        random = torch.Generator().manual_seed(0)
        flow = torch.zeros((1, 2, 64, 64))
        broken, flow = break_references(rng, random, image, flow, 1.0)
        if np.random.default_rng(seed).integers(len(KINDS), size=1)[0] == KINDS.index("blur"):
            break
    got = broken[0].permute(1, 2, 0).numpy()
    errors = []
    for deviation in np.linspace(0.7, 3, 231):
        blurred = cv2.GaussianBlur(
            picture.astype(np.float32) / 255,
            (15 + 2, 15 + 2),
            float(deviation),
            borderType=cv2.BORDER_REFLECT_101,
        )
        errors.append(np.abs(blurred - got).max())
    assert min(errors) < 0.01
    assert not torch.isnan(flow).any()


def test_every_fault_occurs_and_hides_only_the_flow_that_it_breaks() -> None:
    picture = torch.from_numpy(read_photograph()).permute(2, 0, 1).float() / 255
    images = torch.stack([picture[:, 8 * n : 8 * n + 64, 5 * n : 5 * n + 64] for n in range(4)])
    flow = torch.zeros((4, 2, 64, 64))
    changed = np.zeros(len(KINDS), int)
    for seed in range(30):
        kinds = np.random.default_rng(seed).integers(len(KINDS), size=4)
        broken, lost = break_references(
            np.random.default_rng(seed), torch.Generator().manual_seed(seed), images, flow, 1.0
        )
        for number, kind in enumerate(kinds):
            changed[kind] += int(not torch.equal(broken[number], images[number]))
            share = float(torch.isnan(lost[number]).float().mean())
            if KINDS[kind] == "unrelated":
                assert share == 1
                assert torch.equal(broken[number], images[number - 1])
            elif KINDS[kind] == "occluder":
                same = (broken[number] == images[number]).all(0)
                assert 0.02 < share < 0.35
                assert same[~torch.isnan(lost[number, 0])].all()
            else:
                assert share == 0
    assert (changed > 3).all()

    kept, same = break_references(
        np.random.default_rng(0), torch.Generator(), images, flow, rate=0.0
    )
    assert float((kept - images).abs().max()) < 1e-4
    assert torch.equal(same, flow)


def test_covers_have_soft_edges_and_leave_something_to_see() -> None:
    covers = draw_covers(np.random.default_rng(0), torch.Generator().manual_seed(0), 40, 96)
    assert covers.shape == (40, 1, 96, 96)
    shares = covers.mean((1, 2, 3))
    assert shares.min() > 0
    assert shares.max() < 0.9
    steps = (covers[..., 1:] - covers[..., :-1]).abs()
    assert steps.max() <= 0.5 + 1e-6


def test_small_pictures_are_mirrored_and_tiny_ones_are_refused() -> None:
    small = torch.from_numpy(read_photograph()[:120, :130]).permute(2, 0, 1)
    batch = PairGenerator([small], CLEAN, CPU).draw((0,), 1, 64)
    assert F.avg_pool2d(batch.samples.target, 64).min() > 0
    with pytest.raises(DataError, match="at least 96x96"):
        PairGenerator([small[:, :40]], CLEAN, CPU).draw((0,), 1, 64)
