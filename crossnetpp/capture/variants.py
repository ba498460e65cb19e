"""Decisions based on how well the measured kernel fits: which weights to use, and which kernel."""

from __future__ import annotations

from dataclasses import replace

from crossnetpp.capture.estimate import CaptureEstimate
from crossnetpp.capture.kernels import measure_shift, measure_width
from crossnetpp.networks.taps import join_taps, make_bicubic_taps

# Fit of the measured capture in dB below which LR counts as compressed or noisy. Measured with
# pixel means at x4 on frog, coffee and bug: without a codec, the fit is 51 dB or more; at crf 8, it
# is 45 to 46 dB, and at crf 14, 39 to 42 dB. With two key frames, `fast-recorded` then gains 0.2 dB
# more than `fast` on average at crf 8, and 0.3 dB more at crf 14 (three frames per clip; not in
# jobs/results).
LEAST_FAITHFUL = 46.0

# Widest kernel in LR pixels that is trusted for a lightly compressed recording, and the fit in dB
# below which compression is no longer light. At crf 20, the kernels of the evaluation clips have
# widths of 1.0 to 1.46, or 1.91 to 1.96 if an unsharp mask sharpened the key frames. A soft lens
# also makes kernels this wide, but using such a kernel for sharpened key frames costs more than
# using the bicubic kernel for a soft lens: on three frames of frog, the gain over bicubic
# falls from +1.2 to -1.3 dB (not in jobs/results). At crf 28, a wide kernel is no evidence of
# sharpening, because the codec alone makes kernels wide; `fast-recorded` also borrows less there.
WIDEST = 1.7
LIGHTLY_COMPRESSED = 36.0

# weights -> variant for compressed or noisy recordings
RECORDED = {"fast": "fast-recorded", "fast-quick": "fast-recorded-quick"}

QUICK = {name: f"{name}-quick" for name in ("fast", "fast-recorded")}  # weights -> quicker variant
USUAL = {quick: name for name, quick in QUICK.items()}  # quicker variant -> weights


def choose_weights(model: str, fits_db: float | None) -> str:
    """Return the shipped weights for a recording: `model`, or its variant for recordings.

    `fits_db` is the fit of the measured capture in dB, or None if nothing was measured. The result
    is `model` if `fits_db` is None, if the fit is good, or if `model` has no variant.
    """
    if model not in RECORDED or fits_db is None or fits_db >= LEAST_FAITHFUL:
        return model
    return RECORDED[model]


def refuse_wide_kernel(found: CaptureEstimate) -> CaptureEstimate:
    """Return the estimate, but with the bicubic kernel if HR may have been sharpened.

    If a codec has smoothed LR, a soft LR lens cannot be distinguished from HR that was sharpened
    with an unsharp mask narrower than an LR pixel. If HR was sharpened, the measured kernel would
    make all borrowed detail too strong.
    """
    if found.taps is None or found.fits_db is None or found.width <= WIDEST:
        return found
    if not LIGHTLY_COMPRESSED <= found.fits_db < LEAST_FAITHFUL:
        return found

    bicubic = join_taps(make_bicubic_taps(found.scale))
    return replace(
        found,
        taps=None,
        shape="bicubic",
        shift=measure_shift(bicubic),
        width=measure_width(bicubic),
        reason="the HR pictures may be sharpened",
    )
