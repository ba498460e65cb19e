"""From committed segments to the published output: join, verify, rename."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.assembly.views import join_views, view_differences
from pipeline.errors import InputError, PipelineError, StageError, VerificationError, first_line
from pipeline.interrupt import Interrupts
from pipeline.ledger.durable import fsync_tree, publish_output, write_atomically
from pipeline.ledger.ledger import Ledger
from pipeline.lightfield.sidecar import publish_sidecar
from pipeline.media.join import sequence
from pipeline.media.join.remux import assemble
from pipeline.media.join.verify import differences
from pipeline.paths import join_url
from pipeline.remote import transfer
from pipeline.schema.clip import FrameIndex, LightField
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import dump_plan, plan_lines

_LISTED = 3
"""Differences named in the error; the rest are counted."""


def promised_frames(plan: Plan) -> FrameIndex:
    """Return the frames which the output must hold, as the plan lists them."""
    return FrameIndex(
        pts=plan.reference_map.in_order().pts,
        keys=[],
        end_pts=max(s.end_pts for s in plan.segments),
    )


def plan_path(output: Path) -> Path:
    """Return where the plan with its reference map is kept: `<output stem>.plan.json`."""
    return output.with_name(f"{output.stem}.plan.json")


def plan_place(ledger: Ledger) -> str:
    """Return the path or URL of the plan beside the output."""
    if url := ledger.plan.output_url:
        return join_url(url.rpartition("/")[0], plan_path(ledger.output).name)
    return str(plan_path(ledger.output))


def finish(ledger: Ledger, interrupts: Interrupts, *, force: bool) -> str:
    """Assemble, verify and publish; returns the path or URL of the plan beside the output.

    Nothing is at the output's path before everything has been verified.
    """
    plan, output = ledger.plan, ledger.output
    # the name keeps its suffix: FFmpeg chooses the container by it
    finished = ledger.folder.path / f"assembled{output.suffix}"
    files = ledger.committed_files()
    views = isinstance(plan.input, LightField)
    with _one_line("assemble"):
        _join(plan, files, finished)
    with _one_line("verify"):
        found = _differences(plan, files, finished)
    if found:
        listed = "; ".join(found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise VerificationError(f"the finished output differs from the input: {listed}{more}")
    with _one_line("publish"):
        fsync_tree(finished)
        if plan.output_url:
            _upload(ledger, finished, force=force)
            return plan_place(ledger)
        with interrupts.held():
            ledger.announce_output(finished)
            write_atomically(plan_path(output), plan_lines(plan))
            if views:
                publish_sidecar(finished, output)
            publish_output(finished, output, ledger.folder.path, force=force)
            ledger.remove_run_folder()
    return plan_place(ledger)


def _join(plan: Plan, files: list[Path], finished: Path) -> None:
    """Write the output from the segments."""
    if isinstance(plan.input, LightField):
        join_views(plan, plan.input, files, finished)
    elif plan.pictures:
        sequence.assemble(plan.input, files, finished, promised_frames(plan), plan.pictures)
    else:
        assemble(plan.input, files, finished, plan.encoding)


def _differences(plan: Plan, files: list[Path], finished: Path) -> list[str]:
    """Return how what was written differs from what was promised."""
    if isinstance(plan.input, LightField):
        return view_differences(plan, plan.input, finished)
    given, promised, size = plan.input, promised_frames(plan), (plan.width, plan.height)
    if plan.pictures:
        return sequence.differences(given, promised, finished, *size, plan.pictures, files)
    return differences(given, promised, finished, *size, plan.encoding)


def _upload(ledger: Ledger, finished: Path, *, force: bool) -> None:
    """Publish at a URL: what is interrupted here leaves nothing there."""
    url = ledger.plan.output_url
    if not force and transfer.find_file(url) is not None:
        raise InputError(f"{url} appeared during the run; move it away, or use --force")
    ledger.announce_output(finished)
    transfer.write_bytes(plan_place(ledger), dump_plan(ledger.plan).encode())
    transfer.upload_file(finished, url)
    ledger.remove_run_folder()


@contextmanager
def _one_line(stage: str) -> Iterator[None]:
    """Turn what breaks in here into a StageError which says that nothing is lost."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        raise StageError(
            f"{stage}: {first_line(error)}; the segments are kept, run the same command again"
        ) from error
