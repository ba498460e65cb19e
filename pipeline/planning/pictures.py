"""Check the name pattern and the folder of outputs that are numbered pictures."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield.intermediate import as_stills
from pipeline.media.pictures.exr import SUFFIX as EXR
from pipeline.media.pictures.numbered import LOSSLESS_SUFFIXES, find_foreign_file, split_pattern
from pipeline.schema.clip import Clip, LightField, Recording, VideoClip
from pipeline.schema.plan import Plan
from pipeline.schema.settings import EncoderSettings, OutputSettings

# Settings that do not apply to pictures.
_VIDEO_ONLY = ("codec", "crf", "quality", "preset", "pix_fmt")


def wanted_pictures(
    settings: OutputSettings, encoder: EncoderSettings, lr: Recording
) -> tuple[Path, str] | None:
    """Return the folder and name pattern of numbered pictures, or None for any other output.

    Raises InputError if the name or an encoder setting does not suit pictures.
    """
    if settings.output is None or isinstance(lr, LightField):
        return None

    found = split_pattern(settings.output)
    suffix = Path(settings.output).suffix
    if found is None:
        if isinstance(lr, VideoClip) and suffix.lower() in LOSSLESS_SUFFIXES:
            raise InputError(
                f"found a single {suffix} as the output of a video, expected a name with a number "
                f"pattern, or a video; try {Path(settings.output).with_suffix('')}/%06d{suffix}"
            )
        return None

    if given := [name for name in _VIDEO_ONLY if getattr(encoder, name) is not None]:
        raise InputError(
            f"found --{given[0].replace('_', '-')} for pictures, expected no encoder settings, "
            "because pictures are lossless; leave it out, or use the name of a video for -o"
        )
    return found


def intermediate_format(clip: Clip, pictures: tuple[Path, str] | None) -> Clip:
    """Return the description of the stored segments: lossless RGB for pictures, else `clip`."""
    if pictures is None:
        return clip

    keeps_alpha = clip.alpha and not pictures[1].lower().endswith(EXR)
    return as_stills(clip).model_copy(update={"alpha": keeps_alpha})


def replace_output(
    plan: Plan, settings: OutputSettings, encoder: EncoderSettings
) -> dict[str, str]:
    """Return the fields of a plan that a different -o changes.

    Raises InputError if the plan cannot be used for that output.
    """
    if settings.output is None:
        return {}

    pictures = wanted_pictures(settings, encoder, plan.input)
    if (pictures is None) != (not plan.pictures):
        wanted = "a video" if plan.pictures else "pictures"
        planned = "pictures" if plan.pictures else "a video"
        raise InputError(
            f"found -o {settings.output}, the name of {wanted}, for a plan for {planned}, expected "
            f"the name of {planned}; make a new plan"
        )
    if pictures is None:
        return {"output": str(Path(settings.output).absolute())}

    exr = [name.lower().endswith(EXR) for name in (plan.pictures, pictures[1])]
    if plan.input.alpha and exr[0] != exr[1]:
        raise InputError(
            f"found -o {settings.output} for a plan for {plan.pictures}, expected the same kind of "
            "pictures, because EXR drops the transparency; make a new plan"
        )
    return {"output": str(pictures[0]), "pictures": pictures[1]}


def check_folder(folder: Path, pattern: str) -> None:
    """Raise InputError if `folder` is a file, or contains files whose names do not fit `pattern`.

    The sidecar of the pictures may be there, too.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(
            f"found a file at {folder}, expected a folder for {pattern} or a free path; try "
            "another -o"
        )
    if other := find_foreign_file(folder, pattern):
        raise InputError(
            f"found {other} in {folder}, expected a folder with only pictures named {pattern}; "
            "try another -o"
        )


def check_measurable(plan: Plan) -> None:
    """Raise InputError if the plan's pictures cannot be compared with a ground truth."""
    why = "EXR pictures" if plan.pictures.lower().endswith(EXR) else ""
    if plan.pictures and plan.input.rotation:
        why = f"pictures that are rotated by {plan.input.rotation} degrees"
    if why:
        raise InputError(
            f"found --ground-truth for {why}, expected PNG or TIFF pictures of a video without "
            "display rotation; leave it out"
        )
