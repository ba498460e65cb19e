"""The mirror: a run folder at a URL, to which segments are committed and from which a run resumes.

<folder of OUT>/.<name of OUT>.run/plan.json         the plan to which the segments belong
                                   adapted.safetensors  the weights, if they were adapted
                                   00003-*.nut       a segment, uploaded first and in one piece
                                   00003.json        its record, the proof that it is done
                                   publishing.json   the digest of the output to be uploaded
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
    """Return the URL of the run folder that belongs to an output."""
    folder, _, name = output_url.rpartition("/")
    return f"{folder}/.{name}.run"


def push_segment(mirror: str, segment: Path, record: SegmentRecord) -> SegmentRecord:
    """Upload a committed segment and its record, and return the record that is valid.

    If an earlier attempt has stored its record in the mirror, that record stays valid and nothing
    is uploaded.
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
    """Delete the record of a segment that proved to be broken."""
    transfer.remove_file(_record_url(mirror, segment))


def pull_segment(mirror: str, segment: int, segments: Path, digest: str) -> None:
    """Download a committed segment and its record, if the mirror has both.

    The caller checks the segment against the digest in the record.
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
    """Download the segments that earlier runs of the same plan committed on any machine."""
    for file in transfer.list_files(mirror):
        name = url_name(file.url)
        number = name.removesuffix(".json")
        if number.isdigit() and not (segments / name).exists():
            pull_segment(mirror, int(number), segments, digest)


def claim_mirror(mirror: str, plan: Plan) -> bool:
    """Clear the mirror and store `plan` in it, unless it has that plan already.

    Return True if it was cleared, and False if it may contain segments of the plan.
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
    """Store the plan whose adaptation is done. Its weights must be stored first."""
    transfer.write_bytes(join_url(mirror, PLAN), plan.model_dump_json().encode())


def push_adapted(mirror: str, weights: Path) -> None:
    """Upload adapted weights."""
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

    The plan and the digest of the output are deleted last, because they identify the rest to a
    later run.
    """
    files = sorted(transfer.list_files(mirror), key=lambda f: f.url.endswith((PUBLISHING, PLAN)))
    for file in files:
        transfer.remove_file(file.url)
    if files:
        transfer.remove_folder(mirror)


def _record_url(mirror: str, segment: int) -> str:
    return join_url(mirror, record_name(segment))
