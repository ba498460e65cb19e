"""Check the name pattern and the folder of an output of numbered pictures."""

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
                f"a video cannot be written to a single {suffix} file; try another suffix, or -o "
                f"{Path(settings.output).with_suffix('')}/%06d{suffix} for numbered pictures"
            )
        return None

    if given := [name for name in _VIDEO_ONLY if getattr(encoder, name) is not None]:
        raise InputError(
            f"--{given[0].replace('_', '-')} does not apply to pictures, which are always "
            "lossless; leave it out, or give -o the name of a video"
        )
    return found


def intermediate_format(clip: Clip, pictures: tuple[Path, str] | None) -> Clip:
    """Return a description of the stored segments: stills for pictures, or else `clip` itself."""
    if pictures is None:
        return clip

    keeps_alpha = clip.alpha and not pictures[1].lower().endswith(EXR)
    return as_stills(clip).model_copy(update={"alpha": keeps_alpha})


def replace_output(
    plan: Plan, settings: OutputSettings, encoder: EncoderSettings
) -> dict[str, str]:
    """Return the fields of a plan that -o changes, with their new values.

    Raises InputError if the plan cannot be used for that output.
    """
    if settings.output is None:
        return {}

    pictures = wanted_pictures(settings, encoder, plan.input)
    if (pictures is None) != (not plan.pictures):
        wanted = "a video" if plan.pictures else "pictures"
        planned = "pictures" if plan.pictures else "a video"
        raise InputError(
            f"-o {settings.output} would write {wanted}, but the plan is for {planned}; pass an -o "
            f"that writes {planned}, or make a new plan"
        )
    if pictures is None:
        return {"output": str(Path(settings.output).absolute())}

    exr = [name.lower().endswith(EXR) for name in (plan.pictures, pictures[1])]
    if plan.input.alpha and exr[0] != exr[1]:
        raise InputError(
            f"-o {settings.output} cannot replace the {plan.pictures} of the plan, because only "
            "EXR drops the transparency; use the same kind of pictures, or make a new plan"
        )
    return {"output": str(pictures[0]), "pictures": pictures[1]}


def check_folder(folder: Path, pattern: str) -> None:
    """Raise InputError if `folder` is a file, or contains files whose names do not fit `pattern`.

    The pictures' sidecar is allowed.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise InputError(
            f"{folder} is a file, but the pictures {pattern} need a folder; try another -o"
        )
    if other := find_foreign_file(folder, pattern):
        raise InputError(
            f"{folder} contains {other}, but only pictures named {pattern} may be there; try "
            "another -o"
        )


def check_measurable(plan: Plan) -> None:
    """Raise InputError if the plan's pictures cannot be compared with a ground truth."""
    if plan.pictures and plan.input.rotation:
        raise InputError(
            "--ground-truth cannot be used with pictures of a video that is rotated for display; "
            "leave it out, or write a video"
        )
    if plan.pictures.lower().endswith(EXR):
        raise InputError(
            "--ground-truth cannot be used with EXR pictures; leave it out, or write PNG or TIFF "
            "pictures"
        )
