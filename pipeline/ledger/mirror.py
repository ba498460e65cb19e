"""The run folder at a URL: segments and records go there as they are committed, and come back.

<folder of OUT>/.<name of OUT>.run/plan.json
                                   00003-*.nut   uploaded first, in one piece
                                   00003.json    its record, which makes it count
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import PipelineError
from pipeline.paths import join_url, url_name
from pipeline.remote import transfer
from pipeline.schema.plan import Plan, SegmentRecord

PLAN = "plan.json"
PUBLISHING = "publishing.json"


def mirror_of(url: str) -> str:
    """Return the URL of the run folder that belongs to the output `url`."""
    folder, _, name = url.rpartition("/")
    return f"{folder}/.{name}.run"


def push(mirror: str, segment: Path, record: SegmentRecord) -> SegmentRecord:
    """Upload a committed segment, then its record; another attempt's valid record stays."""
    name = f"{record.segment:05d}.json"
    if (first := stored_record(mirror, record.segment, record.plan)) is not None:
        return first
    transfer.upload(segment, join_url(mirror, segment.name))
    transfer.write(join_url(mirror, name), record.model_dump_json().encode())
    return record


def stored_record(mirror: str, segment: int, digest: str) -> SegmentRecord | None:
    """Return a segment's record there, None if there is none for this plan."""
    content = transfer.read(join_url(mirror, f"{segment:05d}.json"))
    try:
        record = SegmentRecord.model_validate_json(content or b"")
    except ValidationError:
        return None
    return record if (record.segment, record.plan) == (segment, digest) else None


def discard(mirror: str, segment: int) -> None:
    """Delete a record whose segment proved to be broken, so that another takes its place."""
    transfer.remove(join_url(mirror, f"{segment:05d}.json"))


def pull(mirror: str, segment: int, segments: Path, digest: str) -> None:
    """Bring a committed segment and its record here; the record tells whether both are sound."""
    record = stored_record(mirror, segment, digest)
    if record is None or "/" in record.file:
        return
    found = transfer.find(join_url(mirror, record.file))
    if found is None:
        return
    transfer.download(found, segments / record.file)
    (segments / f"{segment:05d}.json").write_text(record.model_dump_json(), encoding="utf-8")


def pull_all(mirror: str, segments: Path, digest: str) -> None:
    """Bring here what an earlier run of the same plan, on whatever machine, has committed."""
    for file in transfer.files_in(mirror):
        name = url_name(file.url)
        number = name.removesuffix(".json")
        if number.isdigit() and not (segments / name).exists():
            pull(mirror, int(number), segments, digest)


def open_mirror(mirror: str, plan: Plan) -> bool:
    """Make the folder there this plan's; returns False if it holds what is worth pulling."""
    content = transfer.read(join_url(mirror, PLAN))
    try:
        if content is not None and Plan.model_validate_json(content).digest() == plan.digest():
            return False
    except ValidationError:
        pass
    clear(mirror)
    transfer.write(join_url(mirror, PLAN), plan.model_dump_json().encode())
    return True


def announce(mirror: str, digest: str) -> None:
    """Write down the sha256 of what is about to be uploaded as the output."""
    transfer.write(join_url(mirror, PUBLISHING), digest.encode())


def published(mirror: str, url: str) -> bool:
    """Return whether the file at `url` is the one that was announced."""
    expected = transfer.read(join_url(mirror, PUBLISHING))
    return expected is not None and transfer.sha256(url) == expected.decode()


def stored_plan(mirror: str) -> Plan | None:
    """Return the plan of an unfinished run there, if there is a readable one."""
    try:
        return Plan.model_validate_json(transfer.read(join_url(mirror, PLAN)) or b"")
    except (ValidationError, PipelineError):
        return None


def clear(mirror: str) -> None:
    """Delete everything there, the plan last: what is left is found by it."""
    files = sorted(transfer.files_in(mirror), key=lambda f: f.url.endswith((PUBLISHING, PLAN)))
    for file in files:
        transfer.remove(file.url)
    if files:
        transfer.remove_folder(mirror)
