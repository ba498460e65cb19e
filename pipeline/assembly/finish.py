"""Finish a run: join the committed segments, verify the output, and publish it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.assembly.views import find_view_differences, join_views
from pipeline.errors import InputError, PipelineError, StageError, VerificationError, first_line
from pipeline.interrupt import Interrupts
from pipeline.ledger.durable import check_free, fsync_tree, publish_output, write_atomically
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.plan_beside import plan_path, plan_url
from pipeline.lightfield.sidecar import publish_sidecar
from pipeline.media.join import remux, sequence, verify
from pipeline.media.join.film import describe_output
from pipeline.media.read.identity import UnchangedSources
from pipeline.paths import redact_url
from pipeline.remote import transfer
from pipeline.schema.clip import FrameIndex, LightField
from pipeline.schema.frame_size import match_pixel_aspect
from pipeline.schema.plan import Plan, RunRecord
from pipeline.schema.plan_file import check_is_plan, dump_plan, plan_lines

_LISTED_DIFFERENCES = 3  # an error message lists up to this many, and counts the others


def promised_frames(plan: Plan) -> FrameIndex:
    """Return an index of the frames that the output must contain according to the plan."""
    return FrameIndex(
        pts=plan.reference_map.in_order().pts,
        keys=[],
        end_pts=max(s.end_pts for s in plan.segments),
    )


def locate_plan(ledger: Ledger) -> str:
    """Return the path or URL of the plan beside the output of the ledger's run."""
    if url := ledger.plan.output_url:
        return plan_url(url)
    return str(plan_path(ledger.output))


def join_segments(plan: Plan, files: list[Path], finished: Path) -> None:
    """Join the segment files, which are in presentation order, into an output at `finished`."""
    if isinstance(plan.input, LightField):
        join_views(plan, plan.input, files, finished)
        return

    shown = match_pixel_aspect(plan.input, plan.width, plan.height)
    if plan.pictures:
        sequence.write_sequence(shown, files, finished, promised_frames(plan), plan.pictures)
    else:
        clip = describe_output(shown, plan.output)
        remux.join_segments(clip, files, finished, plan.encoding)


def find_differences(plan: Plan, files: list[Path], finished: Path) -> list[str]:
    """Return how the output at `finished` differs from what the plan promises.

    Each item is one line of text. `files` are the segments from which the output was joined.
    """
    if isinstance(plan.input, LightField):
        return find_view_differences(plan, plan.input, finished)

    promised = promised_frames(plan)
    size = (plan.width, plan.height)
    shown = match_pixel_aspect(plan.input, *size)
    if plan.pictures:
        return sequence.find_differences(shown, promised, finished, *size, plan.pictures, files)
    clip = describe_output(shown, plan.output)
    return verify.find_differences(clip, promised, finished, *size, plan.encoding)


def finish(
    ledger: Ledger,
    interrupts: Interrupts,
    make_record: Callable[[], RunRecord],
    *,
    force: bool,
    join: Callable[[Plan, list[Path], Path], None] = join_segments,
    compare: Callable[[Plan, list[Path], Path], list[str]] = find_differences,
) -> str:
    """Join the segments, verify the output and publish it; return the path or URL of its plan.

    `make_record` returns the record of the run so far, which is added to the published plan.
    Everything is first written to the run folder, and is published only after verification. Raises
    StageError if a step fails, VerificationError if the output differs from the plan,
    ChangedInputError if a recording has changed since it was planned, and InputError if another
    output appeared during the run.
    """
    plan, output = ledger.plan, ledger.output
    # FFmpeg chooses the container from the suffix
    finished = ledger.folder.path / f"assembled{output.suffix}"
    files = ledger.committed_files()
    sources = UnchangedSources(plan)
    sources.check()  # audio and other streams are copied from the input

    try:
        with _resumable("assemble"):
            join(plan, files, finished)
        with _resumable("verify"):
            found = compare(plan, files, finished)
    finally:
        sources.check()
    if found:
        listed = "; ".join(found[:_LISTED_DIFFERENCES])
        rest = len(found) - _LISTED_DIFFERENCES
        more = f" and {rest} more" if rest > 0 else ""
        raise VerificationError(
            f"the finished output differs from its plan: {listed}{more}; try another container or "
            "encoder, or report the problem"
        )

    with _resumable("publish"):
        fsync_tree(finished)
        recorded = plan.model_copy(update={"record": make_record()})
        if plan.output_url:
            return _upload(ledger, finished, recorded, force=force)

        staged_plan = finished.with_suffix(".plan.json")
        write_atomically(staged_plan, plan_lines(recorded))
        ledger.announce_output(finished)
        with interrupts.defer():
            check_free(finished, output, force=force)
            published_plan = plan_path(output)
            check_is_plan(published_plan, "-o")  # a file may have appeared during the run
            staged_plan.replace(published_plan)
            if isinstance(plan.input, LightField):
                publish_sidecar(finished, output)
            publish_output(finished, output, ledger.folder.path, force=force)
            ledger.remove_run_folder()
    return str(published_plan)


def _upload(ledger: Ledger, finished: Path, plan: Plan, *, force: bool) -> str:
    """Upload the plan and the output to the output's URL, and return the URL of the uploaded plan.

    The run folder is deleted. An interrupted upload leaves no output at the URL. Raises InputError
    if another output appeared there during the run and `force` is False.
    """
    url = plan.output_url
    if not force and transfer.find_file(url) is not None:
        raise InputError(
            f"another output appeared at {redact_url(url)} during the run; move it elsewhere, or "
            "try --force to replace it"
        )
    ledger.announce_output(finished)
    published_plan = plan_url(url)
    transfer.write_bytes(published_plan, dump_plan(plan).encode())
    transfer.upload_file(finished, url)
    ledger.remove_run_folder()
    return published_plan


@contextmanager
def _resumable(stage: str) -> Iterator[None]:
    """Convert unexpected errors into a one-line StageError that says how to continue."""
    try:
        yield
    except PipelineError:
        raise
    except Exception as error:
        raise StageError(
            f"{stage}: {first_line(error)}; the segments are kept; run the same command again"
        ) from error
