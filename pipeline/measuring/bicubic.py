"""Up-sample a plan's input bicubically, to measure how much better the result is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import MediaError
from pipeline.media.read.identity import fingerprint, list_files
from pipeline.pairing.edits.frames import Pictures, open_edited
from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels
from pipeline.schema.plan import Plan


class Upsampling:
    """The bicubically enlarged frames of a plan's input; without a plan, there are none.

    If the reference is trusted, the frames are first edited in the same way as its key frames.
    """

    def __init__(self, plan: Plan | None, source: Pictures | None) -> None:
        self._plan = plan
        self._source = source

    def get(self, number: int) -> Pixels | None:
        """Return the enlarged frame for entry `number` of the reference map, as H x W x 3 RGB.

        The result is None without a plan, or if the frame cannot be read.
        """
        if self._plan is None or self._source is None:
            return None
        try:
            lr = self._source.get(self._plan.reference_map[number].pts)
        except MediaError:
            return None
        return upsample(lr, self._plan.height, self._plan.width)


@contextmanager
def open_upsampling(plan: Plan | None) -> Iterator[Upsampling]:
    """Yield the bicubically enlarged frames of a plan's input.

    There are none without a plan, or if the input's files are missing or have changed.
    """
    if plan is None or not _is_unchanged(plan):
        yield Upsampling(None, None)
        return

    with open_edited(plan) as source:
        yield Upsampling(plan, source)


def _is_unchanged(plan: Plan) -> bool:
    try:
        return fingerprint(list_files(plan.input)) == plan.input.fingerprint
    except OSError:
        return False
