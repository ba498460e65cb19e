"""Convert pictures between a caller's arrays or tensors and an engine's pixels."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.pixels import Pixels, as_pixels

if TYPE_CHECKING:
    from torch import Tensor

Picture = TypeVar("Picture", bound="NDArray[Any] | Tensor")

EXPECTED = (
    "an H x W x 3 RGB array, or a 3 x H x W or H x W x 3 RGB tensor, in uint8, uint16 or "
    "floating point from 0 to 1"
)
_DEEPEST = 65535  # floating-point pictures are converted to 16 bits
# Floating-point values may overshoot 0..1 a little. Values beyond these limits have another range.
_LEAST, _MOST = -1.0, 2.0


@dataclass(frozen=True)
class Form:
    """The form in which a caller passes a picture and receives the result."""

    dtype: Any
    device: Any
    """The device of a tensor, or None for an array."""
    is_planar: bool
    """Whether the layout is 3 x H x W rather than H x W x 3."""

    def restore(self, pixels: Pixels) -> Any:
        """Return pixels (H x W x 3) as an array or a tensor of this form."""
        if self.device is None:
            if np.issubdtype(self.dtype, np.floating):
                return (pixels.astype(np.float64) / _DEEPEST).astype(self.dtype)
            return np.ascontiguousarray(pixels, self.dtype)

        import torch

        # int32, because PyTorch supports hardly any operation on uint16
        wide = pixels if self.dtype == torch.uint8 else pixels.astype(np.int32)
        tensor = torch.from_numpy(wide).to(self.device)
        if self.is_planar:
            tensor = tensor.permute(2, 0, 1)
        if self.dtype.is_floating_point:
            return (tensor.to(torch.float32) / _DEEPEST).to(self.dtype).contiguous()
        return tensor.to(self.dtype).contiguous()


def is_tensor(picture: object) -> TypeGuard[Tensor]:
    """Return whether `picture` is a PyTorch tensor, without importing PyTorch."""
    torch = sys.modules.get("torch")  # there are no tensors before PyTorch is imported
    return torch is not None and isinstance(picture, torch.Tensor)


def find_form(picture: object, name: str) -> tuple[Form, tuple[int, int]]:
    """Return the form of a picture, and its height and width.

    `name` is the picture's name in error messages. Raises InputError if the picture's type, shape
    or data type is not supported.
    """
    if is_tensor(picture):
        shape = tuple(picture.shape)
        is_supported = picture.dtype.is_floating_point or str(picture.dtype) in (
            "torch.uint8",
            "torch.uint16",
        )
        form = Form(picture.dtype, picture.device, is_planar=shape[:1] == (3,))
    elif isinstance(picture, np.ndarray):
        shape = picture.shape
        is_supported = any(
            np.issubdtype(picture.dtype, each) for each in (np.uint8, np.uint16, np.floating)
        )
        form = Form(picture.dtype, None, is_planar=False)
    else:
        raise InputError(
            f"{name} is of type {type(picture).__name__}, expected {EXPECTED}; convert it, for "
            "example with numpy.asarray"
        )

    channels = 0
    if len(shape) == 3:
        channels = shape[0] if form.is_planar else shape[2]
    if channels != 3 or 0 in shape or not is_supported:
        kind = "an array" if form.device is None else "a tensor"
        size = " x ".join(map(str, shape)) or "a single number"
        raise InputError(
            f"{name} is {kind} of {size} ({picture.dtype}), expected {EXPECTED}; {_advise(shape)}"
        )
    return form, (shape[1], shape[2]) if form.is_planar else (shape[0], shape[1])


def _advise(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return "pass the pictures of a batch one by one"
    if len(shape) == 3 and 4 in (shape[0], shape[2]):
        return "remove the alpha channel"
    if len(shape) == 2:
        return "repeat the grey channel three times, as in numpy.dstack([grey] * 3)"
    return "convert it to one of these forms"


def read_pixels(picture: object, name: str) -> Pixels:
    """Return a picture as uint8 or uint16 pixels (H x W x 3), which may share its memory.

    Floating-point values are clipped to 0..1 and rounded to 16 bits. `name` is the picture's name
    in error messages. Raises InputError if the picture's form is not supported, or if it has
    floating-point values far outside 0..1.
    """
    form, _ = find_form(picture, name)
    if is_tensor(picture):
        tensor = picture.detach().cpu()
        if form.dtype.is_floating_point:
            tensor = tensor.float()  # NumPy has no bfloat16
        array: NDArray[Any] = tensor.numpy()
    else:
        array = np.asarray(picture)

    if form.is_planar:
        array = array.transpose(1, 2, 0)
    if np.issubdtype(array.dtype, np.floating):
        return _round_to_16_bits(array, name)
    native = np.dtype(np.uint8 if array.dtype == np.uint8 else np.uint16)
    return as_pixels(np.ascontiguousarray(array, native))


def _round_to_16_bits(array: NDArray[Any], name: str) -> Pixels:
    values = array.astype(np.float64)
    least, most = float(values.min()), float(values.max())
    # `not (... and ...)` also catches NaN, for which every comparison is false
    if not (least >= _LEAST and most <= _MOST):
        raise InputError(
            f"{name} has values from {least:g} to {most:g}, but floating-point values must be from "
            "0 to 1; divide them by the largest possible value, or convert them to uint8"
        )
    return as_pixels(np.rint(np.clip(values, 0, 1) * _DEEPEST).astype(np.uint16))
