"""Choose between the shipped weights by how well the input matches the measured capture."""

from __future__ import annotations

from crossnetpp.capture.variants import choose_weights


def choose_model(model: str, fits_db: float | None) -> tuple[str, str]:
    """Return the name of the weights for an input, and a note, which is "" if the name is `model`.

    `fits_db` is the PSNR, in dB, at which the measured capture reproduces the input, or None if no
    capture was measured.
    """
    chosen = choose_weights(model, fits_db)
    if chosen == model:
        return model, ""
    return chosen, (
        f"weights: {chosen}, because the input is compressed or noisy: the key frames, reduced to "
        f"its size, match it to only {fits_db:.1f} dB"
    )
