"""Enhance frames that are arrays or tensors, with the same steps as a run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from fractions import Fraction
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deploy.protocol import Engine, EngineError, EngineInfo
from pipeline.arrays.choosing import ArrivingFrames
from pipeline.arrays.pictures import Form, Picture, find_form, is_tensor, read_pixels
from pipeline.arrays.plan import (
    GivenReferences,
    check_distances,
    check_overlap,
    check_pairs,
    order_references,
    parse_rate,
    plan_frames,
)
from pipeline.errors import InputError, StageError
from pipeline.execution.infer import enhance_batch
from pipeline.execution.pair import FramePairer, PairedFrame, make_batch
from pipeline.execution.task import SegmentTask
from pipeline.pixels import Pixels
from pipeline.planning.plan import check_engine
from pipeline.runs.parts import EngineCache
from pipeline.schema.parsing import check_settings
from pipeline.schema.plan import Plan, Segment
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap
from pipeline.schema.settings import ExecutionSettings, PairingSettings

if TYPE_CHECKING:
    from torch import Tensor

# Number of output pixels for which the engine "auto" is chosen if the length of the video is
# unknown: roughly an hour of 4K.
LONG_VIDEO = 10**12
# A placeholder, because every batch must belong to a segment's task. No segment is committed here.
_TASK = SegmentTask(Segment(index=0, start_pts=0, end_pts=0, frames=0), ReferenceMap())


class Enhancer:
    """Enhances frames with detail from references, and reuses its engine between calls.

    Frames and references are NumPy arrays (H x W x 3 RGB) or PyTorch tensors (3 x H x W or
    H x W x 3 RGB) on any device, in uint8, uint16 or floating point from 0 to 1. The result is of
    the same form as the frame: array or tensor, layout, data type and device. References may differ
    from frames in form. Engines process 8-bit or 16-bit pixels in the CPU's memory, so
    floating-point pictures are rounded to 16 bits.

    A reference must show the same field of view as its frame, with the same aspect ratio. With
    scale="auto", it must be at least 1.3 times as large as the frame.
    """

    def __init__(
        self,
        model: str | PathLike[str] = "fast",
        engine: str = "auto",
        *,
        scale: float | str = "auto",
        size: str | None = None,
        capture: str | PathLike[str] = "bicubic",
        max_ref_distance: float = 2.0,
        ref_count: int | None = None,
        batch: int = 2,
    ) -> None:
        """Check the options, which have the same meaning as in `pipeline run`.

        The engine is loaded when the first frame is enhanced. `model` is the name of a model or the
        path of a weights file, such as one from `pipeline adapt`. `capture` is "bicubic", "sensor",
        or the path of a plan whose capture was measured. Raises InputError if an option is invalid.
        """
        self._execution = check_settings(
            ExecutionSettings, {"engine": engine, "model": model, "batch": batch}
        )
        self._pairing = check_settings(
            PairingSettings,
            {
                "scale": scale,
                "size": size,
                "capture": capture,
                "max_ref_distance": max_ref_distance,
                "ref_count": ref_count,
            },
        )
        check_engine(self._execution.engine)
        if self._pairing.capture == "auto":
            raise InputError(
                "capture='auto' is not possible for frames that arrive one by one; pass "
                '"bicubic", "sensor", or the plan of a measured capture, written by '
                "`pipeline plan ... --save plan.json`"
            )
        self._engines = EngineCache()
        self._engine: Engine | None = None

    @property
    def engine(self) -> EngineInfo | None:
        """The engine in use, with the reason for choosing it; None before the first frame."""
        return None if self._engine is None else self._engine.info

    def video(
        self,
        frames: Iterable[Picture],
        references: Iterable[tuple[float, NDArray[Any] | Tensor]],
        *,
        rate: float | Fraction | None = None,
    ) -> Iterator[Picture]:
        """Yield the enhanced frames of a video in order.

        `references` are pairs of a time and a picture. An integer time is the number of the frame
        that the picture shows, counted from 0, and a float is a time in seconds. `rate` is the
        number of frames per second. It defaults to 25, but is required if a reference has a time in
        seconds.

        As in a run, a frame borrows from the nearest reference within `max_ref_distance` seconds.
        By default, it also borrows from the nearest reference in the other direction in time, if
        the gain is worth the extra work. It never borrows across a scene cut. To find the cuts,
        `video` reads ahead, up to the next references in reach and a few frames beyond them.

        Raises InputError (or PairingError) if references, frames or the engine cannot be used, and
        StageError if the engine fails. The references' forms and times are checked immediately;
        everything else is checked while the frames are enhanced.
        """
        pairs = check_pairs(references)
        exact = parse_rate(rate, pairs)
        given = order_references(pairs, exact)
        sizes = given.sizes()
        return self._enhance_video(frames, given, sizes, exact)

    def frame(
        self,
        frame: Picture,
        references: Sequence[NDArray[Any] | Tensor] | NDArray[Any] | Tensor,
        *,
        distances: Sequence[float] | None = None,
        total: int = 1,
    ) -> Picture:
        """Return one enhanced frame, which borrows from one or several references.

        `distances` states how many frames away each reference is: nearer references have more
        weight, as in `video`. Without it, all references have the same weight. The size of the
        result depends on the first reference, unless `scale` or `size` determines it. `total` is
        the number of frames that you will enhance in this way; with engine="auto", the choice of
        the engine depends on it.

        Raises InputError (or PairingError) if the frame, the references or the engine cannot be
        used, and StageError if the engine fails.
        """
        given = _list_pictures(references)
        if distances is not None:
            check_distances(distances, len(given.pictures))
        form, _ = find_form(frame, "the frame")
        pixels = read_pixels(frame, "the frame")
        plan = self._plan(pixels, given.sizes(), Fraction(1))
        engine = self._load(plan, math.prod(plan.network_size) * total)

        first, *also = range(len(given.pictures))
        nearest, *further = (None,) if distances is None else distances
        choice = ReferenceChoice(
            0, first, nearest, "nearest", also=tuple(also), also_seconds=tuple(further)
        )
        pairer = FramePairer(plan, given, borrow=engine.info.borrows)
        (result,) = _enhance(plan, engine, [pairer.pair(choice, pixels, 1.0)])
        restored: Picture = form.restore(result)
        return restored

    def find_size(
        self, frame: Picture, references: Sequence[NDArray[Any] | Tensor] | NDArray[Any] | Tensor
    ) -> tuple[int, int]:
        """Return the height and width of the result of `Enhancer.frame` for these pictures.

        Only the pictures' sizes matter. Raises InputError (or PairingError) if pictures of these
        forms and sizes cannot be used.
        """
        given = _list_pictures(references)
        plan = self._plan(read_pixels(frame, "the frame"), given.sizes(), Fraction(1))
        return plan.height, plan.width

    def _enhance_video(
        self,
        frames: Iterable[Picture],
        given: GivenReferences,
        sizes: list[tuple[int, int]],
        rate: Fraction,
    ) -> Iterator[Picture]:
        total = len(frames) if isinstance(frames, Sized) else None
        call: _VideoCall | None = None
        count = 0

        for count, frame in enumerate(frames, 1):
            name = f"frame {count - 1}"
            form, _ = find_form(frame, name)
            pixels = read_pixels(frame, name)
            if call is None:
                plan = self._plan(pixels, sizes, rate)
                size = math.prod(plan.network_size)
                engine = self._load(plan, LONG_VIDEO if total is None else size * total)
                call = _VideoCall(plan, engine, given, rate, self._pairing)
            call.check(pixels, name)
            yield from call.add(pixels, form)

        if call is not None:
            yield from call.finish()
            end = float((count - 1) / rate)
            check_overlap(given.times, end, self._pairing.max_ref_distance)

    def _plan(self, frame: Pixels, sizes: list[tuple[int, int]], rate: Fraction) -> Plan:
        return plan_frames(frame, sizes, rate, self._pairing, self._execution)

    def _load(self, plan: Plan, pixels: int) -> Engine:
        self._engine = self._engines.load(plan, lambda line: None, pixels=pixels)
        return self._engine


class _VideoCall:
    """The state of one call of `Enhancer.video`."""

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        given: GivenReferences,
        rate: Fraction,
        pairing: PairingSettings,
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._interval = float(1 / rate)
        self._arriving = ArrivingFrames(
            given.times, rate, pairing.max_ref_distance, pairing.ref_count
        )
        self._pairer = FramePairer(plan, given, borrow=engine.info.borrows)
        self._waiting: deque[tuple[Pixels, Form]] = deque()
        self._paired: list[PairedFrame] = []
        self._forms: list[Form] = []

    def check(self, pixels: Pixels, name: str) -> None:
        """Raise InputError if a frame's size or bit depth differs from the first frame's."""
        lr = self._plan.input
        depth = 8 * pixels.itemsize
        height, width = pixels.shape[:2]
        if (width, height, depth) != (lr.width, lr.height, lr.bit_depth):
            raise InputError(
                f"{name} is {width}x{height} with {depth} bits, but frame 0 is "
                f"{lr.width}x{lr.height} with {lr.bit_depth} bits; call `video` again for frames "
                "of another size or depth"
            )

    def add(self, pixels: Pixels, form: Form) -> Iterator[Any]:
        """Add the next frame, and yield the enhanced frames of the batches that are now full."""
        # copy the pixels, because video readers often reuse one array for all frames
        self._waiting.append((pixels.copy(), form))
        yield from self._pair(self._arriving.add(pixels))

    def finish(self) -> Iterator[Any]:
        """Yield the remaining enhanced frames."""
        yield from self._pair(self._arriving.finish())
        yield from self._enhance_batch()

    def _pair(self, choices: Iterable[ReferenceChoice]) -> Iterator[Any]:
        """Pair waiting frames with their references, and yield the frames of full batches."""
        for choice in choices:
            pixels, form = self._waiting.popleft()
            self._paired.append(self._pairer.pair(choice, pixels, self._interval))
            self._forms.append(form)
            if len(self._paired) == self._plan.batch:
                yield from self._enhance_batch()

    def _enhance_batch(self) -> Iterator[Any]:
        """Yield the enhanced frames of the current batch, which may be empty."""
        paired, forms = self._paired, self._forms
        self._paired, self._forms = [], []
        if paired:
            for pixels, form in zip(_enhance(self._plan, self._engine, paired), forms, strict=True):
                yield form.restore(pixels)


def _list_pictures(
    references: Sequence[NDArray[Any] | Tensor] | NDArray[Any] | Tensor,
) -> GivenReferences:
    """Return one or several references as GivenReferences; raises InputError if there are none."""
    single = isinstance(references, np.ndarray) or is_tensor(references)
    pictures = [references] if single else list(references)
    return order_references(check_pairs((0, picture) for picture in pictures), Fraction(1))


def _enhance(plan: Plan, engine: Engine, paired: Sequence[PairedFrame]) -> list[Pixels]:
    """Return the enhanced frames of a batch. Raises StageError if the engine fails."""
    try:
        return enhance_batch(plan, engine, make_batch(_TASK, paired, (), last=False)).frames
    except EngineError as error:
        raise StageError(f"infer: {error}") from error
