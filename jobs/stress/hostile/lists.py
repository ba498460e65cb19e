"""Hostile lists of inputs, and a pipeline.toml in a stranger's folder."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from jobs.stress.hostile.bench import OPTIONS, PLAN, RUN, Bench, Case

_ESCAPE = "\x1b]0;evil\x07"
_BATCH = ("--ref-stream", "hr.mkv", *OPTIONS)

# bad lines, each of which is put into a list before a valid line
_LINES: dict[str, Any] = {
    "device": {"input": "/dev/zero"},
    "stdin": {"input": "-"},
    "descriptor": {"input": "/dev/fd/0"},
    "passwords": {"input": "/etc/passwd"},
    "ftp": {"input": "ftp://127.0.0.1:9/x.mkv"},
    "zip": {"input": "zip://x::file:///etc/passwd"},
    "chain": {"input": "simplecache::file:///etc/passwd"},
    "file": {"input": "file:///etc/passwd"},
    "http": {"input": "http://127.0.0.1:9/x.mkv"},
    "nul": {"input": "a\0b.mkv"},
    "escape": {"input": f"{_ESCAPE}.mkv"},
    "surrogate": '{"input": "\\ud800.mkv"}',
    "long": {"input": "a" * 100_000},
    "deep": {"input": "a/" * 50_000},
    "number": {"input": 7},
    "list": {"input": ["lr.mkv"]},
    "unknown": {"input": "lr.mkv", "exec": "touch PWNED"},
    "output-nul": {"input": "lr.mkv", "output": "a\0b.mkv"},
    "output-device": {"input": "lr.mkv", "output": "/dev/full"},
    "output-stdout": {"input": "lr.mkv", "output": "-"},
    "batch": {"input": "lr.mkv", "batch": 10**30},
    "codec": {"input": "lr.mkv", "codec": "libx265:csv=PWNED"},
    "nested": '{"input": ' + "[" * 100_000,
    "digits": f'{{"input": "lr.mkv", "crf": {"9" * 10_000}}}',
}
_TEXTS: dict[str, tuple[str, str | bytes]] = {
    "csv-quote": ("list.csv", 'input,crf\n"lr.mkv,18\n'),
    "csv-field": ("list.csv", f"input,crf\nlr.mkv,{'9' * 2_000_000}\n"),
    "csv-nul": ("list.csv", b"input\nlr\0.mkv\n"),
    "csv-empty": ("list.csv", b""),
    "bytes": ("list.jsonl", bytes(range(256))),
    "nested": ("list.jsonl", "[" * 1_000_000),
    "text": ("list.jsonl", '"lr.mkv"\n'),
}


def _attack_line(bench: Bench, name: str) -> None:
    """Put a bad line into a list; the good line must still be processed."""
    bench.copy("lr.mkv", "hr.mkv")
    line = _LINES[name]
    bad = line if isinstance(line, str) else json.dumps(line)
    good = json.dumps({"input": "lr.mkv", "output": "out.mkv"})
    bench.write("list.jsonl", f"{bad}\n{good}\n")
    run = ("run", "--manifest", "list.jsonl", *_BATCH)
    allowed = (0,) if name == "batch" else (1, 2)  # a batch may be as large as the recording
    bench.attack(*run, status=allowed, makes=("out*", ".*", "*failed*", "lr_x2*"))
    if (bench.folder / "list.failed.jsonl").exists():
        bench.expect((bench.folder / "out.mkv").exists(), "the good line was not processed")


def _attack_text(bench: Bench, name: str, content: str | bytes) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.write(name, content)
    run = ("run", "--manifest", name, *_BATCH, "-o", "out")
    bench.attack(*run, status=(1, 2), makes=("out*", ".*", "*failed*"))


def _attack_device(bench: Bench) -> None:
    bench.copy("hr.mkv")
    os.mkfifo(bench.folder / "pipe.jsonl")
    with bench.write("huge.jsonl", "{").open("r+b") as file:
        file.truncate(2 << 30)
    for place in ("/dev/zero", "/dev/tty", "huge.jsonl", "/proc/self/mem", "."):
        bench.attack("run", "--manifest", place, *_BATCH, "-o", "out", status=(2,))
    (bench.folder / "huge.jsonl").unlink()


# lines of a pipeline.toml that control what is overwritten, executed, trusted or contacted
_DANGEROUS = (
    "force = true",
    'output = "{victim}/thesis.txt"',
    'sandbox = "off"',
    'address = "ray://evil.invalid:10001"',
    'runner = "ray"',
    'exec = "touch PWNED"',
    'plan = "evil.json"',
    'model = "evil.safetensors"',
    'adapt = "evil.safetensors"',
    'manifest = "list.csv"',
    'report = "{victim}/page.html"',
    'watch = "{victim}"',
    "skip_existing = true",
    "debug = true",
    'config = "other.toml"',
    "Force = true",
    '"for-ce" = true',
)


def _attack_option(bench: Bench, line: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.write("pipeline.toml", f"[run]\n{line.format(victim=bench.victim)}\n")
    bench.write("out.mkv", "precious")
    # without -o, because the file may set the output
    run = ("run", "lr.mkv", "--ref-stream", "hr.mkv", "--scale", "2", "--engine", "bicubic", "-q")
    bench.attack(*run, makes=("lr_x2*", ".lr_x2*"))


_OTHERS = {
    "plan-save": ('[plan]\nsave = "{victim}/thesis.txt"\n', PLAN),
    "degrade-output": (
        '[degrade]\noutput = "{victim}/x.mkv"\n',
        ("degrade", "lr.mkv", "--scale", "2"),
    ),
    "probe-sheet": (
        '[probe]\ncontact_sheet = "{victim}/x.png"\n',
        ("probe", "views"),
    ),
    "keyframes-output": (
        '[keyframes]\noutput = "{victim}"\nforce = true\n',
        ("keyframes", "lr.mkv"),
    ),
    "look-output": ('[look]\noutput = "{victim}"\n', ("look", "views", "-q")),
    "demo-output": ('[demo]\noutput = "{victim}"\nforce = true\n', ("demo", "-q")),
    "export-output": ('[engines]\nout = "{victim}"\n', ("engines", "list")),
    "train": ('[train]\nset = "steps=1"\nout = "{victim}/x"\n', ("train", "fast", "--data", ".")),
    "escape-key": ('[run]\n"\\u001b]0;evil\\u0007" = 1\n', RUN),
    "escape-value": ('[run]\ncodec = "\\u001b]0;evil\\u0007"\n', RUN),
    "escape-table": ('["\\u001b]0;evil\\u0007"]\ncrf = 1\n', RUN),
    "nested": ("a = " + "[" * 100_000, RUN),
    "digits": (f"[run]\ncrf = {'9' * 10_000}\n", RUN),
    "batch": (f"[run]\nbatch = {2**62}\n", RUN),
    "nul": ("[run]\n\0\n", RUN),
}


def _attack_file(bench: Bench, text: str, command: tuple[str, ...]) -> None:
    bench.copy("lr.mkv", "hr.mkv", "views")
    bench.write("pipeline.toml", text.replace("{victim}", str(bench.victim)))
    bench.attack(*command, status=(0, 1, 2), makes=("out*", ".out*", "lr_*", "views_look"))


CASES = (
    *(
        Case(
            f"line-{name}",
            "lists",
            f"a line of a list: {name}",
            partial(_attack_line, name=name),
            name in ("device", "nul"),
        )
        for name in _LINES
    ),
    *(
        Case(
            f"list-{name}",
            "lists",
            f"a list: {name}",
            partial(_attack_text, name=file, content=content),
        )
        for name, (file, content) in _TEXTS.items()
    ),
    Case("list-device", "lists", "an endless list", _attack_device),
    *(
        Case(
            f"toml-{number}",
            "lists",
            f"a pipeline.toml with {line}",
            partial(_attack_option, line=line),
            number == 0,
        )
        for number, line in enumerate(_DANGEROUS)
    ),
    *(
        Case(
            f"toml-{name}",
            "lists",
            f"a pipeline.toml: {name}",
            partial(_attack_file, text=text, command=command),
        )
        for name, (text, command) in _OTHERS.items()
    ),
)
