"""The sentences in a plan's notes that describe its effort, and which of them are true."""

from __future__ import annotations

AVERAGED = (
    "--effort best: the network enhances every frame in four mirrored versions and averages them, "
    "which takes at least four times as long"
)
NOT_MIXED = "the network's frames are not mixed with those of optical flow"
_MIXED = "the network's frames are mixed with those of optical flow"
_COMPRESSED = (
    "--effort best: optical flow is not mixed in, because the input is compressed or noisy"
)
_NO_EFFECT = "--effort best: no effect, because "
_ALL = (AVERAGED, NOT_MIXED, _MIXED, _COMPRESSED, _NO_EFFECT)


def describe_mix(fits_db: float | None) -> str:
    """Return the note of a plan that mixes frames with those of optical flow.

    `fits_db` is the PSNR, in dB, at which the measured capture reproduces the input, or None if
    nothing was measured.
    """
    why = "as requested" if fits_db is None else "because the input is nearly lossless"
    return f"{_MIXED}, {why}"


def describe_best(fits_db: float | None, *, mixes_flow: bool) -> tuple[str, ...]:
    """Return the notes of a plan for `--effort best`; `fits_db` is as for `describe_mix`.

    Without `mixes_flow`, the input is compressed or noisy.
    """
    if mixes_flow:
        return AVERAGED, describe_mix(fits_db)
    measured = (
        "" if fits_db is None else f" (downscaled key frames match it to only {fits_db:.1f} dB)"
    )
    return AVERAGED, f"{_COMPRESSED}{measured}"


def describe_no_effect(engine: str) -> str:
    """Return the note of a plan for `--effort best` that trusts key frames or uses no network."""
    if engine == "bicubic":
        return f"{_NO_EFFECT}the engine bicubic uses no network"
    return f"{_NO_EFFECT}it cannot be combined with --trust-reference"


def select_effort_notes(
    notes: tuple[str, ...], *, mixes_flow: bool, averages_mirrored: bool
) -> tuple[str, ...]:
    """Return the notes about the effort that are true of a plan with these two fields.

    The note that `--effort best` has no effect is omitted, because it concerns the effort of an
    earlier command.
    """
    false = (
        _NO_EFFECT,
        NOT_MIXED if mixes_flow else _MIXED,
        *(() if averages_mirrored else (AVERAGED,)),
        *(() if averages_mirrored and not mixes_flow else (_COMPRESSED,)),
    )
    return tuple(note for note in notes if note.startswith(_ALL) and not note.startswith(false))


def replace_effort_notes(notes: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes with `new` at their end instead of those about the effort."""
    others = (note for note in notes if not note.startswith(_ALL))
    return tuple(dict.fromkeys((*others, *new)))


def copy_effort_notes(notes: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """Return `notes` with the sentences about the effort from `other` instead of their own."""
    return replace_effort_notes(notes, tuple(note for note in other if note.startswith(_ALL)))
