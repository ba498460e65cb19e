"""Weights that a batch adapts to one of its inputs and tries on all others.

They are stored beside the batch's list of failures until all inputs are done, so that a stopped
batch resumes with the same weights.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pipeline.ledger.durable import fsync
from pipeline.paths import is_url
from pipeline.remote import cache, transfer

_DIGITS = 12  # digits of the base weights' digest in a file name


class SharedWeights:
    """The adapted weights of a batch: one file for each set of base weights.

    `place` is the common prefix of the files' paths or URLs. In each name, the digest of the base
    weights follows it.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def find(self, base: str) -> Path | None:
        """Return the file of weights adapted from the base with this SHA-256, or None."""
        from crossnetpp.checkpoint import WeightsError, read_adapted_facts  # imports torch

        place = self._name_file(base)
        if is_url(place):
            file = cache.fetch_copy(place) if transfer.find_file(place) is not None else None
        else:
            file = Path(place) if Path(place).is_file() else None
        try:
            facts = None if file is None else read_adapted_facts(file)
        except WeightsError:
            return None
        return file if facts is not None and facts.base == base else None

    def offer(self, weights: Path, base: str) -> None:
        """Store weights for later inputs, unless weights from the same base are already stored."""
        if self.find(base) is not None:
            return
        place = self._name_file(base)
        if is_url(place):
            transfer.upload_file(weights, place)
            return

        attempt = Path(f"{place}.attempt")
        shutil.copyfile(weights, attempt)
        fsync(attempt)
        attempt.replace(place)

    def remove(self) -> None:
        """Delete all files; call this once no input needs them."""
        stem = re.escape(Path(self._place).name)
        name = re.compile(rf"{stem}-[0-9a-f]{{{_DIGITS}}}\.safetensors(\.attempt)?")
        if is_url(self._place):
            for found in transfer.list_files(f"{self._place.rpartition('/')[0]}/"):
                if name.fullmatch(found.url.rpartition("/")[2]):
                    transfer.remove_file(found.url)
            return

        for path in Path(self._place).parent.iterdir():
            if name.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _name_file(self, base: str) -> str:
        return f"{self._place}-{base[:_DIGITS]}.safetensors"
