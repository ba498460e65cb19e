"""`pipeline look`: which pictures of a light field are made, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError, already_there, no_folder
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.parallax import measure_parallax
from pipeline.media.pictures import stills
from pipeline.schema.clip import LightField
from pipeline.schema.settings import GridSettings
from pipeline.tools import view_pictures

MARGIN = 0.2
"""Share of the disparity range that is searched beyond either end."""


@dataclass(frozen=True)
class LookOptions:
    """Which pictures to make beside the contact sheet."""

    epi: bool = False
    line: int | None = None
    alphas: tuple[float, ...] = ()
    depth: bool = False
    sweep: str | None = None


def write_pictures(
    source: str,
    output: Path | None,
    wishes: LookOptions,
    *,
    asked: GridSettings | None = None,
    force: bool = False,
) -> list[Path]:
    """Write the pictures and return their paths.

    Raises InputError where there is no light field, or one of the pictures already.
    """
    clip = open_light_field(source, asked)
    if clip is None:
        raise InputError(
            f"found no light field in {source}, expected views such as view_00_00.png, or a sheet "
            "with --layout and --grid; see `pipeline probe`"
        )
    given = Path(clip.path)
    folder = output or given.with_name(f"{given.stem}_look")
    names = ["contact_sheet.png"]
    names += ["epi.png"] if wishes.epi else []
    refocus = [f"refocus_{alpha:+.2f}.png" for alpha in wishes.alphas]
    names += [*refocus, *(["disparity.png"] if wishes.depth else [])]
    names += [f"sweep.{wishes.sweep}"] if wishes.sweep else []
    paths = {name: folder / name for name in names}
    for path in paths.values():
        if path.exists() and not force:
            raise already_there(path)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"found the file {folder}, expected a folder or none; try another -o")
    # a line that is not there is refused before anything is written
    epi = view_pictures.draw_epipolar_picture(clip, wishes.line) if wishes.epi else None
    folder.mkdir(parents=True, exist_ok=True)
    stills.save_picture(paths["contact_sheet.png"], view_pictures.draw_contact_sheet(clip))
    if epi is not None:
        stills.save_picture(paths["epi.png"], epi)
    for name, picture in zip(refocus, view_pictures.refocus(clip, wishes.alphas), strict=True):
        stills.save_picture(paths[name], picture)
    if wishes.depth:
        low, high = measure_parallax(clip).disparity or (-1.0, 1.0)
        more = max(MARGIN * (high - low), 0.25)
        plane = view_pictures.estimate_disparity(clip, low - more, high + more)
        stills.save_picture(
            paths["disparity.png"], view_pictures.colour_disparity(plane, low - more, high + more)
        )
    if wishes.sweep:
        view_pictures.save_sweep(clip, paths[f"sweep.{wishes.sweep}"])
    return list(paths.values())


def parse_disparities(text: str | None) -> tuple[float, ...]:
    """Return the disparities of "-0.5,0,0.5" in pixels per step, an empty tuple for None.

    Raises InputError for anything else.
    """
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(
            f"found --refocus {text}, expected disparities in pixels per step; try -0.5,0,0.5"
        ) from error


def save_contact_sheet(clip: LightField, file: Path) -> None:
    """Write all views of the first moment in one picture; InputError for a file that is there."""
    if file.suffix.lower() not in stills.SUFFIXES:
        raise InputError(f"found {file} for a contact sheet, expected a picture; try sheet.png")
    if file.exists():
        raise already_there(file, "try another --contact-sheet")
    if not file.absolute().parent.is_dir():
        raise no_folder(file.parent)
    stills.save_picture(file, view_pictures.draw_contact_sheet(clip))
