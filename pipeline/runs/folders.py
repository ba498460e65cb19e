"""Determine whether a folder contains videos, each of them an input, or is a single recording."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError, count_items
from pipeline.media.join.capabilities import VIDEO_SUFFIXES
from pipeline.media.pictures.stills import SUFFIXES, natural_key
from pipeline.paths import is_url
from pipeline.recording import find_light_field


def list_videos(path: str, *, sandbox: bool = False) -> list[str] | None:
    """Return the videos in a folder in natural order; None if the path is a single recording.

    A folder of pictures or of the views of a light field is a single recording. Hidden files and
    files of other kinds are ignored. Raises InputError if the folder mixes videos with pictures.
    """
    folder = Path(path)
    try:
        if is_url(path) or not folder.is_dir():
            return None
    except OSError:
        return None  # for example, the name is too long, which opening the recording will report

    files = [file for file in folder.iterdir() if file.is_file() and file.name[0] != "."]
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not videos or find_light_field(path, sandbox=sandbox) is not None:
        return None
    if pictures:
        raise InputError(
            f"{path} contains both {count_items(len(videos), 'video')}, each of which would be an "
            f"input, and {count_items(len(pictures), 'picture')}, which would be a single input; "
            f"pass a pattern, such as '{folder / f'*{min(videos).suffix}'}' or "
            f"'{folder / f'*{min(pictures).suffix}'}'"
        )
    return [str(file) for file in sorted(videos, key=lambda file: natural_key(file.name))]
