"""The key frames of a plan: frames or views that the reference shows at high resolution."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from crossnetpp.adaptation import KeyFrame
from crossnetpp.capture.estimate import find_shift, list_unmoved
from crossnetpp.capture.moments import get_luma, reduce_plane
from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import Taps, join_taps, make_bicubic_taps
from pipeline.pairing.capture import ReferenceFitter, list_common_instants, make_taps
from pipeline.pairing.edits.frames import open_edited
from pipeline.pairing.field_of_view import read_pairs
from pipeline.pairing.fit import find_seen_part, fit_to_grid
from pipeline.pixels import Picture, Pixels, to_8_bit
from pipeline.schema.adaptation import KeyPair
from pipeline.schema.clip import LightField
from pipeline.schema.plan import Plan

MOST_KEYS = 32
# Pixels of all key frames together. Each counts with the network's size or the reference's,
# whichever is larger.
MOST_PIXELS = 200_000_000
RUN_LENGTH = 8  # consecutive key frames that form a group in a long recording
LEAST_KEYS = 3
LEAST_AGREEMENT = 24.0  # PSNR in dB between LR and the downscaled reference

PicturePairs = dict[tuple[int, int], tuple[Pixels, Pixels]]


def list_key_pairs(plan: Plan) -> list[KeyPair]:
    """Return the frames or views of the plan that a reference shows at high resolution.

    If there are too many, return only groups of consecutive ones, spread over the recording.
    """
    choices = list_common_instants(plan.input, plan.reference, plan.reference_map)
    numbers = {choice.pts: number for number, choice in enumerate(plan.reference_map.in_order())}
    is_clip = not isinstance(plan.input, LightField)
    pairs = [
        KeyPair(
            pts=choice.pts,
            ref_pts=choice.ref_pts,
            position=numbers[choice.pts],
            scene=bisect_right(plan.cuts, choice.pts) if is_clip else 0,
        )
        for choice in choices
        if choice.ref_pts is not None
    ]
    ref = plan.reference.clip
    largest = max(math.prod(plan.network_size), ref.width * ref.height)
    most = min(MOST_KEYS, MOST_PIXELS // largest)
    return pick_groups(pairs, max(LEAST_KEYS, most))


def pick_groups(pairs: Sequence[KeyPair], most: int) -> list[KeyPair]:
    """Return at most `most` pairs, in groups of neighbours spread evenly over all pairs."""
    if len(pairs) <= most:
        return list(pairs)
    groups = max(1, most // RUN_LENGTH)
    length = most // groups
    starts = np.linspace(0, len(pairs) - length, groups).round().astype(int)
    picked = sorted({int(start) + i for start in starts for i in range(length)})
    return [pairs[number] for number in picked]


def find_taps(plan: Plan) -> Taps:
    """Return the kernel that downscales HR to LR; it is bicubic if the plan has no capture."""
    taps = make_taps(plan.capture)
    return make_bicubic_taps(plan.scale) if taps is None else taps


def read_key_frames(plan: Plan, pairs: Sequence[KeyPair]) -> list[KeyFrame]:
    """Return the key frames on the network's grid, in the colours of LR, as 8-bit pictures.

    The pictures are cropped to the part that the reference shows. A pair is left out if one of its
    pictures is corrupt, if the two differ too much, or if something moved between them.
    """
    pictures = read_pairs(plan.input, plan.reference.clip, [(p.pts, p.ref_pts) for p in pairs])
    fitter = ReferenceFitter(plan)
    taps = find_taps(plan)
    bicubic = join_taps(make_bicubic_taps(plan.scale))

    if plan.reference.trusted is not None:
        pictures = _edit_inputs(plan, pictures)

    keys: list[KeyFrame] = []
    shifts: list[tuple[float, float]] = []
    for pair in pairs:
        found = pictures.pop((pair.pts, pair.ref_pts), None)
        if found is None:
            continue
        lr, picture = found
        picture = fitter.convert(picture)
        small, large = _crop_to_seen(plan, lr, fitter.fit(picture, lr), picture)
        if not min(small.shape[:2]):
            continue
        if measure_agreement(small, large, taps) >= LEAST_AGREEMENT:
            keys.append(KeyFrame(small, large, pair.position, pair.scene))
            shifts.append(find_shift(get_luma(small), reduce_plane(get_luma(large), bicubic)))

    still = list_unmoved(shifts)
    return [keys[number] for number in still]


def _edit_inputs(plan: Plan, pictures: PicturePairs) -> PicturePairs:
    """Return the pairs with the edits of the trusted key frames applied to the input's frames.

    A run edits its LR frames in the same way.
    """
    with open_edited(plan) as edited:
        return {(pts, ref): (edited.get(pts), hr) for (pts, ref), (_, hr) in pictures.items()}


def _crop_to_seen(plan: Plan, lr: Pixels, hr: Pixels, picture: Pixels) -> tuple[Picture, Picture]:
    """Return LR and HR as 8-bit pictures, cropped to the part that the reference `picture` shows.

    `hr` is `picture` fitted to the network's grid. The result may be empty.
    """
    size = plan.network_size
    seen = None
    if plan.reference.affine is not None:
        _, seen = fit_to_grid(picture, *size, plan.reference.affine)
    top, left, bottom, right = find_seen_part(seen, size) or (0, 0, 0, 0)

    # round inwards to whole LR pixels
    scale = plan.scale
    top, left = -(-top // scale), -(-left // scale)
    bottom, right = max(top, bottom // scale), max(left, right // scale)
    small = to_8_bit(lr[top:bottom, left:right])
    large = to_8_bit(hr[top * scale : bottom * scale, left * scale : right * scale])
    return small, large


def measure_agreement(lr: Picture, hr: Picture, taps: Taps) -> float:
    """Return the PSNR in dB between LR (h x w x 3) and HR (H x W x 3) downscaled with `taps`."""
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(hr)).permute(2, 0, 1)[None].float()
    scale = hr.shape[0] // lr.shape[0]
    reduced = reduce_antialiased(planes, scale, torch.from_numpy(taps))[0].permute(1, 2, 0)
    error = float(np.square(reduced.numpy() - lr).mean())
    return float(10 * np.log10(255**2 / max(error, 1e-6)))
