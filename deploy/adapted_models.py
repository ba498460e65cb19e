"""Limit what weights that were adapted to single recordings leave in the registry."""

from __future__ import annotations

import json

from filelock import FileLock

from deploy.registry import Registry

KEPT = 4  # adapted models whose graphs stay in the registry, so that their runs can resume
_LIST = "adapted.list"


def is_adapted(model: str) -> bool:
    """Return whether `model` names a file of weights that were adapted to a recording."""
    from crossnetpp.checkpoint import WeightsError, find_weights, read_adapted_facts

    try:
        return read_adapted_facts(find_weights(model)) is not None
    except WeightsError:  # the engine itself reports it
        return False


def limit_adapted_models(model: str, registry: Registry) -> None:
    """Record the use of `model` if it is adapted, and forget all but the last KEPT such models.

    Every run may have a model of its own, whose graphs nobody would use again.
    """
    if not is_adapted(model):
        return
    from deploy.export.stored import weights_sha256  # imports torch

    digest = weights_sha256(model)
    path = registry.root / _LIST
    with FileLock(registry.root / f"{_LIST}.lock", mode=0o600):
        try:
            known = [str(each) for each in json.loads(path.read_text(encoding="utf-8"))]
        except (OSError, ValueError, TypeError):
            known = []
        recent = [digest, *(each for each in known if each != digest)]
        path.write_text(json.dumps(recent[:KEPT]), encoding="utf-8")

    if forgotten := set(recent[KEPT:]):
        for entry in registry.entries():
            if entry["key"].get("weights") in forgotten:
                registry.remove(entry["key"])
