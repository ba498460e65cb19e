"""Adapted weights in a run folder, where every worker of the run finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StageError
from pipeline.ledger import mirror
from pipeline.ledger.durable import ATTEMPT_PREFIX, fsync
from pipeline.ledger.names import ADAPTED
from pipeline.ledger.run_folder import RunFolder
from pipeline.paths import sha256
from pipeline.schema.plan import Plan


def store_adapted_weights(folder: RunFolder, save: Callable[[Path], None]) -> str:
    """Store adapted weights in the run folder and in its mirror, if any; return their SHA-256.

    `save` writes the weights to the path that is passed to it.
    """
    attempt = folder.path / f"{ATTEMPT_PREFIX}{ADAPTED}"
    save(attempt)
    fsync(attempt)
    attempt.replace(folder.path / ADAPTED)
    fsync(folder.path)
    if folder.mirror:
        mirror.push_adapted(folder.mirror, folder.path / ADAPTED)
    return sha256(folder.path / ADAPTED)


def find_adapted_weights(folder: RunFolder, digest: str) -> Path | None:
    """Return the path of a run's adapted weights, or None if they are missing or have changed.

    `digest` is their SHA-256. If another machine stored them in the mirror, they are downloaded
    once per machine.
    """
    path = folder.path / ADAPTED
    if _is_intact(path, digest):
        return path
    if not folder.mirror:
        return None
    copy = mirror.fetch_adapted(folder.mirror)
    return copy if copy is not None and _is_intact(copy, digest) else None


def use_adapted_weights(plan: Plan, folder: RunFolder) -> Plan:
    """Return the plan with the run's adapted weights, if any, as its model.

    Raises StageError if the weights are missing or have changed.
    """
    adaptation = plan.adaptation
    if adaptation is None or not adaptation.weights_sha256:
        return plan
    path = find_adapted_weights(folder, adaptation.weights_sha256)
    if path is None:
        raise StageError(
            f"the adapted weights in {folder.path} are missing or have changed; run the same "
            "command again"
        )
    weights = {"model": str(path.absolute()), "model_sha256": adaptation.weights_sha256}
    return plan.model_copy(update=weights)


def _is_intact(path: Path, digest: str) -> bool:
    return path.is_file() and sha256(path) == digest
