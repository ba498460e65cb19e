"""Read keyframes.json, which records which frame of a recording each picture shows.

`pipeline keyframes` writes the file beside the pictures. A program that enlarges the pictures may
change their format and append to their names, and the user may remove some pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.errors import MediaError
from pipeline.paths import sha256
from pipeline.schema.model import Model
from pipeline.schema.texts import Digest, FileName, TimeBase

SIDECAR = "keyframes.json"
MOST_BYTES = 16_000_000
_LARGEST = 2**62  # largest frame number, and largest number of ticks


class KeyFrame(Model):
    """The entry for a picture: its file, and the frame that it shows."""

    file: FileName
    frame: Annotated[int, Field(ge=0, le=_LARGEST)]
    """Number of the frame in the recording; the first is 0."""
    pts: Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
    """Time of the frame in ticks of `time_base`."""
    scene: Annotated[int, Field(ge=0, le=_LARGEST)] | None = None
    """Number of the frame's scene; None if scenes were not detected."""
    sha256: Digest = ""
    """Digest of the file as it was written; "" if an old version of the program wrote it."""

    @property
    def stem(self) -> str:
        """The name of the picture without its suffix."""
        return Path(self.file).stem


class KeyFrames(Model):
    """The sidecar of a folder of key frames."""

    format: Literal["key frames"] = "key frames"
    version: Literal[1] = 1
    input: FileName
    """Name of the recording, without its folder."""
    size_bytes: Annotated[int, Field(ge=0, le=_LARGEST)]
    fingerprint: Digest
    """Digest of the recording's content: the same fingerprint as in plans."""
    time_base: TimeBase
    """Seconds per tick."""
    key_frames: tuple[KeyFrame, ...]

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if "" in self._by_stem or len(self._by_stem) < len(self.key_frames):
            raise ValueError("expected a different name for every picture")
        return self

    @cached_property
    def _by_stem(self) -> dict[str, KeyFrame]:
        return {key.stem: key for key in self.key_frames}

    def seconds(self, key: KeyFrame) -> float:
        """Return the time of a key frame in seconds on the recording's own clock."""
        return float(key.pts * Fraction(self.time_base))

    def find_key(self, stem: str) -> KeyFrame | None:
        """Return the key frame that a picture shows, given its name without suffix.

        Programs may append to the name, as in `key_000123_4.104s_x4`. The result is None if the
        name does not begin with the name of a key frame.
        """
        ends = [end for end, letter in enumerate(stem) if not letter.isalnum()]
        starts = [stem, *(stem[:end] for end in reversed(ends))]
        return next((self._by_stem[start] for start in starts if start in self._by_stem), None)


def read_key_frames(folder: Path) -> KeyFrames | None:
    """Return the sidecar of the key frames in a folder, or None if there is none.

    Raises MediaError if it cannot be read. The file names in it are only ever compared with those
    in the folder; they are never opened.
    """
    file = folder / SIDECAR
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise _make_error(file, f"it is larger than {MOST_BYTES // 1_000_000} MB")
        return KeyFrames.model_validate_json(text)
    except OSError as error:
        raise _make_error(file, error.strerror or "unknown error") from error
    except ValidationError as error:
        raise _make_error(file, error.errors()[0]["msg"]) from error


def find_edited(folder: Path, stored: KeyFrames) -> list[Path]:
    """Return the pictures in a folder of key frames that have changed since they were written.

    A picture without a stored digest counts as changed if it is newer than keyframes.json, which is
    written last. Only regular files in the folder are read; links are skipped.
    """
    known = {key.file: key for key in stored.key_frames}
    written = (folder / SIDECAR).stat().st_mtime_ns
    edited = []
    for file in sorted(folder.iterdir()):
        key = known.get(file.name)
        if key is None or file.is_symlink() or not file.is_file():
            continue
        is_newer = file.stat().st_mtime_ns > written
        if sha256(file) != key.sha256 if key.sha256 else is_newer:
            edited.append(file)
    return edited


def _make_error(file: Path, reason: str) -> MediaError:
    return MediaError(
        f"{file} cannot be read ({' '.join(reason.split())}); expected a file "
        "written by `pipeline keyframes`; remove it to use the names of the pictures instead"
    )


def find_folder(files: Sequence[str]) -> Path | None:
    """Return the folder that contains all of the files; None if they are in several folders."""
    folders = {Path(file).parent for file in files}
    return folders.pop() if len(folders) == 1 else None
