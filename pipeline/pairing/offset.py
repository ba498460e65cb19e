"""Estimate the offset and drift between two recordings from their sound or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PairingError
from pipeline.media.read.sound import LEVELS_PER_SECOND, Loudness
from pipeline.pairing.thumbnails import AnyThumbnails

Numbers = NDArray[np.float64]

DENSE = 0.11  # seconds; longest interval between frames at which motion can be followed (9 fps)
BLOCK = 30.0  # seconds of a long recording that are matched at once; clocks hardly drift meanwhile
MOST_BLOCKS = 24
LEAST_SHARE = 0.3  # minimum share of the shorter recording that must overlap the other
LEAST_SAMPLES = 24
# Minimum correlation of motion. It is 0.76 to 0.99 between a clip and a crop of it in different
# colours, and at most 0.56 between unrelated clips.
LEAST_MOTION = 0.65
# Minimum correlation of pictures minus their mean. It is 0.6 or more for key frames of the same
# recording, and at most 0.3 between unrelated clips.
LEAST_LOOKS = 0.5
# Minimum lead of the best offset's correlation over any offset that is more than half a second away
# (farther for pictures of a long recording, which change slowly).
LEAST_LEAD = 0.05
# Minimum correlation between the onsets in two audio tracks, and its minimum lead over other
# offsets.
LEAST_SOUND = 0.3
LEAST_SOUND_LEAD = 0.15
LEAST_SOUND_SECONDS = 2
SILENCE = 1e-9  # -90 dB, as a mean square of samples between -1 and 1
MOST_DRIFT = 0.02
MOST_KEYS = 300
MOST_FRAMES = 3000  # frames that the coarse search uses; the fine search uses all


@dataclass(frozen=True)
class _Match:
    """The shift in seconds that aligns two recordings best.

    `score` is its correlation, and `lead` is how far that exceeds the correlation of other shifts.
    """

    shift: float
    score: float
    lead: float


def estimate_offset(
    lr: AnyThumbnails, lr_seconds: Sequence[float], ref: AnyThumbnails, ref_seconds: Sequence[float]
) -> tuple[float, float]:
    """Return (offset, drift), where input time = drift x reference time + offset, in seconds.

    Two videos are matched by their amount of motion over time, which hardly depends on their fields
    of view and colours. Sparse pictures such as key frames, and videos whose motion does not
    match, are matched by their content. Raises PairingError if either recording has fewer than two
    pictures, or if no offset stands out.
    """
    times = np.asarray(lr_seconds, np.float64)
    at = np.asarray(ref_seconds, np.float64)
    if len(times) < 2 or len(at) < 2:
        raise _make_overlap_error("one of them has fewer than two pictures")
    step = float(max(np.median(np.diff(times)), np.median(np.diff(at))))
    if step <= DENSE:
        found = _match_motion(lr, times, ref, at, step)
        if found is not None:
            return found
    return _match_looks(lr, times, ref, at)


def _make_overlap_error(reason: str) -> PairingError:
    return PairingError(
        f"cannot align the reference with the input ({reason}); check that both show the same "
        "moments, or try --ref-offset SECONDS"
    )


def _match_motion(
    lr: AnyThumbnails, times: Numbers, ref: AnyThumbnails, at: Numbers, step: float
) -> tuple[float, float] | None:
    """Return the offset and drift from the amount of motion, or None if no match is certain.

    Long recordings are matched block by block.
    """
    ours = _measure_motion(lr, times, step)
    theirs = _measure_motion(ref, at, step)
    start = (float(times[0]), float(at[0]))
    return _match_series(ours, theirs, step, start, LEAST_MOTION)


def estimate_sound_offset(lr: Loudness, ref: Loudness) -> tuple[float, float] | None:
    """Return the offset and drift between two audio tracks, or None if no match is certain.

    The tracks are matched by the moments at which they become louder, which hardly depend on the
    microphone's position and level.
    """
    ours = _find_onsets(lr)
    theirs = _find_onsets(ref)
    if min(len(ours), len(theirs)) < LEAST_SOUND_SECONDS * LEVELS_PER_SECOND:
        return None
    return _match_series(
        ours, theirs, 1 / LEVELS_PER_SECOND, (lr.start, ref.start), LEAST_SOUND, LEAST_SOUND_LEAD
    )


def _find_onsets(sound: Loudness) -> Numbers:
    """Return the rise in loudness from each window to the next, minus the mean of all rises.

    Where the sound becomes quieter, the rise is 0. Loudness is the logarithm of the sum of the
    energy and the background's energy. The result is empty for silence.
    """
    levels = np.asarray(sound.levels, np.float64)
    if not len(levels) or levels.max() < SILENCE:
        return np.zeros(0)
    floor = max(float(np.percentile(levels, 20)), SILENCE)
    loud = np.log(levels + floor)
    # padding with zeros would add an onset at the start of every recording
    smooth = np.convolve(np.pad(loud, 1, "edge"), np.ones(3) / 3, "valid")
    rise = np.maximum(np.diff(smooth, prepend=smooth[0]), 0.0)
    return np.asarray(rise - rise.mean(), np.float64)


def _match_series(
    ours: Numbers,
    theirs: Numbers,
    step: float,
    start: tuple[float, float],
    least_score: float,
    least_lead: float = LEAST_LEAD,
) -> tuple[float, float] | None:
    """Return the offset and drift between two series, or None if no match is certain.

    Samples are `step` seconds apart; `start` contains the time of each series' first sample.
    """

    def is_sure(match: _Match, samples: int) -> bool:
        return _is_sure(match, samples, least_score, least_lead)

    shorter = min(len(ours), len(theirs))
    if shorter < LEAST_SAMPLES:
        return None
    if shorter * step <= 2 * BLOCK:
        least = round(LEAST_SHARE * shorter)
        match = _correlate_series(ours, theirs, step, least)
        return (start[0] - start[1] + match.shift, 1.0) if is_sure(match, least) else None

    turned = len(theirs) > len(ours)
    whole, cut = (theirs, ours) if turned else (ours, theirs)
    length = round(BLOCK / step)
    starts = np.unique(np.linspace(0, len(cut) - length, MOST_BLOCKS).astype(int))
    points = []
    for first in starts:
        match = _correlate_series(whole, cut[first : first + length], step, length)
        if is_sure(match, length):
            middle = (first + length / 2) * step
            points.append((middle, middle - first * step + match.shift))
    if turned:
        points = [(y, x) for x, y in points]
    if len(points) < 3:
        return None
    return _fit_line(np.array(points) + np.array([start[1], start[0]]))


def _measure_motion(thumbnails: AnyThumbnails, seconds: Numbers, step: float) -> Numbers:
    """Return the logarithm of the change in each step of `step` seconds, minus its moving average.

    The moving average covers one second. The result is empty if there are too few steps.
    """
    steps = [np.linalg.norm(b.astype(np.float32) - a) for a, b in pairwise(thumbnails)]
    path = np.concatenate([[0.0], np.cumsum(np.asarray(steps, np.float64))])
    grid = np.arange(seconds[0], seconds[-1] + step / 2, step)
    change = np.diff(np.interp(grid, seconds, path))
    if len(change) < LEAST_SAMPLES:
        return np.zeros(0)
    level = np.log(change + 0.1 * float(np.median(change)) + 1e-4)
    around = min(2 * round(0.5 / step) + 1, len(level))
    kernel = np.ones(around)
    mean = np.convolve(level, kernel, "same") / np.convolve(np.ones(len(level)), kernel, "same")
    return np.asarray(level - mean, np.float64)


def _correlate_series(whole: Numbers, part: Numbers, step: float, least: int) -> _Match:
    """Return the shift of `part` that matches `whole` best, by normalised correlation.

    At least `least` samples, which are `step` seconds apart, must overlap.
    """
    size = 1 << int(np.ceil(np.log2(len(whole) + len(part))))

    def correlate(a: Numbers, b: Numbers) -> Numbers:
        product = np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size))
        return np.roll(np.fft.irfft(product, size), len(part) - 1)[: len(whole) + len(part) - 1]

    count = correlate(np.ones(len(whole)), np.ones(len(part)))
    energy = correlate(whole**2, np.ones(len(part))) * correlate(np.ones(len(whole)), part**2)
    score: Numbers = np.asarray(correlate(whole, part) / np.sqrt(np.maximum(energy, 1e-9)))
    score[count < least - 0.5] = np.nan
    shifts = np.arange(1 - len(part), len(whole), dtype=np.float64) * step
    return _find_peak(score, np.asarray(shifts, np.float64), step)


def _find_peak(scores: Numbers, shifts: Numbers, step: float, *, near: float = 0.5) -> _Match:
    """Return the best shift, to a fraction of a step, with its score and lead.

    The lead is over all shifts that are more than `near` seconds away from the best.
    """
    if not np.isfinite(scores).any():
        return _Match(0.0, -1.0, 0.0)
    best = int(np.nanargmax(scores))
    away = scores[(np.abs(shifts - shifts[best]) > near) & np.isfinite(scores)]
    lead = float(scores[best] - away.max()) if len(away) else 0.0
    fraction = 0.0
    if 0 < best < len(scores) - 1:
        left, middle, right = scores[best - 1 : best + 2]
        bend = left - 2 * middle + right
        if np.isfinite(bend) and bend < 0:
            fraction = float(0.5 * (left - right) / bend)
    # ignore a small fraction, because recordings with the same frame rate share one grid
    fraction = 0.0 if abs(fraction) < 0.15 else float(np.clip(fraction, -0.5, 0.5))
    return _Match(float(shifts[best]) + fraction * step, float(scores[best]), lead)


def _is_sure(match: _Match, samples: int, least_score: float, least_lead: float) -> bool:
    # for pure noise, the best of many shifts reaches this correlation by chance
    chance = 4.5 / float(np.sqrt(max(samples, 1)))
    return match.score >= max(least_score, min(chance, 0.9)) and match.lead >= least_lead


def _fit_line(points: Numbers) -> tuple[float, float] | None:
    """Return (offset, drift) of a line through points (N x 2: reference and input time).

    The points that agree with the Theil-Sen line (whose slope is the median over all pairs of
    points) are fitted by least squares. The result is None if too few agree.
    """
    at, times = points[:, 0], points[:, 1]
    i, j = np.triu_indices(len(points), 1)
    apart = np.abs(at[j] - at[i]) > 1e-3
    slopes = (times[j] - times[i])[apart] / (at[j] - at[i])[apart]
    slopes = slopes[np.abs(slopes - 1) < MOST_DRIFT]
    if not len(slopes):
        return None
    drift = float(np.median(slopes))
    offset = float(np.median(times - drift * at))
    agree = np.abs(drift * at + offset - times) < 0.15
    if agree.sum() < max(3, len(points) / 2):
        return None
    drift, offset = (float(v) for v in np.polyfit(at[agree], times[agree], 1))
    return offset, drift


def _match_looks(
    lr: AnyThumbnails, times: Numbers, ref: AnyThumbnails, at: Numbers
) -> tuple[float, float]:
    """Return the offset and drift at which the pictures look most alike.

    The coarse search subtracts the mean of the input's pictures first. The drift of a long
    reference is estimated from its first and last thirds. Raises PairingError if no offset stands
    out.
    """
    picked = np.unique(np.linspace(0, len(at) - 1, MOST_KEYS).astype(int))
    keys = ref[picked]
    at = at[picked]
    seen = np.unique(np.linspace(0, len(times) - 1, MOST_FRAMES).astype(int))
    mean = lr[seen].astype(np.float32).mean(0)
    coarse = _Looks(lr[seen], times[seen], keys, at, mean)
    shifts = np.arange(times[0] - at[-1], times[-1] - at[0] + coarse.step / 2, coarse.step)
    scores = np.array([coarse.rate(shift) for shift in shifts])
    # a view that hardly changes scores about the same at neighbouring offsets
    near = float(np.clip(0.03 * (times[-1] - times[0]), 0.5, 30.0))
    match = _find_peak(scores, shifts, coarse.step, near=near)
    if match.score < LEAST_LOOKS or match.lead < LEAST_LEAD:
        raise _make_overlap_error(
            f"the best offset has a correlation of {match.score:.2f} and leads by "
            f"{match.lead:.2f}, but needs {LEAST_LOOKS} and {LEAST_LEAD}"
        )
    fine = _Looks(lr, times, keys, at, np.zeros_like(mean))
    reach = max(1.0, coarse.step)
    offset = fine.refine(match.shift, reach)
    third = len(at) // 3
    if third < 4 or at[-1] - at[0] < 20:
        return offset, 1.0
    ends = [slice(0, third), slice(len(at) - third, len(at))]
    moved = [_Looks(lr, times, keys[e], at[e], fine.mean).refine(offset, reach) for e in ends]
    if abs(moved[1] - moved[0]) < 2 * fine.step:
        return offset, 1.0
    first, last = (float(at[end].mean()) for end in ends)
    slope = (moved[1] - moved[0]) / (last - first)
    return moved[0] - slope * first, 1.0 + slope


class _Looks:
    """Correlates references with the frames at the same times, for any shift of the references."""

    def __init__(
        self,
        lr: AnyThumbnails,
        times: Numbers,
        ref: NDArray[np.float16],
        at: Numbers,
        mean: NDArray[np.float32],
    ) -> None:
        self.mean = mean
        self.step = float(np.median(np.diff(times)))
        self._lr = lr
        self._times = times
        self._at = at
        self._ref = ref.astype(np.float32) - mean
        share = min(1.0, (times[-1] - times[0]) / max(float(np.ptp(at)), 1e-6))
        self._least = max(2.0, LEAST_SHARE * share * len(at))

    def rate(self, shift: float) -> float:
        """Return the correlation if the references are shifted by `shift` seconds.

        The result is NaN if too few references overlap the frames.
        """
        times = self._times
        moved = self._at + shift
        inside = (moved > times[0] - self.step / 2) & (moved < times[-1] + self.step / 2)
        if inside.sum() < self._least:
            return float("nan")
        after = np.clip(np.searchsorted(times, moved[inside]), 1, len(times) - 1)
        nearer = moved[inside] - times[after - 1] < times[after] - moved[inside]
        ours = self._lr[np.where(nearer, after - 1, after)].astype(np.float32) - self.mean
        theirs = self._ref[inside]
        energy = float((ours**2).sum() * (theirs**2).sum())
        return float((ours * theirs).sum() / np.sqrt(energy + 1e-9))

    def refine(self, shift: float, reach: float) -> float:
        """Return the best shift within `reach` seconds of `shift`; `shift` if none can be rated."""
        count = round(reach / self.step)
        near = shift + np.arange(-count, count + 1) * self.step
        rated = np.array([self.rate(moved) for moved in near])
        return float(near[int(np.nanargmax(rated))]) if np.isfinite(rated).any() else shift
