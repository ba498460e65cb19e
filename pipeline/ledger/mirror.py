"""The mirror: a run folder at a URL, so that a run can be resumed on another machine.

<folder of OUT>/.<name of OUT>.run/
    plan.json                the plan to which the segments belong
    adapted.safetensors      the weights, if they were adapted to the recording
    00003-*.nut              a segment, uploaded in one piece
    00003.json               the segment's record, uploaded last, which proves that it is done
    publishing.json          the digest of the finished output, stored before the output is uploaded
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.ledger.names import ADAPTED, PLAN, PUBLISHING, record_name
from pipeline.paths import join_url, url_name
from pipeline.remote import cache, transfer
from pipeline.schema.plan import Plan, SegmentRecord


def mirror_url(output_url: str) -> str:
    """Return the URL of the run folder for the output at `output_url`."""
    folder, _, name = output_url.rpartition("/")
    return f"{folder}/.{name}.run"


def push_segment(mirror: str, segment: Path, record: SegmentRecord) -> SegmentRecord:
    """Upload a committed segment and its record, and return the record.

    If the mirror already has a record from another attempt at the segment, return that one, and
    upload nothing.
    """
    first = read_record(mirror, record.segment, record.plan)
    if first is not None:
        return first

    transfer.upload_file(segment, join_url(mirror, segment.name))
    transfer.write_bytes(_record_url(mirror, record.segment), record.model_dump_json().encode())
    return record


def read_record(mirror: str, segment: int, digest: str) -> SegmentRecord | None:
    """Return a segment's record, or None if the mirror has none for the plan with this digest."""
    content = transfer.read_bytes(_record_url(mirror, segment))
    try:
        record = SegmentRecord.model_validate_json(content or b"")
    except ValidationError:
        return None
    return record if (record.segment, record.plan) == (segment, digest) else None


def remove_record(mirror: str, segment: int) -> None:
    """Delete the record of a broken segment."""
    transfer.remove_file(_record_url(mirror, segment))


def pull_segment(mirror: str, segment: int, segments: Path, digest: str) -> None:
    """Download a committed segment and its record, if the mirror has both.

    The caller must check the segment against the digest in its record.
    """
    record = read_record(mirror, segment, digest)
    if record is None or "/" in record.file:
        return

    found = transfer.find_file(join_url(mirror, record.file))
    if found is None:
        return
    transfer.download_file(found, segments / record.file)
    (segments / record_name(segment)).write_text(record.model_dump_json(), encoding="utf-8")


def pull_segments(mirror: str, segments: Path, digest: str) -> None:
    """Download the segments that runs of the same plan committed on other machines."""
    for file in transfer.list_files(mirror):
        name = url_name(file.url)
        number = name.removesuffix(".json")
        if number.isdigit() and not (segments / name).exists():
            pull_segment(mirror, int(number), segments, digest)


def claim_mirror(mirror: str, plan: Plan) -> bool:
    """Clear the mirror and store `plan` in it, unless that plan is already there.

    Return True if the mirror was cleared, and False if it may contain segments of the plan.
    """
    content = transfer.read_bytes(join_url(mirror, PLAN))
    try:
        if content is not None and Plan.model_validate_json(content).digest() == plan.digest():
            return False
    except ValidationError:
        pass

    clear_mirror(mirror)
    transfer.write_bytes(join_url(mirror, PLAN), plan.model_dump_json().encode())
    return True


def replace_plan(mirror: str, plan: Plan) -> None:
    """Replace the stored plan with `plan`; any adapted weights must be in the mirror already."""
    transfer.write_bytes(join_url(mirror, PLAN), plan.model_dump_json().encode())


def push_adapted(mirror: str, weights: Path) -> None:
    """Upload the file of adapted weights."""
    transfer.upload_file(weights, join_url(mirror, ADAPTED))


def fetch_adapted(mirror: str) -> Path | None:
    """Return a local copy of the adapted weights, or None if the mirror has none."""
    url = join_url(mirror, ADAPTED)
    return cache.fetch_copy(url) if transfer.find_file(url) is not None else None


def announce_output(mirror: str, digest: str) -> None:
    """Store the SHA-256 of the file that is about to be uploaded as the output."""
    transfer.write_bytes(join_url(mirror, PUBLISHING), digest.encode())


def is_published(mirror: str, output_url: str) -> bool:
    """Return whether the file at `output_url` is the announced output."""
    expected = transfer.read_bytes(join_url(mirror, PUBLISHING))
    return expected is not None and transfer.sha256(output_url) == expected.decode()


def read_plan(mirror: str) -> Plan | None:
    """Return the plan of an unfinished run, or None if there is no readable one."""
    try:
        return Plan.model_validate_json(transfer.read_bytes(join_url(mirror, PLAN)) or b"")
    except (ValidationError, PipelineError):
        return None


def clear_mirror(mirror: str) -> None:
    """Delete everything in the mirror.

    The plan and the digest of the output are deleted last, because a later run needs them to
    identify the other files.
    """
    files = sorted(transfer.list_files(mirror), key=lambda f: f.url.endswith((PUBLISHING, PLAN)))
    for file in files:
        transfer.remove_file(file.url)
    if files:
        transfer.remove_folder(mirror)


def _record_url(mirror: str, segment: int) -> str:
    return join_url(mirror, record_name(segment))
