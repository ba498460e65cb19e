"""Outputs that are numbered pictures: what was asked for, and which folder may hold them."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield.intermediate import as_stills
from pipeline.media.pictures.exr import SUFFIX as EXR
from pipeline.media.pictures.numbered import WRITTEN, split_pattern, stranger
from pipeline.schema.clip import Clip, LightField, Recording, VideoClip
from pipeline.schema.plan import Plan
from pipeline.schema.settings import EncoderSettings, OutputSettings

_OF_ENCODERS = ("codec", "crf", "quality", "preset", "pix_fmt")


def wanted_pictures(
    settings: OutputSettings, encoder: EncoderSettings, lr: Recording
) -> tuple[Path, str] | None:
    """Return folder and name pattern where `-o` asks for numbered pictures, None where not.

    Raises InputError for options, and for names, that do not go with them.
    """
    if settings.output is None or isinstance(lr, LightField):
        return None
    found = split_pattern(settings.output)
    suffix = Path(settings.output).suffix
    if found is None:
        if isinstance(lr, VideoClip) and suffix.lower() in WRITTEN:
            raise InputError(
                f"found one {suffix} as the output of a video, expected a name with a place for "
                f"numbers, or a video's; try {Path(settings.output).with_suffix('')}/%06d{suffix}"
            )
        return None
    if given := [name for name in _OF_ENCODERS if getattr(encoder, name) is not None]:
        raise InputError(
            f"found --{given[0].replace('_', '-')} for pictures, expected none: they lose nothing; "
            "leave it out, or give -o the name of a video"
        )
    return found


def stored_as(clip: Clip, pictures: tuple[Path, str] | None) -> Clip:
    """Return how the frames are stored until they are joined: pictures as RGB without loss."""
    if pictures is None:
        return clip
    keeps_alpha = clip.alpha and not pictures[1].lower().endswith(EXR)
    return as_stills(clip).model_copy(update={"alpha": keeps_alpha})


def replace_output(
    plan: Plan, settings: OutputSettings, encoder: EncoderSettings
) -> dict[str, str]:
    """Return what changes in a plan by `-o` beside it; raises InputError where it cannot."""
    if settings.output is None:
        return {}
    pictures = wanted_pictures(settings, encoder, plan.input)
    if (pictures is None) != (not plan.pictures):
        there, here = ("pictures", "a video") if plan.pictures else ("a video", "pictures")
        raise InputError(
            f"found -o {settings.output}, {here}, beside a plan for {there}, expected the same; "
            "make the plan anew"
        )
    if pictures is None:
        return {"output": str(Path(settings.output).absolute())}
    exr = [name.lower().endswith(EXR) for name in (plan.pictures, pictures[1])]
    if plan.input.alpha and exr[0] != exr[1]:
        raise InputError(
            f"found -o {settings.output} beside a plan for {plan.pictures}, expected the same kind "
            "of pictures: EXR drops the transparency; make the plan anew"
        )
    return {"output": str(pictures[0]), "pictures": pictures[1]}


def check_folder(folder: Path, pattern: str) -> None:
    """Raise InputError for what is no folder of such pictures, and must not be replaced."""
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(
            f"found a file at {folder}, expected a folder for {pattern}, or none; try another -o"
        )
    if other := stranger(folder, pattern):
        raise InputError(
            f"found {other} in {folder}, expected a folder for pictures named {pattern} alone; "
            "try another -o"
        )


def check_measurable(plan: Plan) -> None:
    """Refuse, before the run, a ground truth for pictures that cannot be held against it."""
    why = "EXR pictures" if plan.pictures.lower().endswith(EXR) else ""
    if plan.pictures and plan.input.rotation:
        why = f"pictures that are turned by {plan.input.rotation} degrees"
    if why:
        raise InputError(
            f"found --ground-truth for {why}, expected PNG or TIFF of a video that is shown as it "
            "is stored; leave it out"
        )
