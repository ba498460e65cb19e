"""A cache for what engines compute from the most recently used references."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from crossnetpp.networks.taps import Taps, is_same_kernel
from deploy.protocol import Pixels

Computed = TypeVar("Computed")


class _Kept(NamedTuple, Generic[Computed]):
    pixels: Pixels
    scale: int
    kernel: Taps | None
    computed: Computed

    def fits(self, pixels: Pixels, scale: int, kernel: Taps | None) -> bool:
        """Return whether the cached result was computed from this reference, scale and kernel."""
        return (
            self.scale == scale
            and is_same_kernel(self.kernel, kernel)
            and np.array_equal(self.pixels, pixels)
        )


class KeptReferences(Generic[Computed]):
    """Caches what an engine computed from the most recently used references.

    Neighbouring frames share references, which are recognised by comparing all pixels. The cache
    has room for the references of one frame. Only one thread at a time may use it.
    """

    def __init__(self) -> None:
        self._kept: deque[_Kept[Computed]] = deque(maxlen=1)

    def make_room(self, count: int) -> None:
        """Make the cache large enough for the results of `count` references."""
        if count > (self._kept.maxlen or 0):
            self._kept = deque(self._kept, count)

    def get_or_compute(
        self, pixels: Pixels, scale: int, kernel: Taps | None, compute: Callable[[], Computed]
    ) -> Computed:
        """Return the result for the reference `pixels` (H x W x 3), calling `compute` if necessary.

        The cached result is used only if the scale and the downscaling kernel are the same, too.
        """
        for i, kept in enumerate(self._kept):
            if kept.fits(pixels, scale, kernel):
                del self._kept[i]
                self._kept.append(kept)
                return kept.computed

        computed = compute()
        own_kernel = None if kernel is None else kernel.copy()
        self._kept.append(_Kept(pixels.copy(), scale, own_kernel, computed))
        return computed
