"""The parts of the hybrid loss against NumPy, their gradients against finite differences."""

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
    PAPER,
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


def images(seed: int, channels: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((2, channels, HEIGHT, WIDTH)))


def landmarks(count: int = 4) -> Landmarks:
    """Return places between pixels; the last one of the first image only fills up."""
    rng = np.random.default_rng(5)
    p, q = (rng.uniform(0, (WIDTH - 1, HEIGHT - 1), (2, count, 2)) for _ in range(2))
    valid = torch.ones(2, count, dtype=torch.bool)
    valid[0, -1] = False
    return Landmarks(torch.from_numpy(p), torch.from_numpy(q), valid)


def true_flow() -> Tensor:
    flow = 3 * images(9, 2)
    flow[0, :, 2:4] = float("nan")
    return flow


def output(kind: str, **given: Tensor) -> Output:
    """Return an answer of the network `kind` with random numbers where none are given."""
    parts: dict[str, Any] = {name: images(seed) for seed, name in enumerate(IMAGES)}
    parts |= {name: 2 * images(seed, 2) for seed, name in enumerate(FLOWS, start=6)} | given
    if kind == "fast":
        return FastOutput(**parts, confidence=images(8, 1))
    scales = MultiScaleFlow(*(parts["flow_stage1"],) * 4)
    return PaperOutput(**parts, flows_stage1=scales, flows_stage2=scales)


def bilinear(field: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return what a C x H x W field is between its pixels."""
    left, top = min(int(x), WIDTH - 2), min(int(y), HEIGHT - 2)
    across, down = x - left, y - top
    upper = field[:, top, left] * (1 - across) + field[:, top, left + 1] * across
    lower = field[:, top + 1, left] * (1 - across) + field[:, top + 1, left + 1] * across
    return np.asarray(upper * (1 - down) + lower * down)


def landmark_loss_by_hand(flow: np.ndarray, pairs: Landmarks) -> float:
    squared = [
        np.square(p + bilinear(flow[sample], *p) - q).sum()
        for sample in range(len(flow))
        for p, q, valid in zip(*(part[sample].numpy() for part in pairs), strict=True)
        if valid
    ]
    return float(np.mean(squared) / 2)


def test_each_part_is_its_formula_in_numpy() -> None:
    a, b = images(0), images(1)
    x, y = a.numpy(), b.numpy()
    assert float(warping_loss(a, b)) == pytest.approx(((x - y) ** 2).sum() / (2 * x.size))
    assert float(charbonnier(a - b)) == pytest.approx(np.hypot(x - y, 0.001).mean())
    flow = images(2, 2) * 3 - 1
    expected = landmark_loss_by_hand(flow.numpy(), landmarks())
    assert float(landmark_loss(flow, landmarks())) == pytest.approx(expected)


def test_landmarks_at_the_corners_take_the_flow_of_the_corner_pixels() -> None:
    flow = images(3, 2)[:1]
    p = torch.tensor([[[0, 0], [WIDTH - 1, 0], [0, HEIGHT - 1], [WIDTH - 1, HEIGHT - 1]]])
    motion = torch.stack([flow[0, :, y, x] for x, y in p[0].tolist()])
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert float(landmark_loss(flow, Landmarks(p, p + motion[None], valid))) < 1e-20
    # channel 0 is x
    wrong = Landmarks(p, p + motion.flip(1)[None], valid)
    assert float(landmark_loss(flow, wrong)) > 1e-3


@pytest.mark.parametrize(
    ("loss", "channels"),
    [
        (lambda x: warping_loss(x, images(1)), 3),
        (lambda x: charbonnier(x - images(1)), 3),
        (lambda x: landmark_loss(x, landmarks()), 2),
        (lambda x: flow_loss(x, true_flow()), 2),
    ],
    ids=["warping", "sr", "landmark", "flow"],
)
def test_the_gradient_of_each_part_is_that_of_finite_differences(loss: Any, channels: int) -> None:
    assert gradcheck(loss, images(0, channels).requires_grad_())


@pytest.mark.parametrize("kind", ["fast", "paper"])
@pytest.mark.parametrize("name", [*IMAGES, *FLOWS])
def test_the_gradient_of_the_whole_is_that_of_finite_differences(kind: str, name: str) -> None:
    weights = LossWeights(landmark=0.03, flow=0.1)

    def total(part: Tensor) -> Tensor:
        answer = output(kind, **{name: part})
        # the sum of squares keeps parts in the graph that a form of the loss does not look at
        loss = hybrid_loss(answer, images(10), true_flow(), weights, landmarks())["total"]
        return loss + part.square().sum()

    assert gradcheck(total, getattr(output(kind), name).clone().requires_grad_())


def test_the_form_of_fast_is_the_weighted_sum_of_its_parts() -> None:
    answer, target, flow = output("fast"), images(10), true_flow()
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


def test_the_form_of_the_paper_has_its_three_parts_on_stage_1() -> None:
    answer, target, pairs = output("paper"), images(10), landmarks()
    parts = hybrid_loss(answer, target, true_flow(), PAPER, pairs)
    assert list(parts) == ["sr", "warping", "flow", "landmark", "total"]
    assert parts["warping"] == warping_loss(answer.warped_stage1, target)
    assert parts["landmark"] == landmark_loss(answer.flow_stage1, pairs)
    expected = parts["sr"] + parts["warping"] + 4e-4 * parts["landmark"]
    assert float(parts["total"]) == pytest.approx(float(expected), rel=1e-12)


def test_the_weights_of_the_paper_balance_as_its_sums_do() -> None:
    """Sums over a 320 x 512 crop with 200 pairs, against means with the stated weights."""
    sr, warping, landmark, pairs, values = 0.02, 0.003, 6.0, 200, 3 * 320 * 512
    sums = np.array((sr * values, warping * values, landmark * pairs))
    means = np.array((PAPER.sr * sr, PAPER.warping * warping, PAPER.landmark * landmark))
    np.testing.assert_allclose(means / means.sum(), sums / sums.sum(), rtol=0.02)
    assert PAPER.flow == PAPER.warping_stage1 == 0


@pytest.mark.parametrize("kind", ["fast", "paper"])
@pytest.mark.parametrize("part", ["sr", "warping", "warping_stage1", "flow", "landmark"])
def test_a_weight_of_0_switches_its_part_off(kind: str, part: str) -> None:
    inputs = {name: tensor for name, tensor in output(kind)._asdict().items() if name in IMAGES}
    inputs |= {name: getattr(output(kind), name) for name in FLOWS}
    inputs = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    answer = output(kind, **inputs)
    on = replace(OFF, **{part: 1.0})
    parts = hybrid_loss(answer, images(10), true_flow(), on, landmarks())
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


def test_what_is_switched_off_cannot_spoil_the_rest() -> None:
    answer = output("paper", warped_stage1=torch.full((2, 3, HEIGHT, WIDTH), float("inf")))
    alone = LossWeights(warping=0, warping_stage1=0, flow=0)
    parts = hybrid_loss(answer, images(10), true_flow(), alone)
    assert torch.equal(parts["total"], parts["sr"])


def test_a_landmark_weight_without_landmarks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weight 0\.0004 of the landmark loss and no landmarks"):
        hybrid_loss(output("paper"), images(10), true_flow(), PAPER)


def test_no_landmarks_at_all_cost_nothing() -> None:
    flow = images(0, 2).requires_grad_()
    pairs = landmarks()
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


def test_the_size_of_a_crop_changes_no_part() -> None:
    target, flow, pairs = images(10), true_flow(), landmarks()
    small = output("paper")
    once = hybrid_loss(small, target, flow, PAPER, pairs)
    doubled = {name: getattr(small, name).repeat(1, 1, 2, 1) for name in (*IMAGES, *FLOWS)}
    more = Landmarks(*(part.repeat(1, 2, *(1,) * (part.ndim - 2)) for part in pairs))
    twice = hybrid_loss(
        output("paper", **doubled), target.repeat(1, 1, 2, 1), flow.repeat(1, 1, 2, 1), PAPER, more
    )
    for name, part in once.items():
        assert float(part) == pytest.approx(float(twice[name]), rel=1e-9)
