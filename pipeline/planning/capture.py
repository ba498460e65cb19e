"""Choose the capture of a plan: measured, named by the user, or from a file."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from crossnetpp.networks.taps import make_box_taps
from pipeline.errors import InputError
from pipeline.pairing.capture import MeasuredCapture, measure_capture
from pipeline.pairing.rules import Paired
from pipeline.progress import Reporter
from pipeline.schema.capture import Capture
from pipeline.schema.clip import Recording

MOST_BYTES = 256 << 20  # largest file that is read; the plan of a day-long recording is far smaller
NAMES = ("auto", "bicubic", "sensor")  # any other value of --capture is the path of a file


def choose_capture(
    option: str,
    lr: Recording,
    paired: Paired,
    scale: int,
    size: tuple[int, int],
    engine: str,
    progress: Reporter,
) -> MeasuredCapture:
    """Return the capture that --capture selects, with a note about it (may be empty).

    `auto` measures the capture, except for the engine bicubic, which does not use one. `size` is
    the height and width of the network's frames. Raises InputError if the option names a file
    without a valid capture for this scale.
    """
    if option != "auto":
        notes = {"bicubic": "", "sensor": "capture: averages of pixels, as requested"}
        note = notes.get(option, f"capture: taken from {option}")
        return MeasuredCapture(find_capture(option, scale), note)
    if engine == "bicubic":
        return MeasuredCapture(None, "")  # this engine does not use a capture
    with progress.step("measuring the capture"):
        return measure_capture(lr, paired.reference, paired.choices, scale, size)


def find_capture(option: str, scale: int) -> Capture | None:
    """Return the capture for a value of --capture other than auto, or None for bicubic.

    Raises InputError if the value names a file without a valid capture for this scale.
    """
    if option == "bicubic":
        return None
    return make_sensor_capture(scale) if option == "sensor" else read_capture(option, scale)


def make_sensor_capture(scale: int) -> Capture:
    """Return the capture of a sensor whose pixels average scale x scale HR pixels."""
    rows, columns = (tuple(np.round(w, 6).tolist()) for w in make_box_taps(scale)[0])
    return Capture.model_validate(
        {
            "source": "sensor",
            "scale": scale,
            "shape": "box",
            "rows": (rows,),
            "columns": (columns,),
        }
    )


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file. Raises OSError if it is missing, not a file, or too large."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"more than {MOST_BYTES >> 20} MiB")
    return content


def read_capture(path: str, scale: int) -> Capture | None:
    """Return the capture in a JSON file, which is a plan or only a plan's field `capture`.

    The result is None for a plan whose input was reduced bicubically. Raises InputError if the file
    contains no valid capture, or one for another scale.
    """
    advice = (
        "--capture accepts auto, bicubic, sensor, or a plan whose capture was measured; "
        "make one with `pipeline plan ... --save FILE`"
    )
    try:
        data = from_json(_read_bytes(Path(path)))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not JSON"
        raise InputError(f"cannot read a capture from {path} ({why}); {advice}") from error

    if isinstance(data, dict) and "capture" in data:
        if data["capture"] is None and "reference_map" in data:
            return None  # a plan whose input was reduced bicubically
        data = data["capture"]
    if not isinstance(data, dict):
        raise InputError(f"found no capture in {path}; {advice}")
    try:
        found = Capture.model_validate(data | {"source": "file"}, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"][:1])
        problem = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"the capture in {path} is invalid: {where}{problem}; correct the file, or measure the "
            "capture with --capture auto"
        ) from error
    if found.scale != scale:
        raise InputError(
            f"the capture in {path} is for scale {found.scale}, but this run has scale {scale}; "
            f"try --scale {found.scale}, or measure the capture with --capture auto"
        )
    return found
