"""From committed segments to the published output: join, verify, rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError, PipelineError, StageError, VerificationError
from pipeline.interrupt import Interrupts
from pipeline.ledger import Ledger, fsync, write_atomically
from pipeline.media.remux import assemble
from pipeline.media.verify import differences
from pipeline.plan_file import dumps
from pipeline.schema import FrameIndex, Plan

_LISTED = 3
"""Differences named in the error; the rest are counted."""


def promised_frames(plan: Plan) -> FrameIndex:
    """Return the frames which the output must hold, as the plan lists them."""
    pts = sorted(choice.pts for choice in plan.reference_map)
    return FrameIndex(pts=pts, keys=[], end_pts=max(s.end_pts for s in plan.segments))


def plan_path(output: Path) -> Path:
    """Return where the plan with its reference map is kept: `<output stem>.plan.json`."""
    return output.with_name(f"{output.stem}.plan.json")


def finish(ledger: Ledger, interrupts: Interrupts, *, force: bool) -> Path:
    """Assemble, verify and publish; returns the path of the plan beside the output.

    Nothing is at the output's path before everything has been verified.
    """
    plan, output = ledger.plan, ledger.output
    # the name keeps its suffix: FFmpeg chooses the container by it
    finished = ledger.folder.path / f"assembled{output.suffix}"
    files = ledger.files()
    with _one_line("assemble"):
        assemble(plan.input, files, finished, plan.encoding)
    with _one_line("verify"):
        found = differences(plan.input, promised_frames(plan), finished, plan.width, plan.height)
    if found:
        listed = "; ".join(found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise VerificationError(f"the finished output differs from the input: {listed}{more}")
    reference_map = plan_path(output)
    with _one_line("publish"):
        sync(finished)
        with interrupts.held():
            ledger.announce(finished)
            write_atomically(reference_map, dumps(plan))
            publish(finished, output, ledger.folder.path, force=force)
            ledger.remove()
    return reference_map


@contextmanager
def _one_line(stage: str) -> Iterator[None]:
    """Turn what breaks in here into a StageError which says that nothing is lost."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise StageError(
            f"{stage}: {first_line}; the segments are kept, run the same command again"
        ) from error


def sync(path: Path) -> None:
    """Force a file, or a folder with all it holds, onto the disk."""
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        fsync(file)
    fsync(path)


def publish(finished: Path, output: Path, spare: Path, *, force: bool) -> None:
    """Rename the finished file or folder to its place."""
    if os.path.lexists(output):
        if not force:
            raise InputError(f"{output} appeared during the run; move it away, or use --force")
        if output.is_dir() or finished.is_dir():
            # a folder cannot be replaced in one step: the old one waits in the run folder
            replaced = spare / "replaced"
            output.rename(replaced)
            finished.rename(output)
            shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()
            fsync(output.parent)
            return
    finished.replace(output)
    fsync(output.parent)
