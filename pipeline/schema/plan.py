"""What is written to disk and sent to workers: clips, settings, plans and records.

Times are kept as integer pts with an exact rational time base (seconds a tick), never as floats.
Every model is frozen; unknown fields are refused, so that a mistyped plan file is noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Literal

from pipeline.schema.clip import Model, Recording
from pipeline.schema.encoding import Encoding
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap


class ReferencePlan(Model):
    """The reference stream and how it lies over the input."""

    clip: Recording
    select: Literal["time", "content", "view"]
    offset: float = 0.0
    """Seconds added to reference times to put them on the input's clock."""
    drift: float = 1.0
    """Reference times are multiplied by this before the offset is added."""
    max_distance: float
    """Seconds beyond which a reference is not borrowed from."""
    affine: tuple[float, float, float, float, float, float] | None = None
    """Row-major 2 x 3 map from output pixels to reference pixels; None = plain scaling."""
    match_colour: bool = True


class Segment(Model):
    """A run of LR frames that is decoded, enhanced, encoded and committed as one."""

    index: int
    start_pts: int
    """First frame's pts, inclusive."""
    end_pts: int
    """First pts after the segment, exclusive."""
    frames: int


class RunRecord(Model):
    """How the run went that finished an output."""

    command: str
    seconds: float
    """Wall-clock time from planning to publishing."""
    frames: int
    """Enhanced by this run; resumed ones are not counted."""
    engine: str
    device: str
    reason: str
    """Why this engine was taken."""
    runner: str
    busy: dict[str, float]
    """Busy seconds of each stage, summed over workers."""
    versions: dict[str, str]
    machine: str


class Plan(Model):
    """Everything a run does, decided before it starts; deterministic and editable."""

    version: Literal[1] = 1
    input: Recording
    reference: ReferencePlan
    output: str
    pictures: str = ""
    """Names of numbered pictures, such as %06d.png, in the folder `output`; "" for others."""
    output_url: str = ""
    """Where the output goes after `output` was made and verified on the driver's machine."""
    scale: Literal[2, 4, 8]
    width: int
    """Output width in stored pixels."""
    height: int
    engine: str
    model: str
    model_sha256: str = ""
    """Of the weights, set as a run starts: a run is not resumed with others."""
    batch: int
    encoding: Encoding
    threads: int = 0
    """CPU threads of an engine; some kernels' last bits depend on it. 0 = fixed as a run starts."""
    on_error: Literal["stop", "conceal"] = "stop"
    to: Literal["folder", "lenslet", "mosaic", "quilt", "h5", "video"] | None = None
    """Light fields: layout of the output; None = the input's."""
    cuts: tuple[int, ...] = ()
    """LR pts of the first frame after each scene cut."""
    segments: tuple[Segment, ...]
    reference_map: ReferenceMap
    notes: tuple[str, ...] = ()
    """What was guessed, what will be kept and what lost, in plain sentences."""
    expected_bytes: int | None = None
    """About how large the video will be; only in plans that `pipeline plan` made."""
    record: RunRecord | None = None
    """How the run went; only in the plan that is kept beside a finished output."""

    def digest(self) -> str:
        """Return the sha256 of all that decides the output's bits (not path, notes or record)."""
        # the map follows entry by entry: a long one is never held as text
        names = ("output", "output_url", "notes", "expected_bytes", "record", "reference_map")
        left = dict.fromkeys(names, True)
        plain = self.map_recordings(_without_place)
        guard = {"sandbox": True}
        text = plain.model_dump_json(exclude={**left, "input": guard, "reference": {"clip": guard}})
        digest = hashlib.sha256(text.encode())
        for line in self.reference_map.lines():
            digest.update(line)
        return digest.hexdigest()

    def map_recordings(self, change: Callable[[Recording], Recording]) -> Plan:
        """Return the plan with `change` applied to the input and the reference."""
        reference = self.reference.model_copy(update={"clip": change(self.reference.clip)})
        return self.model_copy(update={"input": change(self.input), "reference": reference})

    def choices(self, segment: Segment) -> list[ReferenceChoice]:
        """Return the reference choices of one segment, in presentation order."""
        return [c for c in self.reference_map if segment.start_pts <= c.pts < segment.end_pts]


def _without_place(recording: Recording) -> Recording:
    """Return a recording as it is on every machine: copies of URLs are in other places."""
    plain = recording.with_sandbox(False)
    return plain.with_path(plain.url) if plain.url else plain


class SegmentRecord(Model):
    """Proof that a segment is committed: what its file holds."""

    segment: int
    plan: str
    """Digest of the plan the segment was made for."""
    file: str
    frames: int
    first_pts: int
    last_pts: int
    sha256: str
    concealed: tuple[int, ...] = ()
    """LR pts where a corrupt frame was replaced by the one before it."""
