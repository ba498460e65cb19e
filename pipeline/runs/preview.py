"""Write a run's latest frame, before and after enhancement, for the page of `pipeline ui`."""

from __future__ import annotations

import hashlib
import math
import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import platformdirs
from pydantic import ValidationError

from deploy.distribution import DISTRIBUTION
from deploy.protocol import Engine
from pipeline.errors import InputError
from pipeline.execution.infer import Enhance
from pipeline.execution.task import Batch, Enhanced
from pipeline.ledger.durable import write_atomically
from pipeline.media.colour import FromRgb, ToRgb, output_colour
from pipeline.pairing.upsample import upsample
from pipeline.paths import own_folder, redact_url
from pipeline.pixels import Pixels, as_pixels, to_8_bit
from pipeline.schema.clip import LightField, VideoClip
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan
from pipeline.schema.texts import FileName

FOLDER_VARIABLE = "PIPELINE_UI_FOLDER"
PREVIEWS = "previews"
RECORD = "preview.json"
INTERVAL_SECONDS = 1.0  # between two frames that are written
MOST_WIDTH = 1600  # of the pictures; wider frames are downscaled
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 88]


class Preview(Model):
    """The latest frame of a run, and the names of its two pictures beside this record."""

    input: str
    output: str
    place: str
    """The time or the view that the frame shows, in words."""
    width: int
    """Width of the pictures in pixels."""
    height: int
    before: FileName
    after: FileName


def find_page_folder() -> Path:
    """Return the folder of the page: `$PIPELINE_UI_FOLDER`, or one in the user's data folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path(DISTRIBUTION) / "page"


class PreviewWriter:
    """An `Enhance` that also writes the latest frame, before and after enhancement, at intervals.

    A frame that cannot be written is left out, because a preview must not end a run.
    """

    def __init__(
        self, folder: Path, enhance: Enhance, *, interval: float = INTERVAL_SECONDS
    ) -> None:
        """Write below `folder`; raises InputError if that folder cannot be used."""
        self._folder = folder / PREVIEWS
        self._enhance = enhance
        self._interval = interval
        self._next = 0.0
        self._shown: dict[Path, Preview] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            own_folder(self._folder)
        except OSError as error:
            raise InputError(
                f"cannot write to {folder}, the folder of the page ({error.strerror}); set "
                f"{FOLDER_VARIABLE} to another folder"
            ) from error

    def __call__(self, plan: Plan, engine: Engine, batch: Batch) -> Enhanced:
        """Return the enhanced frames, and write the last of them if the next preview is due."""
        enhanced = self._enhance(plan, engine, batch)
        if time.monotonic() >= self._next:
            with suppress(OSError):
                self._write(plan, batch, enhanced)
            self._next = time.monotonic() + self._interval
        return enhanced

    def _write(self, plan: Plan, batch: Batch, enhanced: Enhanced) -> None:
        output = redact_url(plan.output_url) if plan.output_url else plan.output
        folder = self._folder / hashlib.sha256(output.encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)

        if plan.planes and isinstance(plan.input, VideoClip):
            # the result is plain up-sampling itself, so both pictures are the same
            colour = output_colour(plan.input.colour, plan.encoding.pix_fmt)
            frame = FromRgb(colour, plan.encoding.pix_fmt)(enhanced.frames[-1])
            after = before = ToRgb(colour.model_copy(update={"chroma": "left"}))(frame)
        else:
            after = as_pixels(enhanced.frames[-1][..., :3])
            before = upsample(batch.lr[-1], *after.shape[:2])
        size = _reduce_size(*after.shape[:2])
        stem = uuid.uuid4().hex
        preview = Preview(
            input=plan.input.path,
            output=output,
            place=_describe_place(plan, enhanced.pts[-1]),
            width=size[0],
            height=size[1],
            before=f"{stem}_before.jpg",
            after=f"{stem}_after.jpg",
        )
        (folder / preview.before).write_bytes(_encode(before, size))
        (folder / preview.after).write_bytes(_encode(after, size))
        write_atomically(folder / RECORD, preview.model_dump_json())
        self._remove_old(folder, preview)

    def _remove_old(self, folder: Path, latest: Preview) -> None:
        """Delete all pictures except the latest two pairs, one of which a page may be loading."""
        kept = {latest.before, latest.after}
        if folder in self._shown:
            kept |= {self._shown[folder].before, self._shown[folder].after}
        self._shown[folder] = latest
        for file in folder.glob("*.jpg"):
            if file.name not in kept:
                file.unlink(missing_ok=True)


def _reduce_size(height: int, width: int) -> tuple[int, int]:
    """Return the width and height of a frame's pictures, at most MOST_WIDTH wide."""
    factor = min(1.0, MOST_WIDTH / width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _encode(picture: Pixels, size: tuple[int, int]) -> bytes:
    shown = cv2.cvtColor(to_8_bit(picture), cv2.COLOR_RGB2BGR)
    if shown.shape[1::-1] != size:
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", shown, _JPEG)
    assert done
    return data.tobytes()


def _describe_place(plan: Plan, pts: int) -> str:
    if isinstance(plan.input, LightField):
        return f"view {pts + 1}"
    return f"{plan.input.seconds(pts):.2f} s"


def list_previews(
    folder: Path, *, most_age: float = math.inf, now: Callable[[], float] = time.time
) -> list[tuple[Path, Preview, float]]:
    """Return the folder, the record and the age in seconds of each preview, newest first.

    Previews older than `most_age` seconds are left out.
    """
    found = []
    for record in (folder / PREVIEWS).glob(f"*/{RECORD}"):
        with suppress(OSError, ValidationError, UnicodeDecodeError):
            preview = Preview.model_validate_json(record.read_text(encoding="utf-8"))
            age = max(0.0, now() - record.stat().st_mtime)
            if age <= most_age:
                found.append((record.parent, preview, age))
    return sorted(found, key=lambda item: item[2])
