"""Answer the page's requests: a thin layer on top of `JobStore` and `Work`."""

from __future__ import annotations

import asyncio
import math
import shutil
import uuid
from pathlib import Path
from typing import Any

from crossnetpp.printable import make_printable
from deploy.distribution import installed_version
from pipeline.errors import InputError
from pipeline.ledger.durable import remove_path
from pipeline.media.pictures.key_frames import SIDECAR
from pipeline.paths import is_url, redact_url
from pipeline.progress import format_bytes
from pipeline.runs.manifest import is_batch
from pipeline.runs.preview import list_previews
from pipeline.ui.archives import RESERVED_BYTES, pack, unpack
from pipeline.ui.form import check_options, describe_options
from pipeline.ui.job import Job, JobFolder, Role
from pipeline.ui.messages import REPORT_POLICY, Answer, Call, Handler, answer_json
from pipeline.ui.picture_plan import DESCRIPTION
from pipeline.ui.store import JobStore
from pipeline.ui.uploads import (
    NAME_CONFLICTS,
    add_sidecar,
    check_named_path,
    find_recording,
    name_conflict,
    name_unpacked,
    split_name,
)
from pipeline.ui.work import Wanted, Work

PAGE = Path(__file__).parent / "page"
KEPT_SECONDS = 86_400  # how long a command-line run is still shown after its latest frame
# Content types by suffix, because other programs may have changed the system's own table.
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
ARRIVING = ".arriving-"  # prefix of the names of files that are being uploaded


class Handlers:
    """The handlers of all requests."""

    def __init__(self, store: JobStore, work: Work) -> None:
        self._store = store
        self._work = work

    def list_routes(self) -> list[tuple[str, str, Handler]]:
        """Return the method, path and handler of each kind of request."""
        job = "/api/jobs/{job}"
        return [
            ("GET", "/", self.show_page),
            ("GET", "/page/{name}", self.show_page_file),
            ("GET", "/api/options", self.list_options),
            ("GET", "/api/state", self.show_state),
            ("POST", "/api/jobs", self.create_job),
            ("DELETE", job, self.remove_job),
            ("DELETE", job + "/files/{role}", self.clear_files),
            ("PUT", job + "/files/{role}", self.receive_file),
            ("POST", job + "/files/{role}", self.use_files),
            ("POST", job + "/path/{role}", self.use_path),
            ("POST", job + "/options", self.set_options),
            ("POST", job + "/key-frames", self.propose_key_frames),
            ("POST", job + "/start", self.start),
            ("POST", job + "/pause", self.pause),
            ("GET", job + "/plan", self.show_plan),
            ("GET", job + "/plan/{name}", self.show_plan_picture),
            ("GET", job + "/key-frames.zip", self.send_key_frames),
            ("GET", job + "/output", self.send_output),
            ("GET", job + "/report", self.show_report),
            ("GET", job + "/preview/{run}/{name}", self.show_job_preview),
            ("GET", "/api/preview/{run}/{name}", self.show_preview),
        ]

    async def show_page(self, call: Call) -> Answer:
        """Return the page."""
        return _show_file(PAGE, "index.html")

    async def show_page_file(self, call: Call) -> Answer:
        """Return one of the page's scripts, style sheets or icons."""
        return _show_file(PAGE, call.place["name"])

    async def list_options(self, call: Call) -> Answer:
        """Return the options of a run."""
        return answer_json(describe_options())

    async def show_state(self, call: Call) -> Answer:
        """Return all jobs, and previews of runs that were started on the command line."""
        return answer_json(await asyncio.to_thread(self._describe_state))

    def _describe_state(self) -> dict[str, Any]:
        jobs = [self._describe_job(job) for job in self._store.list_jobs()]
        previews = _describe_previews(self._store.folder, "/api/preview", KEPT_SECONDS)
        return {
            "version": installed_version() or "",
            "folder": str(self._store.folder),
            "jobs": jobs,
            "previews": previews,
        }

    def _describe_job(self, job: Job) -> dict[str, Any]:
        folder = self._store.folder_of(job.id)
        described = job.model_dump(mode="json", exclude={"child"})
        described |= self._work.describe(job.id)
        described["notes"] = [make_printable(note) for note in job.notes]
        described["report"] = job.state == "done" and folder.report.is_file()
        described["output"] = redact_url(job.output) if is_url(job.output) else job.output
        described["input_name"] = _name_recording(folder, "input", job.input)
        described["reference_name"] = _name_recording(folder, "reference", job.reference)
        previews = []
        if job.state in ("running", "paused", "done"):
            previews = _describe_previews(folder.path, f"/api/jobs/{job.id}/preview")
        described["preview"] = previews[0] if previews else None
        return described

    def _answer_job(self, job_id: str) -> Answer:
        return answer_json(self._describe_job(self._store.find(job_id)))

    def _find_open(self, call: Call) -> Job:
        """Return the job that a request would change; raises InputError if it has started."""
        job = self._store.find(call.place["job"])
        if not job.is_open:
            raise InputError(
                "this job has started, so its recordings and options can no longer change"
            )
        return job

    async def create_job(self, call: Call) -> Answer:
        """Create an empty job."""
        job = self._store.create()
        return self._answer_job(job.id)

    async def remove_job(self, call: Call) -> Answer:
        """Stop a job, and delete it with everything in its folder."""
        job = self._store.find(call.place["job"])
        await asyncio.to_thread(self._work.forget, job.id)
        await asyncio.to_thread(self._store.remove, job.id)
        return answer_json({})

    async def clear_files(self, call: Call) -> Answer:
        """Delete the files that were uploaded for a role, and forget its recording."""
        job, role = self._find_open(call), _read_role(call)
        folder = self._store.folder_of(job.id).files(role)
        if folder.exists():
            await asyncio.to_thread(remove_path, folder)
        self._change(job, **{role: ""})
        return self._answer_job(job.id)

    async def receive_file(self, call: Call) -> Answer:
        """Store an uploaded file; the query's `name` is its path relative to the role's folder."""
        job, role = self._find_open(call), _read_role(call)
        folder = self._store.folder_of(job.id).files(role)
        folder.mkdir(exist_ok=True)
        target = folder.joinpath(*split_name(call.query.get("name", "")))
        _check_room(folder, call.size)

        arriving = folder / f"{ARRIVING}{uuid.uuid4().hex}"
        try:
            with arriving.open("xb") as file:
                async for piece in call.read_pieces():
                    await asyncio.to_thread(file.write, piece)
            target.parent.mkdir(parents=True, exist_ok=True)
            arriving.replace(target)
        except NAME_CONFLICTS as error:
            raise name_conflict("/".join(split_name(call.query["name"]))) from error
        finally:
            arriving.unlink(missing_ok=True)
        return answer_json({})

    async def use_files(self, call: Call) -> Answer:
        """Unpack the zip files among a role's uploads, and use the recording that results."""
        job, role = self._find_open(call), _read_role(call)
        path = await asyncio.to_thread(self._find_upload, job, role)
        self._use(job, role, str(path))
        return self._answer_job(job.id)

    def _find_upload(self, job: Job, role: Role) -> Path:
        folder = self._store.folder_of(job.id)
        files = folder.files(role)
        files.mkdir(exist_ok=True)
        for archive in sorted(files.rglob("*")):
            if archive.suffix.lower() == ".zip" and archive.is_file():
                target = name_unpacked(archive)
                target.mkdir()
                unpack(archive, target)
                archive.unlink()
        if role == "reference":
            add_sidecar(files, folder.key_frames)
        return find_recording(files)

    async def use_path(self, call: Call) -> Answer:
        """Use the recording at a path on this machine, or at a URL, for a role."""
        job, role = self._find_open(call), _read_role(call)
        path = check_named_path(str((await call.read_object()).get("path", "")))
        self._use(job, role, path)
        return self._answer_job(job.id)

    def _use(self, job: Job, role: Role, path: str) -> None:
        changes: dict[str, Any] = {role: path}
        if role == "input":
            if is_batch((path,), None, job.options):
                raise InputError(
                    "these are several recordings, but a job enhances one video, one set of "
                    "pictures in order, or one light field; create a job for each recording"
                )
            folder = self._store.folder_of(job.id)
            changes |= {"title": _name_recording(folder, role, path), "key_frames": 0}
        self._change(job, **changes)

    def _change(self, job: Job, **changes: Any) -> None:
        """Change fields on which the plan depends, and request a new plan if that is possible."""
        changed = self._store.change(
            job.id, **changes, state="draft", is_planned=False, error="", output="", notes=()
        )
        if changed.input and changed.reference:
            self._work.prepare(job.id, Wanted("plan"))

    async def set_options(self, call: Call) -> Answer:
        """Set the options of a job."""
        job = self._find_open(call)
        options = check_options(await call.read_object())
        if options != job.options:
            self._change(job, options=options)
        return self._answer_job(job.id)

    async def propose_key_frames(self, call: Call) -> Answer:
        """Request key frames: the frames that would help most as references once enlarged."""
        job = self._find_open(call)
        if not job.input:
            raise InputError("there is no recording yet; drop one on the page first")
        count = (await call.read_object()).get("count")
        if count is not None and (type(count) is not int or not 1 <= count <= 1000):
            raise InputError(
                f"cannot propose {count} key frames; enter a whole number from 1 to 1000"
            )
        self._store.change(job.id, key_frames=0, error="")
        self._work.prepare(job.id, Wanted("key frames", count))
        return self._answer_job(job.id)

    async def start(self, call: Call) -> Answer:
        """Queue a job that is new, paused or failed."""
        self._work.start(call.place["job"])
        return self._answer_job(call.place["job"])

    async def pause(self, call: Call) -> Answer:
        """Pause a job; the segments that it has finished are kept."""
        self._work.pause(call.place["job"])
        return self._answer_job(call.place["job"])

    async def show_plan(self, call: Call) -> Answer:
        """Return the description of a job's plan."""
        job = self._store.find(call.place["job"])
        return _show_file(self._store.folder_of(job.id).shown_plan, DESCRIPTION)

    async def show_plan_picture(self, call: Call) -> Answer:
        """Return one of the small pictures of a plan's frames and references."""
        job = self._store.find(call.place["job"])
        return _show_file(self._store.folder_of(job.id).shown_plan, call.place["name"])

    async def send_key_frames(self, call: Call) -> Answer:
        """Return the proposed key frames as a zip file."""
        job = self._store.find(call.place["job"])
        folder = self._store.folder_of(job.id).key_frames
        if not folder.is_dir():
            raise InputError("there are no key frames yet; let the page propose some")
        name = f"{Path(job.title).stem or 'recording'}-key-frames.zip"
        return Answer(kind="application/zip", pieces=pack(folder), save_as=name)

    async def send_output(self, call: Call) -> Answer:
        """Return the output: a file as it is, or a folder as a zip file."""
        job = self._store.find(call.place["job"])
        if is_url(job.output):
            raise InputError(f"the output is at {redact_url(job.output)}; open it there")
        output = Path(job.output)
        if not job.output or not output.exists():
            raise InputError("the output is not finished, or has been moved or deleted")
        if output.is_dir():
            name = f"{output.name}.zip"
            return Answer(kind="application/zip", pieces=pack(output), save_as=name)
        return Answer(file=output, kind="application/octet-stream", save_as=output.name)

    async def show_report(self, call: Call) -> Answer:
        """Return the report of a finished job as a sandboxed page."""
        job = self._store.find(call.place["job"])
        folder = self._store.folder_of(job.id)
        answer = _show_file(folder.path, folder.report.name)
        return Answer(file=answer.file, kind=answer.kind, policy=REPORT_POLICY)

    async def show_job_preview(self, call: Call) -> Answer:
        """Return a preview picture, before or after enhancement, of a job's latest frame."""
        job = self._store.find(call.place["job"])
        return _show_preview(self._store.folder_of(job.id).path, call)

    async def show_preview(self, call: Call) -> Answer:
        """Return a preview picture of the latest frame of a run started on the command line."""
        return _show_preview(self._store.folder, call)


def _read_role(call: Call) -> Role:
    role = call.place["role"]
    if role == "input":
        return "input"
    if role == "reference":
        return "reference"
    raise InputError(f"there is no role {role[:40]!r}; expected input or reference")


def _check_room(folder: Path, size: int | None) -> None:
    """Raise InputError if the disk has no room for a file of this size."""
    free = shutil.disk_usage(folder).free - RESERVED_BYTES
    if size is not None and size > free:
        raise InputError(
            f"the file is {format_bytes(size)}, but the disk has room for only "
            f"{format_bytes(max(0, free))}; free some space, or enter a path on this computer"
        )


def _name_recording(folder: JobFolder, role: Role, path: str) -> str:
    """Return a recording's name for the page; several uploads are named "1.png and 3 more"."""
    if not path or Path(path) != folder.files(role):
        return _shorten(path)
    names = sorted(
        each.name for each in Path(path).iterdir() if each.name[0] != "." and each.name != SIDECAR
    )
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return make_printable(f"{names[0]}{more}") if names else _shorten(path)


def _shorten(path: str) -> str:
    """Return the file name of a path, or a URL without secrets, in printable characters."""
    return make_printable(redact_url(path) if is_url(path) else Path(path).name)


def _show_file(folder: Path, name: str) -> Answer:
    """Return an answer with a file that is directly inside a folder.

    Raises InputError if there is no such file, or if it is hidden.
    """
    path = folder / name
    if path.parent != folder or path.name.startswith(".") or not path.is_file():
        raise InputError("this file does not exist; reload the page")
    return Answer(file=path, kind=KINDS.get(path.suffix, "application/octet-stream"))


def _show_preview(folder: Path, call: Call) -> Answer:
    for place, *_ in list_previews(folder):
        if place.name == call.place["run"] and call.place["name"].endswith(".jpg"):
            return _show_file(place, call.place["name"])
    raise InputError("this preview no longer exists; reload the page")


def _describe_previews(
    folder: Path, address: str, most_age: float = math.inf
) -> list[dict[str, Any]]:
    """Return descriptions of the previews in a folder, newest first.

    Previews older than `most_age` seconds are left out. `address` is the beginning of the paths of
    their URLs.
    """
    return [
        {
            "run": place.name,
            "name": _shorten(preview.input),
            "output": make_printable(preview.output),
            "place": preview.place,
            "width": preview.width,
            "height": preview.height,
            "before": f"{address}/{place.name}/{preview.before}",
            "after": f"{address}/{place.name}/{preview.after}",
            "age": round(age, 1),
        }
        for place, preview, age in list_previews(folder, most_age=most_age)
    ]
