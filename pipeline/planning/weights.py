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
    if effort == "fast" and model not in (*QUICK, *USUAL):
        reason = "as in the plan, because it has no smaller variant for --effort fast"
        return model, describe_weights(model, reason)
    if effort == "auto" or model not in variants:
        return model, ""
    return variants[model], describe_weights(
        variants[model],
        f"instead of {model}, because of --effort {effort}; the plan still decides the number of "
        "references per frame",
    )


def describe_file(model: str, adapt: object, effort: str) -> str:
    """Return a note if `--adapt` names the file `model` although `--effort` is fast, else "".

    The file contains the weights of one network, so no smaller one can be used.
    """
    if effort != "fast" or not isinstance(adapt, str) or model != str(Path(adapt).absolute()):
        return ""
    return describe_weights(
        model, "the file of --adapt, which decides the network even with --effort fast"
    )


def describe_weights(model: str, reason: str) -> str:
    """Return a note about the weights `model`, a name or path."""
    return f"{_begin_note(model)}{reason}"


def drop_weights_notes(notes: tuple[str, ...], model: str | None, effort: str) -> tuple[str, ...]:
    """Return the notes without those about weights that do not apply to a changed plan.

    Notes about other weights than `model` (None means no weights) are dropped. Unless `effort` is
    "auto", so are notes about another effort.
    """

    def applies(note: str) -> bool:
        is_about_model = model is not None and note.startswith(_begin_note(model))
        is_about_effort = effort == "auto" or "--effort" not in note or f"--effort {effort}" in note
        return is_about_model and is_about_effort

    return tuple(note for note in notes if not note.startswith(_WEIGHTS) or applies(note))


def _begin_note(model: str) -> str:
    return f"{_WEIGHTS}{Path(model).name}, "
