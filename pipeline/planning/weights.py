"""Choose between the shipped weights by how faithful the input is."""

from __future__ import annotations

from crossnetpp.capture.variants import choose_weights


def choose_model(model: str, fits_db: float | None) -> tuple[str, str]:
    """Return the name of the weights for an input, and a note if it is not `model`.

    `fits_db` is the fit of the measured capture in dB, or None if nothing was measured.
    """
    chosen = choose_weights(model, fits_db)
    if chosen == model:
        return model, ""
    return chosen, (
        f"weights: {chosen}, because the input is compressed or noisy: the reduced key frames "
        f"match it to only {fits_db:.1f} dB"
    )
