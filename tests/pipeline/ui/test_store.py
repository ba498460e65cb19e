"""Jobs outlive the server, and one server uses a folder at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.ui.store import JobStore


def test_jobs_are_there_again_the_newest_first(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "page")
    first = store.create()
    second = store.create()
    store.change(first.id, title="clip.mp4", state="paused", options={"crf": "18"})
    store.close()

    again = JobStore(tmp_path / "page")
    assert {job.id for job in again.list_jobs()} == {first.id, second.id}
    assert again.list_jobs() == sorted(again.list_jobs(), key=lambda job: job.id, reverse=True)
    found = again.find(first.id)
    assert (found.title, found.state, found.options) == ("clip.mp4", "paused", {"crf": "18"})
    again.close()


def test_a_second_server_is_refused_the_folder(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "page")
    with pytest.raises(InputError, match="another `pipeline ui`"):
        JobStore(tmp_path / "page")
    store.close()
    JobStore(tmp_path / "page").close()


def test_broken_and_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "page")
    good, broken, moved = store.create(), store.create(), store.create()
    store.close()
    jobs = tmp_path / "page" / "jobs"
    (jobs / broken.id / "job.json").write_text("{", encoding="utf-8")
    (jobs / moved.id / "job.json").write_text(
        json.dumps(json.loads((jobs / good.id / "job.json").read_text()) | {"id": "../../x"})
    )
    (jobs / "notes").mkdir()
    (jobs / "file.txt").touch()

    again = JobStore(tmp_path / "page")
    assert [job.id for job in again.list_jobs()] == [good.id]
    again.remove(good.id)
    assert {path.name for path in jobs.iterdir()} == {broken.id, moved.id, "notes", "file.txt"}
    again.close()


def test_a_removed_job_cannot_be_changed(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "page")
    job = store.create()
    store.remove(job.id)
    with pytest.raises(InputError, match="no longer exists"):
        store.change(job.id, state="done")
    assert not store.change_if(job.id, lambda found: True, state="done")
    assert list((tmp_path / "page" / "jobs").iterdir()) == []
    store.close()


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "page").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot be used as a folder"):
        JobStore(tmp_path / "page")
