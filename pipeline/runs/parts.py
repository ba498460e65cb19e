"""The parts of a run that callers can replace, such as the engines it loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from deploy.protocol import Engine, EngineError
from pipeline.assembly.finish import finish
from pipeline.errors import InputError
from pipeline.execution.infer import Enhance, enhance_batch
from pipeline.interrupt import Interrupts
from pipeline.ledger.ledger import Ledger
from pipeline.schema.plan import Plan, RunRecord

if TYPE_CHECKING:
    from pipeline.execution.cluster.actor import SegmentActor


FAR_LARGER = 4  # times the pixels of an earlier input; `auto` may then prefer another engine


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
    """The last engine that was loaded in this process: the inputs of a batch mostly share it."""

    def __init__(self) -> None:
        self._key: tuple[str, str, str, int] | None = None
        self._engine: Engine | None = None
        self._pixels = 0

    def load(self, plan: Plan, notify: Callable[[str], None]) -> Engine:
        """Return the plan's engine; raises InputError if it cannot be loaded.

        `auto` is decided again for an input that is far larger than the one it was decided for.
        `notify` receives a line before work that takes long.
        """
        key = plan.engine, plan.model, plan.model_sha256, plan.threads
        pixels = plan.output_pixels
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


@dataclass(frozen=True)
class RunParts:
    """The replaceable parts of runs, which runs of the same process can share."""

    engines: EngineCache = field(default_factory=EngineCache)
    """Engines of runs in this process."""
    enhance: Enhance = enhance_batch
    """The network's step of runs in this process."""
    finish: Finish = finish
    """The step that joins, verifies and publishes the output."""
    actor: type[SegmentActor] | None = None
    """Class of the actors of runs on Ray; None = SegmentActor."""
