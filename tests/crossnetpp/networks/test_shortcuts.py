"""Faster ways that the networks take on a CPU give the same results."""

from __future__ import annotations

import cv2
import pytest
import torch
from torch import nn

from crossnetpp.checkpoint import load_network
from crossnetpp.networks.blocks import merge_blocks, split_into_blocks
from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.opencv import can_enlarge, enlarge
from crossnetpp.networks.warp import make_grid, make_traced_grid, warp


def test_blocks_of_16_bits_and_without_gradients_agree_too() -> None:
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            image = torch.rand(2, 3, 16, 24).to(dtype)
            for size in (2, 4):
                expected = nn.functional.pixel_unshuffle(image, size)
                assert torch.equal(split_into_blocks(image, size), expected)
                part = image[..., 1:17]  # begins within a row, so its rows cannot be copied whole
                expected = nn.functional.pixel_unshuffle(part, size)
                assert torch.equal(split_into_blocks(part, size), expected)
            blocks = torch.rand(2, 48, 4, 6).to(dtype).to(memory_format=torch.channels_last)
            for size in (2, 4):
                expected = nn.functional.pixel_shuffle(blocks, size)
                assert torch.equal(merge_blocks(blocks, size), expected)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_opencv_enlarges_as_pytorch_does(scale: int, mode: str) -> None:
    planes = torch.randn(2, 3, 9, 14)
    how = cv2.INTER_CUBIC if mode == "bicubic" else cv2.INTER_LINEAR
    assert can_enlarge(planes)
    assert not can_enlarge(planes.double())
    assert not can_enlarge(planes.clone().requires_grad_())
    for each in (planes, planes.to(memory_format=torch.channels_last), planes[..., 2:]):
        expected = nn.functional.interpolate(
            each, scale_factor=float(scale), mode=mode, align_corners=False
        )
        torch.testing.assert_close(enlarge(each, scale, how), expected, rtol=0, atol=1e-5)


def test_sampling_grids_are_the_same_with_and_without_gradients() -> None:
    flow = 3 * torch.randn(2, 2, 7, 11)
    grid = make_grid(flow)
    assert torch.equal(grid, make_grid(flow.clone().requires_grad_()))
    torch.testing.assert_close(grid, make_traced_grid(flow))
    # -1 and 1 are the centres of the border pixels
    assert torch.equal(make_grid(torch.zeros(1, 2, 7, 11))[0, 0, 0], torch.tensor([-1.0, -1.0]))


@pytest.mark.parametrize("model", ["fast", "fast-quick"])
def test_frames_alone_are_those_of_the_whole_output(model: str) -> None:
    network = load_network(model)
    assert isinstance(network, CrossNetFast)
    with torch.inference_mode():
        lr = torch.rand(1, 3, 16, 24)
        prepared = network.prepare(torch.rand(1, 3, 64, 96), 4)
        output = network.enhance(lr, prepared)
        assert torch.equal(network.compute_sr(lr, prepared), output.sr)
        moved = warp(prepared.unsharp, output.flow_stage1)
    assert torch.equal(output.warped_stage1, moved)
