"""Plans, and the records of segments and runs, as stored in files and sent to workers.

Frames are identified by integer pts with an exact rational time base (seconds per tick), never by
floating-point times. Every model is frozen and rejects unknown fields, so that a typo in an edited
plan is noticed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.schema.adaptation import Adaptation
from pipeline.schema.capture import Capture, Number
from pipeline.schema.clip import Recording
from pipeline.schema.encoding import Encoding, Threads
from pipeline.schema.model import Model
from pipeline.schema.reference_map import ReferenceMap
from pipeline.schema.texts import Digest, FileName, PathText, PicturePattern, Word

# The keys of a recording whose values depend on where it is stored, not on its content.
_FILES: dict[str, Any] = {"path": True, "files": True, "sandbox": True}
_PLACES = {
    **_FILES,
    "grid": {"views": {"__all__": {"files": True, "clip": _FILES}}, "sheets": _FILES},
}


class TrustedKeys(Model):
    """The key frames whose edits are carried over to the surrounding frames."""

    pts: tuple[int, ...]
    """Pts of the LR frames for which there are key frames, in strictly ascending order."""
    ref_pts: tuple[int, ...]
    """Pts of the key frame that shows each of these LR frames."""

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if not self.pts or len(self.pts) != len(self.ref_pts):
            raise ValueError(
                f"the trusted key frames have {len(self.pts)} pts and {len(self.ref_pts)} ref_pts; "
                "expected one or more of each, and the same number of both"
            )
        if any(a >= b for a, b in pairwise(self.pts)):
            raise ValueError(
                "the pts of LR frames with trusted key frames are not in strictly ascending order"
            )
        return self


def _is_none(value: object) -> bool:
    return value is None


class ReferencePlan(Model):
    """The reference stream and its alignment with the input."""

    clip: Recording
    select: Literal["time", "content", "view"]
    offset: float = 0.0
    """Seconds that are added to reference times to convert them to the input's clock."""
    drift: float = 1.0
    """Factor by which reference times are multiplied before the offset is added."""
    max_distance: float
    """Largest time in seconds between a frame and a reference from which it may borrow."""
    affine: tuple[float, float, float, float, float, float] | None = None
    """Affine map from network pixels to reference pixels, a 2 x 3 matrix in row order; None means
    plain scaling."""
    match_colour: bool = True
    """Whether the reference's colours may be converted to the input's colours."""
    # omitted if None, so that plans without it have the same digest as before the field existed
    trusted: TrustedKeys | None = Field(default=None, exclude_if=_is_none)
    """Key frames whose differences from the input are intended; set by --trust-reference."""


class Segment(Model):
    """Consecutive LR frames that are decoded, enhanced, encoded and committed together."""

    index: int
    start_pts: int
    """Pts of the first frame."""
    end_pts: int
    """End of the segment in pts, exclusive."""
    frames: int


class RunRecord(Model):
    """The command, speed, engine and versions of the run that finished an output."""

    command: str
    seconds: float
    """Wall-clock time of the run, from planning to publishing."""
    frames: int
    """Number of frames that this run enhanced, not counting frames of the runs it resumed."""
    engine: str
    device: str
    reason: str
    """Why this engine was chosen."""
    runner: str
    busy: dict[str, float]
    """How many seconds each stage was busy, summed over the workers."""
    versions: dict[str, str]
    machine: str


class Plan(Model):
    """Everything that a run will do, fixed before its first segment, and editable until then."""

    version: Literal[1] = 1
    input: Recording
    reference: ReferencePlan
    capture: Capture | None = None
    """The downscaling from HR to LR; None means an antialiased bicubic kernel and equal colours."""
    output: PathText
    pictures: PicturePattern = ""
    """Name pattern, such as %06d.png, if `output` is a folder of numbered pictures; else ""."""
    output_url: PathText = ""
    """URL to which the driver's machine uploads the verified `output`; "" for none."""
    scale: Literal[2, 4, 8]
    """The network's enlargement; its frames are resized if the output has another size."""
    width: int
    """Output width in stored pixels."""
    height: int
    engine: Word
    model: PathText
    model_sha256: Digest = ""
    """SHA-256 of the weights, set when a run starts; resuming requires the same weights."""
    adaptation: Adaptation | None = None
    """Adaptation of the weights to the recording; None means that the weights are not adapted."""
    restores_from_db: Number | None = None
    """PSNR in dB between downscaled key frames and the input. If set, the input is compressed or
    noisy, and is restored at the times of the key frames. None if the input is nearly lossless, or
    if the PSNR was not measured."""
    mixes_flow: bool = False
    """Whether the network's frames are mixed with detail that optical flow borrows."""
    averages_mirrored: bool = False
    """Whether the network enhances four mirrored versions of each frame, which are averaged. If
    optical flow is mixed in, it is then estimated twice."""
    batch: int
    """Frames per call of the network."""
    encoding: Encoding
    planes: bool = False
    """Whether the engine `bicubic` enlarges the planes of 4:2:0 video instead of RGB frames."""
    threads: Threads = 0
    """Number of CPU threads of the engine, 0 until a run starts; the least significant bits of the
    output may depend on it."""
    on_error: Literal["stop", "conceal"] = "stop"
    to: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"] | None = None
    """Layout of the output if it is a light field; None means the input's layout."""
    cuts: tuple[int, ...] = ()
    """Pts of the first LR frame after each scene cut."""
    segments: tuple[Segment, ...]
    reference_map: ReferenceMap
    notes: tuple[str, ...] = ()
    """Sentences about assumptions that were made, and about what the output keeps and loses."""
    expected_bytes: int | None = None
    """Estimated size of the output video; set only in plans made by `pipeline plan`."""
    expected_seconds: float | None = None
    """Estimated duration of the run on this machine, if the engine's speed is known; set only in
    plans made by `pipeline plan`."""
    record: RunRecord | None = None
    """Set only in the plan that is stored beside a finished output."""

    def digest(self) -> str:
        """Return the SHA-256 of everything that affects the output's bits.

        The digest does not depend on the output's path and URL, on notes, estimates or the run's
        record, or on whether the recordings are sandboxed. Nor does it depend on their paths,
        because their fingerprints identify them even after they are moved.
        """
        # the map is hashed entry by entry, because its text may be large
        estimates = ("expected_bytes", "expected_seconds")
        names = ["output", "output_url", "notes", *estimates, "record", "reference_map"]
        if self.capture is None:
            names.append("capture")  # to match plans that are older than this field
        if not self.planes:
            names.append("planes")  # likewise
        if not self.mixes_flow:
            names.append("mixes_flow")  # likewise
        if not self.averages_mirrored:
            names.append("averages_mirrored")  # likewise
        if self.restores_from_db is None:
            names.append("restores_from_db")  # likewise
        left: dict[str, Any] = dict.fromkeys(names, True)
        # these fields of the adaptation do not affect the output
        trained = {"note", "took_seconds", "held_out_db"}
        if self.adaptation and not self.adaptation.shared:
            trained.add("shared")  # to match plans that are older than this field
        left["adaptation"] = trained if self.adaptation else True
        plain = self.map_recordings(lambda recording: recording.with_sandbox(False))
        places = {"input": _PLACES, "reference": {"clip": _PLACES}}
        text = plain.model_dump_json(exclude={**left, **places})
        digest = hashlib.sha256(text.encode())
        for line in self.reference_map.lines():
            digest.update(line)
        return digest.hexdigest()

    @property
    def network_size(self) -> tuple[int, int]:
        """The height and width of the network's frames, which may be larger than the output's."""
        return self.input.height * self.scale, self.input.width * self.scale

    @property
    def network_pixels(self) -> int:
        """The total number of pixels in all of the network's frames."""
        height, width = self.network_size
        return height * width * len(self.reference_map)

    @property
    def is_resized(self) -> bool:
        """Whether the network's frames are resized to the output's size."""
        return self.network_size != (self.height, self.width)

    @property
    def enlargement(self) -> int | float:
        """The ratio of the output's side length to the input's."""
        if not self.is_resized:
            return self.scale
        area = self.width * self.height / (self.input.width * self.input.height)
        ratio = round(math.sqrt(area), 3)
        return int(ratio) if ratio.is_integer() else ratio

    def describe_enlargement(self) -> str:
        """Return text such as "x4", or "x3, by the network x4" if its frames are resized."""
        network = self.is_resized and self.engine != "bicubic"
        return f"x{self.enlargement}{f', by the network x{self.scale}' if network else ''}"

    def map_recordings(self, change: Callable[[Recording], Recording]) -> Plan:
        """Return the plan with `change` applied to the input and the reference."""
        reference = self.reference.model_copy(update={"clip": change(self.reference.clip)})
        return self.model_copy(update={"input": change(self.input), "reference": reference})


class SegmentRecord(Model):
    """The record of a committed segment, which describes its file and contains its digest."""

    segment: int
    plan: Digest
    """Digest of the plan for which the segment was made."""
    file: FileName
    frames: int
    first_pts: int
    last_pts: int
    sha256: Digest
    concealed: tuple[int, ...] = ()
    """Pts of the corrupt LR frames that were replaced by neighbouring frames."""
