"""Limit how many adapted models have files in the registry."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from deploy.registry import Registry, RegistryError

KEPT = 4  # number of adapted models whose files are kept, so that their runs can resume
_LIST = "adapted.list"


def is_adapted(model: str) -> bool:
    """Return whether `model` is a file of weights that were adapted to a recording.

    The result is False if the weights cannot be read.
    """
    from crossnetpp.checkpoint import WeightsError, find_weights, read_adapted_facts

    try:
        return read_adapted_facts(find_weights(model)) is not None
    except WeightsError:  # loading the engine will report the error
        return False


def limit_adapted_models(model: str, registry: Registry) -> None:
    """Record the use of `model` if it is adapted, and delete the files of old adapted models.

    Only the KEPT most recently used adapted models keep their files. Every run may adapt a model,
    whose files are rarely needed again once the run has finished. Raises RegistryError if the list
    of adapted models cannot be read or written.
    """
    if not is_adapted(model):
        return
    from deploy.export.stored import weights_sha256  # imports torch

    digest = weights_sha256(model)
    path = registry.root / _LIST
    try:
        with FileLock(registry.root / f"{_LIST}.lock", mode=0o600):
            recent = [digest, *(each for each in _read_list(path) if each != digest)]
            path.write_text(json.dumps(recent[:KEPT]), encoding="utf-8")
    except OSError as error:
        raise RegistryError(
            f"cannot use the list of adapted models {path}: {error.strerror}; set PIPELINE_CACHE "
            "to another folder"
        ) from error

    if forgotten := set(recent[KEPT:]):
        for entry in registry.entries():
            if entry["key"].get("weights") in forgotten:
                # files that another process is using may stay: nothing depends on their deletion
                with suppress(OSError):
                    registry.remove(entry["key"])


def _read_list(path: Path) -> list[str]:
    """Return the digests in the file `path`; the list is empty if it is missing or damaged."""
    if not path.exists():
        return []
    try:
        return [str(each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except (ValueError, TypeError):
        return []
