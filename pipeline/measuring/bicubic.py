"""Up-sample a plan's input plainly, to measure what the result gains over plain up-sampling."""

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
    """The frames of a plan's input, enlarged bicubically; there are none without a plan.

    If the reference is trusted, they are edited like its key frames before that.
    """

    def __init__(self, plan: Plan | None, source: Pictures | None) -> None:
        self._plan = plan
        self._source = source

    def get(self, number: int) -> Pixels | None:
        """Return the enlarged frame of entry `number` in the reference map, as H x W x 3 RGB.

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
    """Yield the enlarged frames of a plan's input.

    There are none without a plan, or if the input's files are gone or have changed since planning.
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
