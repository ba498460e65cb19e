"""Terms of the hybrid loss compared with NumPy, their gradients with finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from crossnetpp.landmarks import Landmarks
from crossnetpp.losses import (
    LossWeights,
    charbonnier,
    flow_loss,
    hybrid_loss,
    landmark_loss,
    warping_loss,
)
from crossnetpp.networks.build import Output
from crossnetpp.networks.fast import FastOutput
from crossnetpp.networks.flow_net import MultiScaleFlow
from crossnetpp.networks.paper import PaperOutput

HEIGHT, WIDTH = 6, 7
IMAGES = ("sr", "lr_up", "warped", "warped_stage1")
FLOWS = ("flow_stage1", "flow")
OFF = LossWeights(sr=0, warping=0, warping_stage1=0, flow=0, landmark=0)

# The published balance: sums over pixels and over pairs, all with weight 1, expressed as means.
# For a crop of 320 x 512 and 200 pairs, landmarks weigh 200 / (3 x 320 x 512) = 4e-4.
PAPER_WEIGHTS = LossWeights(warping=1.0, warping_stage1=0.0, flow=0.0, landmark=4e-4)


def random_images(seed: int, channels: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((2, channels, HEIGHT, WIDTH)))


def make_landmarks(count: int = 4) -> Landmarks:
    """Return points between pixels; the last pair of the first image is padding."""
    rng = np.random.default_rng(5)
    p, q = (rng.uniform(0, (WIDTH - 1, HEIGHT - 1), (2, count, 2)) for _ in range(2))
    valid = torch.ones(2, count, dtype=torch.bool)
    valid[0, -1] = False
    return Landmarks(torch.from_numpy(p), torch.from_numpy(q), valid)


def make_true_flow() -> Tensor:
    flow = 3 * random_images(9, 2)
    flow[0, :, 2:4] = float("nan")
    return flow


def make_output(kind: str, **tensors: Tensor) -> Output:
    """Return an output of the network `kind`: `tensors`, and random numbers elsewhere."""
    parts: dict[str, Any] = {name: random_images(seed) for seed, name in enumerate(IMAGES)}
    parts |= {
        name: 2 * random_images(seed, 2) for seed, name in enumerate(FLOWS, start=6)
    } | tensors
    if kind == "fast":
        return FastOutput(**parts, confidence=random_images(8, 1))
    scales = MultiScaleFlow(*(parts["flow_stage1"],) * 4)
    return PaperOutput(**parts, flows_stage1=scales, flows_stage2=scales)


def sample_bilinearly(field: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return a C x H x W field at a point between its pixels."""
    left = min(int(x), WIDTH - 2)
    top = min(int(y), HEIGHT - 2)
    across = x - left
    down = y - top
    upper = field[:, top, left] * (1 - across) + field[:, top, left + 1] * across
    lower = field[:, top + 1, left] * (1 - across) + field[:, top + 1, left + 1] * across
    return np.asarray(upper * (1 - down) + lower * down)


def landmark_loss_in_numpy(flow: np.ndarray, pairs: Landmarks) -> float:
    squared = [
        np.square(p + sample_bilinearly(flow[sample], *p) - q).sum()
        for sample in range(len(flow))
        for p, q, valid in zip(*(part[sample].numpy() for part in pairs), strict=True)
        if valid
    ]
    return float(np.mean(squared) / 2)


def test_each_term_agrees_with_its_formula_in_numpy() -> None:
    a = random_images(0)
    b = random_images(1)
    x = a.numpy()
    y = b.numpy()
    assert float(warping_loss(a, b)) == pytest.approx(((x - y) ** 2).sum() / (2 * x.size))
    assert float(charbonnier(a - b)) == pytest.approx(np.hypot(x - y, 0.001).mean())
    flow = random_images(2, 2) * 3 - 1
    expected = landmark_loss_in_numpy(flow.numpy(), make_landmarks())
    assert float(landmark_loss(flow, make_landmarks())) == pytest.approx(expected)


def test_landmarks_at_the_corners_use_the_flow_of_the_corner_pixels() -> None:
    flow = random_images(3, 2)[:1]
    p = torch.tensor([[[0, 0], [WIDTH - 1, 0], [0, HEIGHT - 1], [WIDTH - 1, HEIGHT - 1]]])
    motion = torch.stack([flow[0, :, y, x] for x, y in p[0].tolist()])
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert float(landmark_loss(flow, Landmarks(p, p + motion[None], valid))) < 1e-20
    # Channel 0 is x, so swapped channels are wrong
    wrong = Landmarks(p, p + motion.flip(1)[None], valid)
    assert float(landmark_loss(flow, wrong)) > 1e-3


@pytest.mark.parametrize(
    ("loss", "channels"),
    [
        (lambda x: warping_loss(x, random_images(1)), 3),
        (lambda x: charbonnier(x - random_images(1)), 3),
        (lambda x: landmark_loss(x, make_landmarks()), 2),
        (lambda x: flow_loss(x, make_true_flow()), 2),
    ],
    ids=["warping", "sr", "landmark", "flow"],
)
def test_the_gradient_of_each_term_agrees_with_finite_differences(loss: Any, channels: int) -> None:
    assert gradcheck(loss, random_images(0, channels).requires_grad_())


@pytest.mark.parametrize("kind", ["fast", "paper"])
@pytest.mark.parametrize("name", [*IMAGES, *FLOWS])
def test_the_gradient_of_the_total_agrees_with_finite_differences(kind: str, name: str) -> None:
    weights = LossWeights(landmark=0.03, flow=0.1)

    def total(part: Tensor) -> Tensor:
        answer = make_output(kind, **{name: part})
        # The sum of squares keeps tensors in the graph that this form of the loss ignores
        loss = hybrid_loss(answer, random_images(10), make_true_flow(), weights, make_landmarks())[
            "total"
        ]
        return loss + part.square().sum()

    assert gradcheck(total, getattr(make_output(kind), name).clone().requires_grad_())


def test_the_loss_of_fast_is_the_weighted_sum_of_its_terms() -> None:
    answer = make_output("fast")
    target = random_images(10)
    flow = make_true_flow()
    assert isinstance(answer, FastOutput)
    parts = hybrid_loss(answer, target, flow, LossWeights())
    assert list(parts) == ["sr", "warping", "warping_stage1", "flow", "total"]
    assert parts["warping"] == charbonnier(answer.warped - target)
    assert parts["warping_stage1"] == charbonnier(answer.warped_stage1 - answer.lr_up)
    assert parts["flow"] == flow_loss(answer.flow, flow) + flow_loss(answer.flow_stage1, flow)
    expected = (
        charbonnier(answer.sr - target)
        + 0.5 * parts["warping"]
        + 0.25 * parts["warping_stage1"]
        + 0.004 * parts["flow"]
    )
    assert torch.equal(parts["total"], expected)


def test_the_loss_of_the_paper_has_its_three_terms_on_stage_1() -> None:
    answer = make_output("paper")
    target = random_images(10)
    pairs = make_landmarks()
    parts = hybrid_loss(answer, target, make_true_flow(), PAPER_WEIGHTS, pairs)
    assert list(parts) == ["sr", "warping", "flow", "landmark", "total"]
    assert parts["warping"] == warping_loss(answer.warped_stage1, target)
    assert parts["landmark"] == landmark_loss(answer.flow_stage1, pairs)
    expected = parts["sr"] + parts["warping"] + 4e-4 * parts["landmark"]
    assert float(parts["total"]) == pytest.approx(float(expected), rel=1e-12)


def test_the_weights_of_the_paper_balance_like_its_sums() -> None:
    """Compare sums over a 320 x 512 crop with 200 pairs with means and the stated weights."""
    sr = 0.02
    warping = 0.003
    landmark = 6.0
    pairs = 200
    values = 3 * 320 * 512
    sums = np.array((sr * values, warping * values, landmark * pairs))
    means = np.array(
        (PAPER_WEIGHTS.sr * sr, PAPER_WEIGHTS.warping * warping, PAPER_WEIGHTS.landmark * landmark)
    )
    np.testing.assert_allclose(means / means.sum(), sums / sums.sum(), rtol=0.02)
    assert PAPER_WEIGHTS.flow == PAPER_WEIGHTS.warping_stage1 == 0


@pytest.mark.parametrize("kind", ["fast", "paper"])
@pytest.mark.parametrize("part", ["sr", "warping", "warping_stage1", "flow", "landmark"])
def test_a_weight_of_0_disables_its_term(kind: str, part: str) -> None:
    inputs = {
        name: tensor for name, tensor in make_output(kind)._asdict().items() if name in IMAGES
    }
    inputs |= {name: getattr(make_output(kind), name) for name in FLOWS}
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    answer = make_output(kind, **inputs)
    on = replace(OFF, **{part: 1.0})
    parts = hybrid_loss(answer, random_images(10), make_true_flow(), on, make_landmarks())
    if part not in parts:
        assert (kind, part) == ("paper", "warping_stage1")
        assert float(parts["total"]) == 0
        return
    assert torch.equal(parts["total"], parts[part])
    parts["total"].backward()  # type: ignore[no-untyped-call]
    of_flows = part in ("flow", "landmark")
    reached = {name for name, tensor in inputs.items() if tensor.grad is not None}
    assert reached
    assert reached <= set(FLOWS) if of_flows else reached.isdisjoint(FLOWS)


def test_a_disabled_term_does_not_affect_the_rest() -> None:
    answer = make_output("paper", warped_stage1=torch.full((2, 3, HEIGHT, WIDTH), float("inf")))
    alone = LossWeights(warping=0, warping_stage1=0, flow=0)
    parts = hybrid_loss(answer, random_images(10), make_true_flow(), alone)
    assert torch.equal(parts["total"], parts["sr"])


def test_a_landmark_weight_without_landmarks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has the weight 0\.0004, but there are no landmarks"):
        hybrid_loss(make_output("paper"), random_images(10), make_true_flow(), PAPER_WEIGHTS)


def test_a_batch_without_landmarks_costs_nothing() -> None:
    flow = random_images(0, 2).requires_grad_()
    pairs = make_landmarks()
    loss = landmark_loss(flow, pairs._replace(valid=torch.zeros_like(pairs.valid)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert flow.grad is not None
    assert not flow.grad.any()


def test_large_motion_in_float16_does_not_overflow() -> None:
    flow = torch.full((1, 2, HEIGHT, WIDTH), 300.0, dtype=torch.float16)
    p = torch.tensor([[[2.0, 3.0]]])
    pairs = Landmarks(p, p, torch.ones(1, 1, dtype=torch.bool))
    assert float(landmark_loss(flow, pairs)) == 90_000


def test_the_size_of_a_crop_does_not_change_any_term() -> None:
    target = random_images(10)
    flow = make_true_flow()
    pairs = make_landmarks()
    small = make_output("paper")
    once = hybrid_loss(small, target, flow, PAPER_WEIGHTS, pairs)
    doubled = {name: getattr(small, name).repeat(1, 1, 2, 1) for name in (*IMAGES, *FLOWS)}
    more = Landmarks(*(part.repeat(1, 2, *(1,) * (part.ndim - 2)) for part in pairs))
    twice = hybrid_loss(
        make_output("paper", **doubled),
        target.repeat(1, 1, 2, 1),
        flow.repeat(1, 1, 2, 1),
        PAPER_WEIGHTS,
        more,
    )
    for name, part in once.items():
        assert float(part) == pytest.approx(float(twice[name]), rel=1e-9)
