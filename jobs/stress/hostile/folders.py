"""Run folders, staging folders, outputs and caches that a stranger replaced, changed or owns."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jobs.stress.hostile.bench import OPTIONS, PLAN, RUN, Bench, Case, SkippedError
from jobs.stress.hostile.killing import kill_before

_RUN_FOLDER = ".out.mkv.run"
_STAGING = ".out.mkv.part"


def _plant_link(bench: Bench, name: str) -> None:
    bench.link(name, bench.victim)


def _plant_relative_link(bench: Bench, name: str) -> None:
    bench.link(name, os.path.relpath(bench.victim, (bench.folder / name).parent))


def _plant_dangling_link(bench: Bench, name: str) -> None:
    bench.link(name, bench.victim / "new")


def _plant_file(bench: Bench, name: str) -> None:
    bench.write(name, "x")


def _plant_pipe(bench: Bench, name: str) -> None:
    os.mkfifo(bench.folder / name)


def _plant_socket(bench: Bench, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(bench.folder / name))


_PLANTS: dict[str, Callable[[Bench, str], None]] = {
    "a link": _plant_link,
    "a relative link": _plant_relative_link,
    "a dangling link": _plant_dangling_link,
    "a file": _plant_file,
    "a pipe": _plant_pipe,
    "a socket": _plant_socket,
}


def _attack_run_folder(bench: Bench, what: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    _PLANTS[what](bench, _RUN_FOLDER)
    bench.attack(*RUN, status=(2,), says="must be a folder that you own, or not exist")


def _attack_staging(bench: Bench, what: str) -> None:
    bench.copy("lr.mkv")
    _PLANTS[what](bench, _STAGING)
    bench.attack("degrade", "lr.mkv", "--scale", "2", "-o", "out.mkv", "-q", status=(2,))


def _attack_inside(bench: Bench, name: str, *, hard: bool) -> None:
    """Run with an existing run folder that contains a link to one of the victim's files."""
    bench.copy("lr.mkv", "hr.mkv")
    inside = bench.folder / _RUN_FOLDER / name
    inside.parent.mkdir(parents=True, mode=0o700)
    target = bench.victim / "thesis.txt"
    if hard:
        os.link(target, inside)
    else:
        inside.symlink_to(target)
    bench.attack(*RUN)


def _attack_segments(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.link(f"{_RUN_FOLDER}/segments", bench.victim)
    bench.attack(*RUN, status=(2,))


def _attack_mode(bench: Bench, mode: int) -> None:
    bench.copy("lr.mkv", "hr.mkv", "plan.json")
    folder = bench.folder / _RUN_FOLDER
    (folder / "segments").mkdir(parents=True)
    plan = (bench.folder / "plan.json").read_text(encoding="utf-8")
    (folder / "plan.json").write_text(plan, encoding="utf-8")
    folder.chmod(mode)
    bench.attack(*RUN, status=(2,), says="other users can write")


def _attack_owner(bench: Bench) -> None:
    if os.geteuid() != 0:
        raise SkippedError("only root can change the owner of a folder")
    bench.copy("lr.mkv", "hr.mkv")
    for name in (_RUN_FOLDER, _STAGING):
        (bench.folder / name).mkdir()
        os.chown(bench.folder / name, 12345, 12345)
    bench.attack(*RUN, status=(2,), says="belongs to user 12345")
    bench.attack("degrade", "lr.mkv", "--scale", "2", "-o", "out.mkv", status=(2,))


def _plant_segment(bench: Bench, change: Callable[[Path], None]) -> None:
    """Change a segment of a killed run; the resumed run must not publish the changed segment."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.prepare(*RUN[:-1], "out-whole.mkv")
    kill_before(bench, "os.rename", "out.mkv", *RUN)
    segment = sorted((bench.folder / _RUN_FOLDER / "segments").glob("*.nut"))[0]
    change(segment)
    bench.attack(*RUN, status=(0,))
    whole, out = (bench.folder / name for name in ("out-whole.mkv", "out.mkv"))
    bench.expect(whole.read_bytes() == out.read_bytes(), "a different output was published")


def _damage(segment: Path) -> None:
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0x55
    segment.write_bytes(content)


def _swap(segment: Path) -> None:
    other = sorted(segment.parent.glob("*.nut"))[1]
    segment.write_bytes(other.read_bytes())


def _adapt_record(segment: Path) -> None:
    """Make a segment's record describe the following segment."""
    record = segment.parent / "00000.json"
    other = segment.parent / "00001.json"
    taken = json.loads(other.read_text(encoding="utf-8"))
    record.write_text(json.dumps(taken | {"segment": 0}), encoding="utf-8")


def _record_outside(segment: Path) -> None:
    record = segment.parent / "00000.json"
    fields = json.loads(record.read_text(encoding="utf-8"))
    fields["file"] = "../../../../../victim/1.nut"
    record.write_text(json.dumps(fields), encoding="utf-8")


_CHANGES = {
    "damaged": _damage,
    "that contains another segment's frames": _swap,
    "whose record describes another segment": _adapt_record,
    "whose record names a file elsewhere": _record_outside,
}


# commands that write one file or folder
_WRITERS = {
    "degrade": ("degrade", "lr.mkv", "--scale", "2", "-o", "out.mkv", "-q"),
    "compare": ("compare", "lr.mkv", "hr.mkv", "-o", "out.png", "-q"),
    "compare-video": ("compare", "lr.mkv", "hr.mkv", "-o", "out.mp4", "-q"),
    "plan": (*PLAN, "--save", "out.json"),
    "contact sheet": ("probe", "views", "--contact-sheet", "out.png"),
    "convert": ("convert", "views", "--to", "mosaic", "-o", "out.png", "-q"),
    "convert-folder": ("convert", "m.png", "--to", "folder", "-o", "out", "-q"),
    "look": ("look", "views", "-o", "out", "-q"),
    "keyframes": ("keyframes", "lr.mkv", "-o", "out", "--at", "0", "-q"),
    "run": RUN,
    "run-pictures": (*RUN[:-1], "out/%06d.png"),
    "run-default": ("run", "lr.mkv", "--ref-stream", "hr.mkv", *OPTIONS),
}
_WRITTEN = {name: words[-1] for name, words in _WRITERS.items()} | {
    "degrade": "out.mkv", "compare": "out.png", "compare-video": "out.mp4", "convert": "out.png",
    "convert-folder": "out", "look": "out", "keyframes": "out", "run-pictures": "out",
    "run-default": "lr_x2.mkv",
}  # fmt: skip


def _attack_output(bench: Bench, writer: str, *, dangling: bool) -> None:
    """Make the output a link to one of the victim's files, or to a file that does not exist."""
    bench.copy("lr.mkv", "hr.mkv", "views", "m.png", "m.lightfield.json")
    bench.link(_WRITTEN[writer], bench.victim / ("new" if dangling else "plan.json"))
    bench.attack(*_WRITERS[writer], makes=("out*", ".out*", "lr_x2*", ".lr_x2*"))


def _attack_force(bench: Bench, writer: str) -> None:
    """Make the output a link and use --force, which may replace the link but not its target."""
    bench.copy("lr.mkv", "hr.mkv", "views", "m.png", "m.lightfield.json")
    bench.link(_WRITTEN[writer], bench.victim / "plan.json")
    bench.attack(*_WRITERS[writer], "--force", makes=("out*", ".out*", "lr_x2*", ".lr_x2*"))


def _attack_beside(bench: Bench) -> None:
    """Plant links to one of the victim's files where commands write files beside their output."""
    bench.copy("lr.mkv", "hr.mkv", "views")
    for name in ("out.plan.json", "out.html", "out.lightfield.json", "out.json"):
        bench.link(name, bench.victim / "plan.json")
    bench.attack(*RUN, "--report", "out.html", status=(0, 2))
    bench.attack(*RUN, "--force", status=(0, 2))
    bench.attack("convert", "views", "--to", "mosaic", "-o", "out.png", "-q")
    bench.attack("look", "views", "-o", "out", "-q")


def _attack_inside_output(bench: Bench) -> None:
    """Plant links to the victim's files in an output folder."""
    bench.copy("views", "lr.mkv", "hr.mkv")
    for name in ("contact_sheet.png", "disparity.png", "epi.png", "lr.mkv", "failed.jsonl"):
        bench.link(f"out/{name}", bench.victim / "thesis.txt")
    more = ("--force", "--disparity", "--epi")
    bench.attack("look", "views", "-o", "out", "-q", *more)
    bench.write("list.jsonl", '{"input": "lr.mkv"}\n{"input": "none.mkv"}\n')
    run = ("run", "--manifest", "list.jsonl", "--ref-stream", "hr.mkv", *OPTIONS, "-o", "out")
    bench.attack(*run, status=(0, 1, 2), makes=("out*", ".out*", "list*"))
    bench.attack(*run, "--force", status=(0, 1, 2), makes=("out*", ".out*", "list*"))


def _attack_failures(bench: Bench) -> None:
    """Make the list of failed inputs a link to one of the victim's files."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.write("list.jsonl", '{"input": "lr.mkv"}\n{"input": "none.mkv"}\n')
    for name in ("list.failed.jsonl", "list-failed.jsonl", "failed.jsonl", "out/failed.jsonl"):
        bench.link(name, bench.victim / "thesis.txt")
    run = ("run", "--manifest", "list.jsonl", "--ref-stream", "hr.mkv", *OPTIONS, "-o", "out")
    bench.attack(*run, status=(1, 2), makes=("out*", ".out*", "*failed*"))


def _attack_cache(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.link(f"cache/{name}", bench.victim)
    run = ("run", "-", *RUN[2:])
    shell = 'cat lr.mkv | "$@"'
    cache = {"PIPELINE_CACHE": str(bench.folder / "cache")}
    bench.attack(*run, shell=shell, environment=cache, makes=("out*", ".out*", "cache/*"))


def _attack_cache_mode(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    planted = bench.write("cache/files/planted/pipe.mkv", "x")
    for folder in (planted.parent, planted.parent.parent):
        folder.chmod(0o777)
    cache = {"PIPELINE_CACHE": str(bench.folder / "cache")}
    run = ("run", "-", *RUN[2:])
    shell = 'cat lr.mkv | "$@"'
    bench.attack(*run, shell=shell, environment=cache, status=(2,), makes=(".out*", "cache/*"))


CASES = (
    *(
        Case(
            f"run-folder-{number}",
            "folders",
            f"{what} instead of the run folder",
            partial(_attack_run_folder, what=what),
            number == 0,
        )
        for number, what in enumerate(_PLANTS)
    ),
    *(
        Case(
            f"staging-{number}",
            "folders",
            f"{what} instead of the staging folder",
            partial(_attack_staging, what=what),
        )
        for number, what in enumerate(("a link", "a dangling link", "a pipe"))
    ),
    *(
        Case(
            f"inside-{'hard' if hard else 'link'}-{name.replace('/', '-')}",
            "folders",
            f"{name} of a run folder as a {'hard ' * hard}link",
            partial(_attack_inside, name=name, hard=hard),
        )
        for name in ("plan.json", "lock")
        for hard in (False, True)
    ),
    Case("segments-link", "folders", "a link instead of the segments", _attack_segments),
    *(
        Case(
            f"mode-{mode:o}",
            "folders",
            f"a run folder with mode {mode:o}",
            partial(_attack_mode, mode=mode),
        )
        for mode in (0o777, 0o770, 0o702)
    ),
    Case("owner", "folders", "run and staging folders of another user", _attack_owner),
    *(
        Case(
            f"segment-{number}",
            "folders",
            f"a segment {what}",
            partial(_plant_segment, change=change),
        )
        for number, (what, change) in enumerate(_CHANGES.items())
    ),
    *(
        Case(
            f"output-{'dangling' if dangling else 'link'}-{writer.replace(' ', '-')}",
            "folders",
            f"a {'dangling ' * dangling}link in place of the output of {writer}",
            partial(_attack_output, writer=writer, dangling=dangling),
        )
        for writer in _WRITERS
        for dangling in (False, True)
        if dangling or writer in ("degrade", "plan", "look", "run")
    ),
    *(
        Case(
            f"force-{writer.replace(' ', '-')}",
            "folders",
            f"a link in place of the output of {writer}, with --force",
            partial(_attack_force, writer=writer),
        )
        for writer in _WRITERS
        if writer in ("degrade", "compare", "convert", "look", "run")
    ),
    Case("beside", "folders", "links in place of the files beside an output", _attack_beside),
    Case("inside-output", "folders", "links in a folder of outputs", _attack_inside_output),
    Case("failures", "folders", "a link in place of the list of failed inputs", _attack_failures),
    *(
        Case(
            f"cache-{name}",
            "folders",
            f"a cache whose {name} is a link",
            partial(_attack_cache, name=name),
        )
        for name in ("scratch", "outputs", "files", "used")
    ),
    Case("cache-mode", "folders", "a cache that everyone can write to", _attack_cache_mode),
)
