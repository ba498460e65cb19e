"""A ring of buffers that copies pixels to and from a device while the device computes.

Each slot has pinned host memory and device memory for both directions. Copies to the device, the
computation, and copies from the device each have their own stream, so that one of the three slots
is filled while another is processed and the third is emptied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from deploy.protocol import Pixels
from deploy.trt.device import Device

SLOTS = 3

# a function that queues the work for a slice of frames; it receives the slice, the LR pixels on the
# device, and a tensor on the device for the SR pixels
Work = Callable[[slice, Tensor, Tensor], None]


class _Slot:
    def __init__(
        self, device: Device, lr: tuple[int, ...], sr: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self.host_lr = device.allocate_pinned(lr, dtype)
        self.host_sr = device.allocate_pinned(sr, dtype)
        self.lr = device.allocate(lr, dtype)
        self.sr = device.allocate(sr, dtype)

        self.copied_in = device.create_event()
        self.computed = device.create_event()
        self.copied_out = device.create_event()
        # the frames in the slot, which must be fetched before the slot is refilled; None if empty
        self.frames: slice | None = None


class TransferRing:
    """Three slots, each for LR frames of shape `lr` and SR frames of shape `sr`, of one dtype.

    The shapes are N x h x w x 3 and N x H x W x 3, where N is the size of the largest chunk.
    """

    def __init__(
        self, device: Device, lr: tuple[int, ...], sr: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self._device = device
        self._slots = [_Slot(device, lr, sr, dtype) for _ in range(SLOTS)]
        self._stream_in = device.create_stream()
        self._stream_out = device.create_stream()
        self.stream = device.create_stream()
        """The stream on which the work is queued."""

    def run(self, lr: Pixels, sr: Pixels, chunks: Iterator[slice], work: Work) -> None:
        """Run `work` on `lr` (frames x h x w x 3), chunk by chunk, and write its results to `sr`.

        The results are cropped to the height and width of `sr`.
        """
        try:
            for turn, frames in enumerate(chunks):
                slot = self._slots[turn % SLOTS]
                self._fetch(slot, sr)
                self._send(slot, lr, frames, work)
        finally:
            # even after a failure, so that no frames of this call remain in the ring
            for slot in self._slots:
                self._fetch(slot, sr)

    def _send(self, slot: _Slot, lr: Pixels, frames: slice, work: Work) -> None:
        count = frames.stop - frames.start
        device = self._device

        _array(slot.host_lr)[:count] = lr[frames]
        with device.use_stream(self._stream_in):
            slot.lr[:count].copy_(slot.host_lr[:count], non_blocking=True)
            slot.copied_in.record(self._stream_in)

        slot.copied_in.wait(self.stream)
        with device.use_stream(self.stream):
            work(frames, slot.lr[:count], slot.sr[:count])
            slot.computed.record(self.stream)

        slot.computed.wait(self._stream_out)
        with device.use_stream(self._stream_out):
            slot.host_sr[:count].copy_(slot.sr[:count], non_blocking=True)
            slot.copied_out.record(self._stream_out)
        slot.frames = frames

    def _fetch(self, slot: _Slot, sr: Pixels) -> None:
        if slot.frames is None:
            return
        slot.copied_out.synchronize()
        count = slot.frames.stop - slot.frames.start
        height, width = sr.shape[1:3]
        sr[slot.frames] = _array(slot.host_sr)[:count, :height, :width]
        slot.frames = None


def _array(tensor: Tensor) -> Any:
    return cast(Any, tensor.numpy())
