"""TODO: what this module is for."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schema.plan import ReferencePlan
from pipeline.schema.reference_map import ReferenceMap


@dataclass(frozen=True)
class Paired:
    """How the reference stream serves the input."""

    reference: ReferencePlan
    choices: ReferenceMap
    cuts: tuple[int, ...]
    notes: list[str]
