"""A ring of slots through which pixels go to a device and come back while it computes.

Each slot has pinned memory of the host and memory of the device, for both ways. Copies in, work and
copies out have a stream each, so that of three slots one is filled, one worked on and one emptied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from deploy.protocol import Pixels
from deploy.trt.device import Device

SLOTS = 3
Work = Callable[[slice, Tensor, Tensor], None]
"""Given which frames, their LR pixels and the place for SR, both on the device."""


class _Slot:
    def __init__(
        self, device: Device, lr: tuple[int, ...], sr: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self.host_lr, self.host_sr = device.pinned(lr, dtype), device.pinned(sr, dtype)
        self.lr, self.sr = device.buffer(lr, dtype), device.buffer(sr, dtype)
        self.arrived, self.done, self.left = (device.event() for _ in range(3))
        self.frames: slice | None = None
        """What is on its way, to be fetched before the slot is filled again."""


class TransferRing:
    """Slots for LR frames (n x h x w x 3) and SR frames (n x H x W x 3) of one type."""

    def __init__(
        self, device: Device, lr: tuple[int, ...], sr: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self._device = device
        self._slots = [_Slot(device, lr, sr, dtype) for _ in range(SLOTS)]
        self._into, self._out = device.stream(), device.stream()
        self.work = device.stream()
        """Where the work is queued."""

    def run(self, lr: Pixels, sr: Pixels, chunks: Iterator[slice], work: Work) -> None:
        """Fill `sr` with what `work` makes of `lr`, chunk by chunk."""
        try:
            for turn, frames in enumerate(chunks):
                slot = self._slots[turn % SLOTS]
                self._fetch(slot, sr)
                self._send(slot, lr, frames, work)
        finally:
            # also after a failure: the next call must not meet what this one left
            for slot in self._slots:
                self._fetch(slot, sr)

    def _send(self, slot: _Slot, lr: Pixels, frames: slice, work: Work) -> None:
        count = frames.stop - frames.start
        device = self._device
        _array(slot.host_lr)[:count] = lr[frames]
        with device.on(self._into):
            slot.lr[:count].copy_(slot.host_lr[:count], non_blocking=True)
            slot.arrived.record(self._into)
        slot.arrived.wait(self.work)
        with device.on(self.work):
            work(frames, slot.lr[:count], slot.sr[:count])
            slot.done.record(self.work)
        slot.done.wait(self._out)
        with device.on(self._out):
            slot.host_sr[:count].copy_(slot.sr[:count], non_blocking=True)
            slot.left.record(self._out)
        slot.frames = frames

    def _fetch(self, slot: _Slot, sr: Pixels) -> None:
        if slot.frames is None:
            return
        slot.left.synchronize()
        count = slot.frames.stop - slot.frames.start
        height, width = sr.shape[1:3]
        sr[slot.frames] = _array(slot.host_sr)[:count, :height, :width]
        slot.frames = None


def _array(tensor: Tensor) -> Any:
    return cast(Any, tensor.numpy())
