"""Choose between the shipped weights of a network by how faithful a recording is."""

from __future__ import annotations

# Fit in dB of the measured capture, below which LR counts as compressed or noisy. Measured with
# pixel means at x4: without a codec, the fit is 51 dB or more; at crf 12, 43 to 44; at crf 16, 40
# to 41. There the weights for recordings gain 0.4 and 1.2 dB on coffee and frog. Closer to no loss
# they gain less, and lose where the reference is far away.
LEAST_FAITHFUL = 42.0

RECORDED = {"fast": "fast-recorded"}  # weights -> their variant for compressed or noisy recordings


def choose_weights(model: str, fits_db: float | None) -> str:
    """Return the shipped weights for a recording: `model`, or its variant for recordings.

    `fits_db` is the fit of the measured capture, or None if nothing was measured; then, and for
    models without a variant, `model` is returned.
    """
    if model not in RECORDED or fits_db is None or fits_db >= LEAST_FAITHFUL:
        return model
    return RECORDED[model]
