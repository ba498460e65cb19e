"""Estimate the capture: how the LR pixels of a recording result from HR pixels.

Wherever both LR and HR of an instant are known, every LR pixel yields an equation for the
downscaling kernel. Kernels of growing complexity, from bicubic and pixel means to free ones, are
fitted by least squares to all parts of the pictures but one, and tested on the part left out. A
more complex kernel is chosen only if it explains the left-out parts clearly better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log10
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.chroma import estimate_chroma_shift
from crossnetpp.capture.colour import ColourTransform, estimate_colour, transform_picture
from crossnetpp.capture.kernels import (
    is_sharpening_undone,
    make_named_kernel,
    measure_shift,
    measure_width,
)
from crossnetpp.capture.moments import (
    Moments,
    Picture,
    Plane,
    choose_pixels,
    find_usable,
    gather_moments,
    get_luma,
    reduce_plane,
)
from crossnetpp.capture.solve import (
    FREEDOMS,
    ParametricKernel,
    fit_free,
    fit_parametric,
    fit_separable,
)
from crossnetpp.networks.taps import (
    Taps,
    join_taps,
    make_bicubic_taps,
    make_box_taps,
    separate_kernel,
)

PicturePair: TypeAlias = tuple[Picture, Picture]
"""LR (h x w x 3) and HR (s h x s w x 3) 8-bit or 16-bit RGB of one instant and one view."""

MOST_PIXELS = {2: 30_000, 4: 12_000, 8: 6_000}  # scale -> LR pixels per pair
FEWEST_PIXELS = 600  # LR pixels in all pairs together at scale 2; proportional to the scale
FEWEST_PARTS = 4  # fewer pairs are cut into strips, so that enough parts can be left out in turn
LEAST_MATCH = 0.5  # share of the textured pixels of a pair that must agree
MOST_MOTION = 0.75  # LR pixels; a larger shift is motion
MOST_APART = 0.2  # LR pixels by which a pair's shift may differ from the median

# dB by which a more complex kernel must explain the left-out parts better
LEAST_GAIN = 0.1
# Free kernels also fit the codec's losses in the measured pictures, which other frames do not
# share. With H.264, networks therefore borrow better detail with a parametric kernel.
LEAST_GAIN_OF_FREE = 0.8


@dataclass(frozen=True)
class CaptureEstimate:
    """How the LR pictures of a recording result from HR, as far as it was measured."""

    scale: int
    taps: Taps | None
    """The downscaling kernel; None if the bicubic kernel is used (see `reason`)."""
    shape: str
    """Shape of the kernel: "bicubic", "box" (pixel means), another parametric family, "separable"
    or "free"."""
    shift: tuple[float, float]
    """Centroid (x, y) of the kernel relative to the LR pixel's centre, in LR pixels."""
    width: float
    """Width of the kernel in LR pixels: 1 for pixel means."""
    fits_db: float | None
    """PSNR in dB between LR luma and HR luma reduced by the best kernel, even if that kernel is
    rejected. Only textured pixels that were left out of the fit count. None if nothing was
    measured."""
    bicubic_db: float | None
    """PSNR in dB for the bicubic kernel, measured like `fits_db`."""
    pairs: tuple[int, ...]
    """Indices of the pairs that were used."""
    dropped: dict[int, str]
    """Index of each unused pair -> why it was not used."""
    reason: str
    """Why the bicubic kernel is used; empty if a kernel was measured."""
    colour: ColourTransform | None = None
    """Transform from HR colours to LR colours; None if the colours agree or no transform fits."""
    chroma_shift: tuple[float, float] | None = None
    """How far (x, y), in LR pixels, chroma is sampled to the right of and below luma; None if
    unknown."""

    @property
    def kernel(self) -> NDArray[np.float32]:
        """The downscaling kernel, 4s x 4s."""
        return join_taps(make_bicubic_taps(self.scale) if self.taps is None else self.taps)


def estimate_capture(pairs: Sequence[PicturePair], scale: int) -> CaptureEstimate:
    """Measure the downscaling kernel, the colours and the chroma shift from pairs of pictures.

    The two pictures of a pair should show the same instant. Pairs whose pictures differ, or in
    which something moved, are dropped. Raises ValueError if the sizes of a pair do not fit the
    scale.
    """
    observed = [_observe(lr, hr, scale) for lr, hr in pairs]
    dropped = _find_outliers(observed)
    used = tuple(number for number in range(len(pairs)) if number not in dropped)

    kept = [pairs[number] for number in used]
    colour = estimate_colour(kept)
    if colour is not None:
        kept = [(lr, transform_picture(hr, colour)) for lr, hr in kept]
        for number, (lr, hr) in zip(used, kept, strict=True):
            observed[number] = _observe(lr, hr, scale)

    width = measure_width(join_taps(make_bicubic_taps(scale)))
    nothing = CaptureEstimate(
        scale,
        None,
        "bicubic",
        (0.0, 0.0),
        width,
        None,
        None,
        used,
        dropped,
        "there is no pair to measure",
        colour,
    )
    if not pairs:
        return nothing
    if len(used) <= len(dropped):
        why = ", ".join(sorted(set(dropped.values())))
        shown = f"only {len(used)} of {len(pairs)} pairs" if used else "no pair"
        verb = "show" if len(used) > 1 else "shows"
        reason = f"{shown} {verb} the same instant in LR and HR ({why})"
        return replace(nothing, pairs=(), colour=None, reason=reason)

    shares = max(1, -(-FEWEST_PARTS // len(used)))
    parts = [part for number in used for part in _gather_parts(observed[number], scale, shares)]
    if sum(part.count for part in parts) < FEWEST_PIXELS * scale // 2:
        return replace(nothing, reason="the pictures have too little texture")
    total = sum(parts[1:], parts[0])
    found = _choose_kernel(parts, total, nothing)
    return replace(found, chroma_shift=estimate_chroma_shift(kept, found.kernel))


@dataclass(frozen=True)
class _Observation:
    """The luma of a pair, and how well its two pictures agree."""

    lr: Plane
    """LR luma, h x w."""
    hr: Plane
    """HR luma, s h x s w."""
    reduced: Plane
    """HR luma reduced by the bicubic kernel, which is shifted by `shift` if that is plausible."""
    usable: NDArray[np.bool_]
    """Mask (h x w) of the LR pixels that a kernel can be fitted to."""
    shift: tuple[float, float]
    """Shift (x, y) between LR and the reduced HR in LR pixels, as returned by `find_shift`."""
    match: float
    """Share of the textured pixels that agree."""


def _observe(lr: Picture, hr: Picture, scale: int) -> _Observation:
    height, width = lr.shape[:2]
    if hr.shape[:2] != (height * scale, width * scale):
        raise ValueError(
            f"found an HR picture of {hr.shape[1]}x{hr.shape[0]} for an LR picture of "
            f"{width}x{height}, expected {width * scale}x{height * scale}"
        )
    lr_luma, hr_luma = get_luma(lr), get_luma(hr)
    bicubic = join_taps(make_bicubic_taps(scale))
    shift = find_shift(lr_luma, reduce_plane(hr_luma, bicubic))
    if max(map(abs, shift)) <= MOST_MOTION:
        bicubic = np.outer(
            make_named_kernel("bicubic", scale, shift=shift[1]),
            make_named_kernel("bicubic", scale, shift=shift[0]),
        ).astype(np.float32)
    reduced = reduce_plane(hr_luma, bicubic)
    usable, match = find_usable(lr, lr_luma, reduced)
    return _Observation(lr_luma, hr_luma, reduced, usable, shift, match)


def find_shift(lr: Plane, reduced: Plane) -> tuple[float, float]:
    """Return how far (x, y), in pixels, `lr` is shifted left and up relative to `reduced`.

    Both planes are h x w. A downscaling kernel with this centroid would produce `lr`. The result is
    (0, 0) if a side is shorter than 16 pixels.
    """
    if min(lr.shape) < 16:
        return 0.0, 0.0
    window = cv2.createHanningWindow((lr.shape[1], lr.shape[0]), cv2.CV_32F)
    first, second = (plane - cv2.blur(plane, (9, 9)) for plane in (lr, reduced))
    (x, y), _ = cv2.phaseCorrelate(first, second, window)
    return float(x), float(y)


def list_unmoved(shifts: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the pairs in which nothing moved between LR and HR.

    `shifts` are the pairs' shifts in LR pixels, as returned by `find_shift`. Without motion, the
    shift is small and about the same in all pairs.
    """
    near = [n for n, shift in enumerate(shifts) if max(map(abs, shift)) <= MOST_MOTION]
    if len(near) <= 2:
        return near
    middle = np.median([shifts[n] for n in near], axis=0)
    return [n for n in near if np.abs(np.asarray(shifts[n]) - middle).max() <= MOST_APART]


def _find_outliers(observed: Sequence[_Observation]) -> dict[int, str]:
    """Return the index of each pair that cannot be used, with the reason."""
    alike = [number for number, pair in enumerate(observed) if pair.match >= LEAST_MATCH]
    used = {alike[n] for n in list_unmoved([observed[number].shift for number in alike])}

    dropped = {}
    for number, pair in enumerate(observed):
        if number in used:
            continue
        is_near = max(map(abs, pair.shift)) <= MOST_MOTION
        differs = is_near and pair.match < LEAST_MATCH
        dropped[number] = "the pictures differ" if differs else "something moved"
    return dropped


def _gather_parts(pair: _Observation, scale: int, shares: int) -> list[Moments]:
    """Cut a pair into `shares` vertical strips, and return the moments of each.

    All strips have about the same number of usable pixels.
    """
    places = choose_pixels(pair.usable, pair.reduced, MOST_PIXELS[scale])
    across = places[np.argsort(places[:, 1], kind="stable")]
    return [
        gather_moments(pair.lr, pair.hr, part, scale)
        for part in np.array_split(across, shares)
        if len(part)
    ]


@dataclass(frozen=True)
class _Fold:
    """A left-out part, the moments of the other parts, and their best parametric kernel."""

    part: Moments
    others: Moments
    prior: ParametricKernel


def _choose_kernel(
    parts: Sequence[Moments], total: Moments, nothing: CaptureEstimate
) -> CaptureEstimate:
    """Return a copy of `nothing` with the simplest kernel that explains the held-out parts well.

    A parametric kernel must be better than the simpler ones by LEAST_GAIN, and a separable or free
    kernel by LEAST_GAIN_OF_FREE. The bicubic kernel is kept if no other is better by LEAST_GAIN, or
    if the fit shows that HR was sharpened.
    """
    scale = nothing.scale
    rests = [total - part for part in parts]
    folds = [
        _Fold(part, rest, fit_parametric(rest, scale))
        for part, rest in zip(parts, rests, strict=True)
    ]
    bicubic = join_taps(make_bicubic_taps(scale)).astype(np.float64)
    box = join_taps(make_box_taps(scale)).astype(np.float64)
    bicubic_db = _measure_fit(folds, lambda fold: bicubic)

    found = _Found("bicubic", bicubic, bicubic_db)
    box_db = _measure_fit(folds, lambda fold: box)
    if box_db > found.fits_db:
        found = _Found("box", box, box_db)

    whole = _Fold(total, total, fit_parametric(total, scale))
    parametric_db = _measure_fit(folds, lambda fold: fold.prior.kernel)
    if parametric_db > found.fits_db + LEAST_GAIN:
        found = _Found(whole.prior.family, whole.prior.kernel, parametric_db)

    for name, fit in (("separable", _fit_separable), ("free", _fit_free)):
        tried = [(_measure_fit(folds, partial(fit, freedom=f)), f) for f in FREEDOMS]
        free_db, freedom = max(tried)
        if free_db > found.fits_db + LEAST_GAIN_OF_FREE:
            found = _Found(name, fit(whole, freedom=freedom), free_db)

    if found.fits_db < bicubic_db + LEAST_GAIN:
        reason = "no other kernel explains the input better"
        return replace(nothing, fits_db=bicubic_db, bicubic_db=bicubic_db, reason=reason)
    if is_sharpening_undone(_fit_free(whole, freedom=max(FREEDOMS))):
        reason = "the HR pictures are sharper than any camera would record them"
        return replace(nothing, fits_db=found.fits_db, bicubic_db=bicubic_db, reason=reason)

    taps = separate_kernel(found.kernel)
    return replace(
        nothing,
        taps=taps,
        shape=found.shape,
        shift=measure_shift(join_taps(taps)),
        width=measure_width(join_taps(taps)),
        fits_db=found.fits_db,
        bicubic_db=bicubic_db,
        reason="",
    )


@dataclass(frozen=True)
class _Found:
    shape: str
    kernel: NDArray[np.float64]
    fits_db: float


def _fit_separable(fold: _Fold, freedom: float) -> NDArray[np.float64]:
    return fit_separable(fold.others, fold.prior, freedom)


def _fit_free(fold: _Fold, freedom: float) -> NDArray[np.float64]:
    kernel = fit_free(fold.others, fold.prior.kernel, freedom)
    return join_taps(separate_kernel(kernel)).astype(np.float64)


def _measure_fit(folds: Sequence[_Fold], fit: Callable[[_Fold], NDArray[np.float64]]) -> float:
    """Return the cross-validated PSNR in dB of the kernels that `fit` returns for the folds."""
    errors = 0.0
    for fold in folds:
        kernel = fit(fold)
        errors += fold.part.sum_errors(kernel, fold.others.fit_gain(kernel))
    count = sum(fold.part.count for fold in folds)
    return -10 * log10(max(errors / count, 1e-10))
