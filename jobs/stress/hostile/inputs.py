"""Commands whose output is one of their inputs, under the same or another name."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from jobs.stress.hostile.bench import OPTIONS, PLAIN, Bench, Case

_SOURCES = (
    *("lr.mkv", "hr.mkv", "lr.mp4", "small.png", "large.png", "views", "m.png"),
    *("m.lightfield.json", "frames", "keys", "plan.json"),
)
_REFERENCE = ("--ref-stream", "hr.mkv")


def _keep(path: Path) -> str:
    return path.name


def _dot(path: Path) -> str:
    return f"./{path.name}"


def _absolute(path: Path) -> str:
    return str(path)


def _around(path: Path) -> str:
    return f"../{path.parent.name}/../{path.parent.name}/{path.name}"


def _proc(path: Path) -> str:
    return f"/proc/self/cwd/{path.name}"


def _file_url(path: Path) -> str:
    return f"file://{path}"


def _link(path: Path) -> str:
    name = f"linked{path.suffix}"
    path.with_name(name).symlink_to(path)
    return name


def _hard_link(path: Path) -> str:
    name = f"hard{path.suffix}"
    os.link(path, path.with_name(name))
    return name


def _linked_folder(path: Path) -> str:
    path.with_name("same").symlink_to(path.parent)
    return f"same/{path.name}"


_SPELLINGS: dict[str, Callable[[Path], str]] = {
    "itself": _keep,
    "with a dot": _dot,
    "absolute": _absolute,
    "through the parent": _around,
    "through /proc": _proc,
    "as a URL": _file_url,
    "a link": _link,
    "a hard link": _hard_link,
    "through a linked folder": _linked_folder,
}

_USUAL = ("itself", "a link", "a hard link")  # tried with every command

# name -> the input that would be overwritten, and the command, with {out} for the output
_COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "run": ("lr.mkv", ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "-o", "{out}", "--force")),
    "run-reference": ("hr.mkv", ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "-o", "{out}", "--force")),
    "plan-save": ("lr.mkv", ("plan", "lr.mkv", *_REFERENCE, *PLAIN, "--save", "{out}")),
    "degrade": ("lr.mp4", ("degrade", "lr.mp4", "--scale", "2", "-o", "{out}", "--force", "-q")),
    "compare": ("lr.mp4", ("compare", "lr.mp4", "hr.mkv", "-o", "{out}", "--force", "-q")),
    "compare-b": ("lr.mp4", ("compare", "hr.mkv", "lr.mp4", "-o", "{out}", "--force", "-q")),
    "contact-sheet": ("m.png", ("probe", "m.png", "--contact-sheet", "{out}")),
    "convert": ("m.png", ("convert", "m.png", "--to", "mosaic", "-o", "{out}", "--force", "-q")),
}

# name -> a command whose output is one of its inputs
_OTHERS: dict[str, tuple[str, ...]] = {
    "save-reference": ("plan", "lr.mkv", *_REFERENCE, *PLAIN, "--save", "hr.mkv"),
    "save-sidecar": ("plan", "m.png", "--ref-stream", "large.png", "--ref-view", "0,0", *PLAIN,
                     "--save", "m.lightfield.json"),
    "save-keys": ("plan", "lr.mkv", "--ref-stream", "keys", *PLAIN,
                  "--save", "keys/keyframes.json"),
    "save-capture": ("plan", "lr.mkv", *_REFERENCE, *PLAIN, "--capture", "capture.json",
                     "--save", "capture.json"),
    "save-json": ("plan", "lr.mkv", *_REFERENCE, *PLAIN, "--save", "package.json"),
    "save-config": ("--config", "own.toml", "plan", "lr.mkv", *_REFERENCE, *PLAIN,
                    "--save", "own.toml"),
    "run-truth": ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "--ground-truth", "truth.mkv",
                  "-o", "truth.mkv", "--force"),
    "run-plan": ("run", "lr.mkv", "--plan", "plan.json", "-q", "-o", "plan.json", "--force"),
    "run-weights": ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "--model", "w.safetensors",
                    "-o", "w.safetensors", "--force"),
    "run-capture": ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "--capture", "capture.json",
                    "-o", "capture.json", "--force"),
    "run-manifest": ("run", "--manifest", "list.jsonl", *_REFERENCE, *OPTIONS, "--force"),
    "run-report": ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "-o", "out.mkv", "--force",
                   "--report", "lr.mkv"),
    "run-report-reference": ("run", "lr.mkv", *_REFERENCE, *OPTIONS, "-o", "out.mkv", "--force",
                             "--report", "./hr.mkv"),
    "run-folder": ("run", "frames", "--ref-stream", "large.png", *PLAIN, "-q", "-o", "frames",
                   "--force"),
    "run-folder-around": ("run", "frames/000.png", "--ref-stream", "large.png", *PLAIN, "-q",
                          "-o", "frames", "--force"),
    "run-here": ("run", "frames", "--ref-stream", "large.png", *PLAIN, "-q", "-o", ".", "--force"),
    "run-pattern": ("run", "frames", "--ref-stream", "large.png", *PLAIN, "-q",
                    "-o", "frames/%03d.png", "--force"),
    "run-plan-beside": ("run", "lr.mkv", "--ref-stream", "hr.plan.json", *PLAIN, "-q",
                        "-o", "hr.mkv", "--force"),
    "degrade-folder": ("degrade", "frames", "--scale", "2", "-o", "frames", "--force", "-q"),
    "degrade-around": ("degrade", "views", "--scale", "2", "-o", ".", "--force", "-q"),
    "keyframes": ("keyframes", "lr.mkv", "-o", "lr.mkv", "--at", "0", "--force", "-q"),
    "keyframes-folder": ("keyframes", "frames", "-o", "frames", "--at", "0", "--force", "-q"),
    "keyframes-here": ("keyframes", "lr.mkv", "-o", ".", "--at", "0", "--force", "-q"),
    "keyframes-victim": ("keyframes", "lr.mkv", "-o", "../../../victim", "--at", "0", "--force"),
    "convert-same": ("convert", "views", "--to", "folder", "-o", "views", "--force", "-q"),
    "convert-around": ("convert", "views/view_00_00.png", "--to", "folder", "-o", "views",
                       "--force", "-q"),
    "convert-sidecar": ("convert", "m.png", "--to", "h5", "-o", "m.h5", "--force", "-q"),
    "look-same": ("look", "views", "-o", "views", "--force", "-q"),
    "look-file": ("look", "m.png", "-o", "m.png", "--force", "-q"),
    "contact-sheet-view": ("probe", "views", "--contact-sheet", "views/view_00_00.png"),
    "contact-sheet-sidecar": ("probe", "m.png", "--contact-sheet", "m.lightfield.json"),
    "report-plan": ("report", "plan.json", "-o", "plan.json", "--force"),
    "report-output": ("report", "lr.mkv", "--plan", "plan.json", "-o", "lr.mkv", "--force"),
    "report-input": ("report", "lr.mkv", "--plan", "plan.json", "-o", "hr.mkv", "--force"),
    "adapt": ("adapt", "lr.mkv", *_REFERENCE, "--seconds", "1", "-o", "lr.mkv", "--force"),
    "adapt-weights": ("adapt", "lr.mkv", *_REFERENCE, "--seconds", "1", "--model", "w.safetensors",
                      "-o", "w.safetensors", "--force"),
    "train": ("train", "own.yaml", "--data", "frames", "-o", "own.yaml", "-q"),
    "train-data": ("train", "own.yaml", "--data", "frames", "-o", "frames/000.png", "-q"),
    "demo-file": ("demo", "-o", "lr.mkv", "--force", "-q"),
    "export": ("engines", "export", "-o", "lr.mkv"),
}  # fmt: skip


def _attack_command(bench: Bench, command: str, spelling: str) -> None:
    victim, words = _COMMANDS[command]
    bench.copy("lr.mkv", "hr.mkv", "lr.mp4", "m.png", "m.lightfield.json")
    out = _SPELLINGS[spelling](bench.folder / victim)
    # a run renames its finished file, so the input behind a hard link stays as it is
    makes = (out, "hard.plan.json") if (command[:3], spelling) == ("run", "a hard link") else ()
    bench.attack(*(word.format(out=out) for word in words), makes=(*makes, ".*"))


def _attack_other(bench: Bench, command: str) -> None:
    bench.copy(*_SOURCES)
    for name in ("truth.mkv", "hr.plan.json"):
        bench.write(name, bench.materials.get("hr.mkv").read_bytes())
    bench.write("own.toml", "[plan]\ncrf = 20\n")
    bench.write("own.yaml", "steps: 1\n")
    bench.write("package.json", '{"name": "something else"}')
    bench.write("w.safetensors", b"\x02\0\0\0\0\0\0\0{}")
    bench.write("capture.json", '{"scale": 2, "rows": [[1.0]], "columns": [[1.0]]}')
    bench.write("list.jsonl", '{"input": "lr.mkv", "output": "list.jsonl"}\n')
    words = _OTHERS[command]
    bench.attack(*words, status=(0, 1, 2), makes=("out*", ".*", "m.h5", "list.failed*"))
    for path in bench.folder.iterdir():
        if path.name in _SOURCES and not path.exists():
            bench.expect(False, f"{path.name} vanished")


def _attack_list(bench: Bench) -> None:
    """Run a list whose lines would overwrite each other's inputs and outputs, and the reference."""
    bench.copy("lr.mkv", "hr.mkv", "lr.mp4")
    bench.link("also.mkv", "lr.mkv")
    lines = (
        '{"input": "lr.mkv", "output": "lr.mp4"}',
        '{"input": "lr.mp4", "output": "./lr.mkv"}',
        '{"input": "lr.mkv", "output": "hr.mkv"}',
        '{"input": "lr.mkv", "output": "also.mkv"}',
        '{"input": "lr.mkv", "output": "list.jsonl"}',
        '{"input": "lr.mkv", "output": "out.mkv"}',
        '{"input": "lr.mp4", "output": "./out.mkv"}',
    )
    bench.write("list.jsonl", "\n".join(lines))
    run = ("run", "--manifest", "list.jsonl", *_REFERENCE, *OPTIONS)
    bench.attack(*run, status=(1, 2), makes=("out*", ".*", "*failed*"))
    bench.attack(*run, "--force", status=(1, 2), makes=("out*", ".*", "*failed*"))


CASES = (
    *(
        Case(
            f"{command}-{spelling.replace(' ', '-').replace('/', '')}",
            "inputs",
            f"{command} onto its input, {spelling}",
            partial(_attack_command, command=command, spelling=spelling),
            (command, spelling) == ("degrade", "a hard link"),
        )
        for command in _COMMANDS
        for spelling in _SPELLINGS
        if command in ("degrade", "plan-save") or spelling in _USUAL
    ),
    *(
        Case(
            f"onto-{command}",
            "inputs",
            " ".join(words),
            partial(_attack_other, command=command),
            command == "save-sidecar",
        )
        for command, words in _OTHERS.items()
    ),
    Case("onto-list", "inputs", "a list whose outputs are its inputs", _attack_list),
)
