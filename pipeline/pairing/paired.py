"""The result of pairing: which reference serves which frame of the input."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schema.plan import ReferencePlan
from pipeline.schema.reference_map import ReferenceMap


@dataclass(frozen=True)
class Paired:
    """The reference, its frame for every frame of the input, the scene cuts and notes for users."""

    reference: ReferencePlan
    choices: ReferenceMap
    cuts: tuple[int, ...]
    notes: list[str]
