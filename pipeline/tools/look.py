"""Write the pictures of a light field for `pipeline look`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, already_there
from pipeline.ledger.durable import staging_folder
from pipeline.lightfield import view_pictures
from pipeline.lightfield.opening import require_light_field
from pipeline.lightfield.parallax import measure_parallax
from pipeline.media.pictures import stills
from pipeline.paths import check_new_file, check_not_read
from pipeline.progress import SILENT, Reporter
from pipeline.schema.clip import LightField
from pipeline.schema.settings import GridSettings

MARGIN = 0.2  # fraction of the measured disparity range that is added at each of its ends
MOST_DISPARITY = 10_000  # pixels per grid step; no view is that wide

# names of the pictures
CONTACT_SHEET = "contact_sheet.png"
EPI = "epi.png"
DISPARITY = "disparity.png"


@dataclass(frozen=True)
class LookOptions:
    """The pictures to write in addition to the contact sheet."""

    epi: bool = False
    line: int | None = None
    """Row of pixels of the views that the epipolar picture shows; None means the middle row."""
    alphas: tuple[float, ...] = ()
    """Disparities in pixels per grid step, for each of which a refocused picture is made."""
    depth: bool = False
    """Whether to make a picture of the disparities."""
    sweep: str | None = None
    """Format (gif or mp4) of an animation that moves through the views; None for no animation."""


def write_pictures(
    source: str,
    output: Path | None,
    options: LookOptions,
    *,
    grid_settings: GridSettings | None = None,
    force: bool = False,
    progress: Reporter = SILENT,
) -> list[Path]:
    """Write pictures of the light field `source` and return their paths.

    By default, `output` is a folder beside the light field. Raises InputError if `source` is not a
    light field, if a picture exists (unless `force` is set), or if an option does not suit the
    views.
    """
    clip = require_light_field(source, grid_settings)

    # choose the names and paths of all pictures
    path = Path(clip.path)
    folder = output or path.with_name(f"{path.stem}_look")
    names = [CONTACT_SHEET]
    names += [EPI] if options.epi else []
    names += [_name_refocused(alpha) for alpha in options.alphas]
    names += [DISPARITY] if options.depth else []
    names += [f"sweep.{options.sweep}"] if options.sweep else []
    paths = {name: folder / name for name in names}

    if folder.is_dir() and folder.samefile(clip.path):
        raise InputError(
            f"the pictures cannot be written to {folder}, because it is the light field itself and "
            "they would become views of it; try another -o"
        )
    for path in paths.values():
        check_not_read(path, clip.list_paths())
        if os.path.lexists(path) and not force:
            raise already_there(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, but pictures need a folder; try another -o")

    # draw this first, to reject a line outside the views before anything is written
    epi = view_pictures.draw_epipolar_picture(clip, options.line) if options.epi else None

    folder.mkdir(parents=True, exist_ok=True)
    # pictures are drawn elsewhere and then moved, which replaces a link instead of following it
    with staging_folder(folder.absolute()) as work, progress.step("drawing", len(paths)) as count:
        for done, made in enumerate(_draw_pictures(clip, work, options, epi), 1):
            made.replace(folder / made.name)
            count(done, made.name)
    return list(paths.values())


def _draw_pictures(
    clip: LightField, folder: Path, options: LookOptions, epi: NDArray[np.uint8] | None
) -> Iterator[Path]:
    """Write the pictures, and yield each one's path once it is written."""
    path = folder / CONTACT_SHEET
    stills.save_picture(path, view_pictures.draw_contact_sheet(clip))
    yield path

    if epi is not None:
        path = folder / EPI
        stills.save_picture(path, epi)
        yield path

    if options.alphas:
        pictures = view_pictures.refocus(clip, options.alphas)
        for alpha, picture in zip(options.alphas, pictures, strict=True):
            path = folder / _name_refocused(alpha)
            stills.save_picture(path, picture)
            yield path

    if options.depth:
        low, high = measure_parallax(clip).disparity or (-1.0, 1.0)
        more = max(MARGIN * (high - low), 0.25)
        plane = view_pictures.estimate_disparity(clip, low - more, high + more)
        picture = view_pictures.colour_disparity(plane, low - more, high + more)
        path = folder / DISPARITY
        stills.save_picture(path, picture)
        yield path

    if options.sweep:
        path = folder / f"sweep.{options.sweep}"
        view_pictures.save_sweep(clip, path)
        yield path


def _name_refocused(alpha: float) -> str:
    return f"refocus_{alpha:+.2f}.png"


def parse_disparities(text: str | None) -> tuple[float, ...]:
    """Return the disparities in text such as "-0.5,0,0.5", in pixels per grid step.

    The result is empty if the text is empty or None. Raises InputError if a part is not a number,
    or is larger than any real disparity.
    """
    try:
        found = tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        found = (math.nan,)
    if not all(abs(disparity) <= MOST_DISPARITY for disparity in found):  # NaN is in no range
        raise InputError(
            f"--refocus is {text}, but must be disparities in pixels per grid step, separated by "
            f"commas and at most {MOST_DISPARITY}, such as -0.5,0,0.5"
        )
    return found


def save_contact_sheet(clip: LightField, file: Path) -> None:
    """Write a picture that shows all views at the first moment.

    Raises InputError if the file exists, or does not have the suffix of a picture.
    """
    if file.suffix.lower() not in stills.DEVELOPED_SUFFIXES:
        raise InputError(
            f"a contact sheet is a picture, but {file} does not have a picture's suffix; try "
            "sheet.png"
        )
    check_new_file(file, advice="try another --contact-sheet")
    stills.save_picture(file, view_pictures.draw_contact_sheet(clip))
