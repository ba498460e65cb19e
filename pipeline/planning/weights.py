"""Choose between the shipped weights, by the fit of the measured capture and by the effort."""

from __future__ import annotations

from pathlib import Path

from crossnetpp.capture.variants import QUICK, USUAL, choose_weights

_WEIGHTS = "weights: "


def choose_model(model: str, fits_db: float | None) -> tuple[str, str]:
    """Return the name of the weights for an input, and a note, which is "" if the name is `model`.

    `fits_db` is the PSNR, in dB, at which the measured capture reproduces the input, or None if no
    capture was measured.
    """
    chosen = choose_weights(model, fits_db)
    if chosen == model:
        return model, ""
    return chosen, describe_weights(
        chosen,
        "because the input is compressed or noisy: the key frames, reduced to its size, match it "
        f"to only {fits_db:.1f} dB",
    )


def change_model(model: str, effort: str) -> tuple[str, str]:
    """Return the weights of a stored plan whose `--effort` is replaced, and a note (may be "").

    `model` is the plan's. With the effort "auto", the plan decides.
    """
    variants = QUICK if effort == "fast" else USUAL
    if effort == "auto" or model not in variants:
        return model, ""
    return variants[model], describe_weights(
        variants[model],
        f"instead of {model}, because of --effort {effort}; the plan still decides the number of "
        "references per frame",
    )


def describe_weights(model: str, reason: str) -> str:
    """Return a note about the weights `model`, a name or path."""
    return f"{_begin_note(model)}{reason}"


def drop_weights_notes(notes: tuple[str, ...], model: str | None) -> tuple[str, ...]:
    """Return the notes without those about other weights than `model`; None means no weights."""
    true = () if model is None else (_begin_note(model),)
    return tuple(note for note in notes if not note.startswith(_WEIGHTS) or note.startswith(true))


def _begin_note(model: str) -> str:
    return f"{_WEIGHTS}{Path(model).name}, "
