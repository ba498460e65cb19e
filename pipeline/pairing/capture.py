"""Measure a recording's capture from frames whose instants its reference also shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from crossnetpp.capture.colour import ColourTransform, transform_picture
from crossnetpp.capture.estimate import CaptureEstimate, PicturePair, estimate_capture
from crossnetpp.capture.grade import estimate_grade
from crossnetpp.capture.variants import refuse_wide_kernel
from crossnetpp.networks.taps import Taps, make_bicubic_taps
from pipeline.pairing.choose_views import SAME_INSTANT
from pipeline.pairing.field_of_view import read_pairs
from pipeline.pairing.fit import Affine, find_seen_part, fit_to_grid, prepare_reference
from pipeline.pairing.rules import find_half_interval, spread_evenly
from pipeline.pixels import Pixels, as_pixels, match_depth, to_8_bit
from pipeline.schema.capture import Capture, ColourChange
from pipeline.schema.clip import LightField, Recording, Stills
from pipeline.schema.plan import Plan, ReferencePlan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap

MOST_PAIRS = 6
FEWEST_PAIRS = 2  # even if their references exceed MOST_PIXELS
MOST_PIXELS = 100_000_000  # in all references together
MOST_WIDTH, MOST_HEIGHT = 2560, 1440  # limits on the measured part of a network frame, in pixels
LEAST_SEEN = 64  # minimum width and height of that part, in pixels
DIGITS = 5  # decimal places of stored weights; further ones depend on the processor


@dataclass(frozen=True)
class MeasuredCapture:
    """The capture of a recording, and a note about it for users."""

    capture: Capture | None
    """None for the bicubic kernel and unchanged colours."""
    note: str
    fits_db: float | None = None
    """PSNR in dB between LR and HR reduced by the best kernel, even if the plan does not use that
    kernel; None if nothing was measured."""


def measure_capture(
    lr: Recording,
    reference: ReferencePlan,
    choices: ReferenceMap,
    scale: int,
    size: tuple[int, int],
) -> MeasuredCapture:
    """Measure how HR was reduced to LR and how their colours differ, at a few common instants.

    `size` is the height and width of the network's frames.
    """
    ref = reference.clip
    most = max(FEWEST_PAIRS, min(MOST_PAIRS, MOST_PIXELS // (ref.width * ref.height)))
    common = list_common_instants(lr, reference, choices)
    chosen = [common[number] for number in spread_evenly(len(common), most)]
    if not chosen:
        return MeasuredCapture(None, f"capture: {_explain_absence(lr, reference)}")

    numbers = [(c.pts, c.ref_pts) for c in chosen if c.ref_pts is not None]
    pictures = read_pairs(lr, ref, numbers)
    pairs = []
    for (pts, _), (small, large) in pictures.items():
        pair = fit_pair(small, large, reference, scale, size)
        if pair is not None:
            pairs.append((pts, pair if reference.trusted is None else _grade_pair(pair)))

    found = refuse_wide_kernel(estimate_capture([pair for _, pair in pairs], scale))
    if reference.trusted is not None:
        found = replace(found, colour=None)  # the input is given the colours of the key frames
    kind = "view" if isinstance(lr, LightField) else "key frame"
    used = tuple(pairs[number][0] for number in found.pairs)
    note = f"capture: {describe_estimate(found, kind)}"
    if found.taps is None and found.colour is None:
        return MeasuredCapture(None, note, found.fits_db)
    return MeasuredCapture(_store_estimate(found, used), note, found.fits_db)


def _explain_absence(lr: Recording, reference: ReferencePlan) -> str:
    """Return a clause that explains why no reference is known to show the instant of a frame."""
    ref = reference.clip
    if isinstance(ref, Stills) and not isinstance(lr, LightField):
        if len(ref.files) == 1:
            return (
                "not measured, because a single picture is not assigned to any instant; the "
                "bicubic kernel is assumed"
            )
        if reference.select == "content" and not ref.has_times:
            advice = (
                "; if you know them, put them into the names, such as IMG_0001_3.5s.jpg"
                if lr.has_times
                else ""
            )
            return (
                "not measured, and the bicubic kernel is assumed, because it is not known which "
                f"instants the pictures show{advice}"
            )
    return (
        "no reference shows the same instant as a frame, so nothing is measured and the bicubic "
        "kernel is assumed"
    )


def list_common_instants(
    lr: Recording, reference: ReferencePlan, choices: ReferenceMap
) -> list[ReferenceChoice]:
    """Return the choices whose reference shows the same view at the same time, sorted by pts.

    If several frames have the same reference, only the nearest in time is included.
    """
    half = _find_tolerance(lr, choices)
    found: dict[int, ReferenceChoice] = {}
    for choice in choices:
        if choice.ref_pts is None or not _is_common(choice, half):
            continue
        known = found.get(choice.ref_pts)
        if known is None or abs(choice.seconds or 0.0) < abs(known.seconds or 0.0):
            found[choice.ref_pts] = choice
    return sorted(found.values(), key=lambda choice: choice.pts)


def _is_common(choice: ReferenceChoice, half: float) -> bool:
    if choice.views is None:
        return choice.seconds is not None and abs(choice.seconds) < half
    if choice.why != "given" and choice.views.steps != 0:
        return False
    return choice.seconds is None or abs(choice.seconds) < SAME_INSTANT


def _find_tolerance(lr: Recording, choices: ReferenceMap) -> float:
    """Return the distance in seconds below which a frame and its reference show the same instant.

    For a clip, it is half the median interval between frames. It is SAME_INSTANT for a single
    frame, which has no interval, and for light fields, whose times are exact.
    """
    if isinstance(lr, LightField):
        return SAME_INSTANT
    half = find_half_interval([lr.seconds(pts) for pts in choices.pts])
    return max(SAME_INSTANT, round(half, 6))  # the map's distances are rounded to 6 decimals, too


def fit_pair(
    lr: Pixels, ref: Pixels, reference: ReferencePlan, scale: int, size: tuple[int, int]
) -> PicturePair | None:
    """Return the part of an LR frame that its reference shows, and the same part of the reference.

    Large parts are cropped to their middle. The reference is returned on the network's grid, so it
    is `scale` times as large as the LR part, and keeps its own colours. If its field of view
    differs, it is aligned more precisely than for enhancement, where the network corrects small
    shifts. The result is None if the part's width or height is below LEAST_SEEN.
    """
    same = match_depth(ref, lr)
    fitted, seen = fit_to_grid(same, *size, reference.affine)
    if reference.affine is not None:
        closer = refine_map(lr, fitted, reference.affine, scale)
        fitted, seen = fit_to_grid(same, *size, closer)
    part = find_seen_part(seen, size)
    if part is None:
        return None
    top, left, bottom, right = part
    top, bottom = _keep_middle(top, bottom, MOST_HEIGHT, scale)
    left, right = _keep_middle(left, right, MOST_WIDTH, scale)
    if bottom - top < LEAST_SEEN or right - left < LEAST_SEEN:
        return None
    small = lr[top // scale : bottom // scale, left // scale : right // scale]
    return small, fitted[top:bottom, left:right]


def _grade_pair(pair: PicturePair) -> PicturePair:
    """Return the pair with LR graded like HR, so that only the kernel is left to measure.

    The pair is unchanged if its grade cannot be estimated.
    """
    small, large = pair
    reduced = cv2.resize(large, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    grade = estimate_grade(small, as_pixels(reduced))
    if grade is None:
        return pair
    top = np.iinfo(small.dtype).max
    graded = np.rint(grade.apply(small).clip(0, 1) * top).astype(small.dtype)
    return as_pixels(graded), large


def refine_map(lr: Pixels, fitted: Pixels, affine: Affine, scale: int) -> Affine:
    """Return a map from network pixels to reference pixels that fits `lr` better than `affine`.

    `fitted` is the reference on the network's grid, as mapped by `affine`. The map maximises the
    enhanced correlation coefficient (Evangelidis and Psarakis 2008). If the search does not
    converge, the result is `affine`.
    """
    small = cv2.resize(fitted, (lr.shape[1], lr.shape[0]), interpolation=cv2.INTER_AREA)
    near, far = (
        cv2.cvtColor(to_8_bit(each), cv2.COLOR_RGB2GRAY) for each in (lr, as_pixels(small))
    )
    everywhere = np.full(near.shape, 255, np.uint8)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-5)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, found = cv2.findTransformECC(near, far, start, cv2.MOTION_AFFINE, stop, everywhere, 5)
    except cv2.error:  # no convergence
        return affine

    # from LR pixels to network pixels, with half-pixel centres on both grids
    middle = (scale - 1) / 2
    grow = np.array([[scale, 0, middle], [0, scale, middle], [0, 0, 1]])
    closer = grow @ np.vstack((np.asarray(found, np.float64), [0, 0, 1])) @ np.linalg.inv(grow)
    a, b, c, d, e, f = (float(v) for v in (np.reshape(affine, (2, 3)) @ closer).ravel())
    return a, b, c, d, e, f


def _keep_middle(first: int, end: int, most: int, scale: int) -> tuple[int, int]:
    """Return the middle of a range as (start, end).

    Both are multiples of `scale`, and they are at most `most` apart.
    """
    spare = max(end - first - most, 0) // 2
    return -(-(first + spare) // scale) * scale, (end - spare) // scale * scale


def _store_estimate(found: CaptureEstimate, pairs: tuple[int, ...]) -> Capture:
    taps = make_bicubic_taps(found.scale) if found.taps is None else found.taps
    kept = [_balance_term(term) for term in taps if np.abs(term).max() > 0.5 * 10**-DIGITS]
    rows, columns = (
        tuple(tuple(round(float(weight), DIGITS) + 0.0 for weight in term[axis]) for term in kept)
        for axis in (0, 1)
    )
    return Capture(
        source="bicubic" if found.taps is None else "measured",
        scale=found.scale,
        shape=found.shape,
        rows=rows,
        columns=columns,
        shift=_round_pair(found.shift),
        width=round(found.width, 3),
        chroma_shift=None if found.chroma_shift is None else _round_pair(found.chroma_shift),
        fits_db=None if found.fits_db is None else round(found.fits_db, 2),
        bicubic_db=None if found.bicubic_db is None else round(found.bicubic_db, 2),
        colour=None if found.colour is None else _store_transform(found.colour),
        pairs=pairs,
    )


def _balance_term(term: NDArray[np.float32]) -> NDArray[np.float64]:
    """Balance the row and column weights of one term of a kernel (2 x 4s at scale s).

    The largest row weight and the largest column weight get the same magnitude, while the product
    of rows and columns stays unchanged.
    """
    rows, columns = (weights[np.abs(weights).argmax()] for weights in term.astype(np.float64))
    root = np.sqrt(abs(rows * columns))
    return np.stack((term[0] * (root / rows), term[1] * (rows / root)))


def _round_pair(pair: tuple[float, float]) -> tuple[float, float]:
    return round(pair[0], 3), round(pair[1], 3)


def _store_transform(transform: ColourTransform) -> ColourChange:
    red, green, blue = (
        tuple(round(float(value), DIGITS) for value in curve) for curve in transform.curves
    )
    first, second, third = (
        (round(float(a), DIGITS), round(float(b), DIGITS), round(float(c), DIGITS))
        for a, b, c in transform.matrix
    )
    return ColourChange(curves=(red, green, blue), matrix=(first, second, third))


def _stack_terms(capture: Capture) -> NDArray[np.float64]:
    """Return the row and column weights of each term of a kernel, (1 or 2) x 2 x 4s at scale s.

    They are normalised so that the kernel, which is the sum of all terms, sums to 1.
    """
    terms = np.stack((np.asarray(capture.rows), np.asarray(capture.columns)), axis=1)
    sums = terms.sum(axis=2)
    terms[:, 0] /= (sums[:, 0] * sums[:, 1]).sum()
    return np.asarray(terms, np.float64)


def make_taps(capture: Capture | None) -> Taps | None:
    """Return a capture's kernel as 2 terms x 2 x 4s at scale s, or None for the bicubic kernel."""
    if capture is None or capture.source == "bicubic":
        return None
    terms = _stack_terms(capture)
    taps = np.zeros((2, 2, 4 * capture.scale), np.float32)
    taps[: len(terms)] = terms
    return taps


def join_capture(capture: Capture) -> NDArray[np.float64]:
    """Return a capture's kernel as one matrix (4s x 4s at scale s) with sum 1."""
    terms = _stack_terms(capture)
    return np.asarray(np.einsum("ti,tj->ij", terms[:, 0], terms[:, 1]), np.float64)


def make_transform(capture: Capture | None) -> ColourTransform | None:
    """Return the transform from the reference's colours to the input's; None if there is none."""
    if capture is None or capture.colour is None:
        return None
    return ColourTransform(np.array(capture.colour.curves), np.array(capture.colour.matrix))


class ReferenceFitter:
    """Fits the references of a plan to the network's grid, in the colours of the input."""

    def __init__(self, plan: Plan) -> None:
        self._reference = plan.reference
        self._size = plan.network_size
        self._transform = make_transform(plan.capture)

    def convert(self, picture: Pixels) -> Pixels:
        """Return a reference (H' x W' x 3) in the input's colours.

        The picture itself is returned if the colours agreed or were not measured.
        """
        return picture if self._transform is None else transform_picture(picture, self._transform)

    def fit(self, converted: Pixels, lr: Pixels) -> Pixels:
        """Return a converted reference at the network's size, with the bit depth of `lr`.

        If the plan requires it, the reference's colours are also matched to those of `lr`.
        """
        return prepare_reference(
            converted,
            lr,
            *self._size,
            affine=self._reference.affine,
            match_colour=self._reference.match_colour,
        )


def describe_estimate(found: CaptureEstimate, kind: str) -> str:
    """Return a clause about an estimate, with `kind` as the word for its pictures ("view")."""
    count = len(found.pairs)
    if found.fits_db is None or found.bicubic_db is None:
        text = f"nothing is measured, because {found.reason}; the bicubic kernel is assumed"
    else:
        text = f"measured at {count} {kind}{'s' if count > 1 else ''}, "
        if found.taps is None:
            text += (
                f"where {found.reason}, so the bicubic kernel is kept ({found.bicubic_db:.1f} dB)"
            )
        else:
            right, down = found.shift
            text += (
                f"where a kernel {found.width:.1f} LR pixels wide, shifted by ({right:.2f}, "
                f"{down:.2f}) pixels, fits the input to {found.fits_db:.1f} dB (bicubic: "
                f"{found.bicubic_db:.1f} dB)"
            )
    if found.colour is not None:
        text += "; the colours of the reference are converted to the input's"
    if found.dropped and found.pairs:
        reasons = ", ".join(sorted(set(found.dropped.values())))
        text += f"; {len(found.dropped)} of {len(found.dropped) + count} left out ({reasons})"
    return text
