"""The parts of a run that callers can replace, such as the engine that it loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from deploy.protocol import Engine, EngineError
from pipeline.adaptation.shared import SharedWeights
from pipeline.assembly.finish import finish
from pipeline.errors import InputError
from pipeline.execution.infer import Enhance, enhance_batch
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.schema.plan import Plan, RunRecord
from pipeline.schema.settings import InputSettings

if TYPE_CHECKING:
    from pipeline.execution.cluster.actor import SegmentActor


# For an input with over this many times the pixels of the last one, `auto` chooses an engine again.
FAR_LARGER = 4


class Finish(Protocol):
    """The signature of `pipeline.assembly.finish.finish`."""

    def __call__(
        self,
        ledger: Ledger,
        interrupts: Interrupts,
        make_record: Callable[[], RunRecord],
        *,
        force: bool,
    ) -> str:
        """Publish the output and return the path or URL of the plan beside it."""


class EngineCache:
    """Loads engines, and reuses the last one for later inputs of a batch if it suits them."""

    def __init__(self) -> None:
        self._key: tuple[str, str, str, int] | None = None
        self._engine: Engine | None = None
        self._pixels = 0

    def load(
        self, plan: Plan, notify: Callable[[str], None], *, pixels: int | None = None
    ) -> Engine:
        """Return the plan's engine; raises InputError if it cannot be loaded.

        If the plan has adapted weights, `plan.model` must be their file. For `auto`, the engine is
        chosen again if the input is far larger than the one for which it was chosen. `notify`
        receives a line before each slow step. `pixels` is the number of pixels in all of the
        network's frames together; by default, it is `plan.network_pixels`.
        """
        key = plan.engine, plan.model, plan.model_sha256, plan.threads
        if pixels is None:
            pixels = plan.network_pixels
        is_larger = plan.engine == "auto" and pixels > FAR_LARGER * self._pixels
        if self._engine is not None and key == self._key and not is_larger:
            return self._engine

        from deploy.load import load_engine  # imports torch

        # free the memory of the old engine before loading the next
        self._engine = None
        try:
            self._engine = load_engine(
                plan.engine,
                model=plan.model,
                threads=plan.threads,
                notify=notify,
                pixels=pixels,
            )
        except EngineError as error:
            raise InputError(str(error)) from error
        self._key = key
        self._pixels = pixels
        return self._engine


def check_engine(plan: Plan) -> None:
    """Raise InputError if the library or the device of the plan's engine is missing.

    The engine is not compiled, tested or kept. `auto` and `torch` are never missing.
    """
    if plan.engine in ("auto", "torch"):
        return

    from deploy.load import create_engine  # imports torch

    try:
        create_engine(plan.engine, plan.model, plan.threads)
    except EngineError as error:
        raise InputError(str(error)) from error


def ignore_plan(plan: Plan, done: int) -> None:
    """Do nothing; the default of `RunParts.on_open`."""


@dataclass(frozen=True)
class RunParts:
    """The replaceable parts of runs, which runs in the same process can share."""

    engines: EngineCache = field(default_factory=EngineCache)
    """Loads the engines of runs in this process."""
    enhance: Enhance = enhance_batch
    """The step that enhances a batch of frames, for runs in this process."""
    finish: Finish = finish
    """The step that joins, verifies and publishes the output."""
    actor: type[SegmentActor] | None = None
    """The actor class for runs on Ray; None means SegmentActor."""
    on_open: Callable[[Plan, int], None] = ignore_plan
    """Called when a run begins, with its plan and the number of frames that are already done."""
    on_published: Callable[[InputSettings, str], int] | None = None
    """Called when a run has published its output, with its settings and the output's path or URL;
    returns the exit status of the command that it ran."""
    skips_existing: bool = False
    """Whether an existing output is refused (in a batch: its input is skipped) even if a run with
    the same settings finished it."""
    shared_weights: SharedWeights | None = None
    """The weights that the inputs of a batch share; None outside a batch."""
