"""Standard streams that are closed, full or broken, and text with terminal control sequences."""

from __future__ import annotations

import json
import subprocess
from functools import partial

from jobs.stress.hostile.bench import OPTIONS, PLAIN, PLAN, RUN, Bench, Case

_ESCAPE = "\x1b]0;evil\x07"
_NAMES = {
    "title": f"{_ESCAPE}.mkv",
    "c1": "\x9b2J\x9d0;evil\x9c.mkv",
    "direction": "a\u202evkm.exe\u2066.mkv",
    "lines": "a\nerror: b\r.mkv",
    "markup": "[red]a[link=x].mkv",
    "percent": "%s%n%d.mkv",
    "long": "a" * 240 + ".mkv",
    "glob": "[a-z]*?.mkv",
}

_ENHANCED = tuple(_NAMES[key] for key in ("title", "c1", "lines", "markup", "percent", "glob"))

# redirections of a command's streams, as bash code after "$@"
_STREAMS = {
    "stderr-closed": "2>&-",
    "stderr-full": "2>/dev/full",
    "stdout-closed": ">&-",
    "stdout-gone": "> >(exit)",
    "all-closed": "<&- >&- 2>&-",
    "stdin-closed": "<&-",
    "stderr-read-only": "2</dev/null",
}


def _attack_stream(bench: Bench, redirection: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    run = tuple(word for word in RUN if word != "-q")  # so that the command writes progress
    # a result that nobody reads is an error, although the output is complete
    allowed = (0, 1) if redirection.startswith("> ") else (0,)
    bench.attack(*run, shell=f'"$@" {redirection}', status=allowed)
    bench.expect((bench.folder / "out.mkv").exists(), "the run wrote no output")


def _attack_full_stdout(bench: Bench, command: tuple[str, ...]) -> None:
    """Write results to a full disk, which must cause an error without a traceback."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.attack(*command, shell='"$@" >/dev/full', status=(1, 2, 120))


def _attack_head(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    run = tuple(word for word in RUN if word != "-q")
    shell = 'set -o pipefail; "$@" 2>&1 | head -1'
    bench.attack(*run, shell=shell, status=(0, 1, 141))
    bench.attack(*RUN[:-1], "-", shell='set -o pipefail; "$@" | head -c 1000 >/dev/null',
                 status=(0, 1, 2, 141))  # fmt: skip


def _attack_name(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    (bench.folder / "lr.mkv").rename(bench.folder / name)
    place = f"./{name}"
    bench.attack("probe", place, status=(0,))
    exact = bench.attack("probe", place, "--json", status=(0,))
    if exact.status == 0:
        bench.expect(json.loads(exact.stdout)["path"].endswith(name), "--json changed the name")
    if name not in _ENHANCED:
        return
    run = ("run", place, "--ref-stream", "hr.mkv", *OPTIONS[:-1], "-o", "out.mkv")
    bench.attack(*run, status=(0,))
    bench.attack("report", "out.mkv", "-o", "out.html", status=(0,))
    page = bench.folder / "out.html"
    if page.exists():
        text = page.read_text(encoding="utf-8")
        bench.expect(
            "\x1b" not in text and "\x07" not in text, "the report contains escape sequences"
        )


def _attack_terminal(bench: Bench) -> None:
    """Show the progress of a recording with a hostile name and hostile tags on a terminal."""
    bench.copy("lr.mkv", "hr.mkv")
    _write_tags(bench, "lr.mkv", f"{_ESCAPE}.mkv")
    run = ("run", f"./{_ESCAPE}.mkv", "--ref-stream", "hr.mkv", *OPTIONS[:-1], "-o", "out.mkv")
    bench.attack(*run, terminal=True, environment={"TERM": "xterm-256color"}, status=(0,))


def _write_tags(bench: Bench, source: str, name: str) -> None:
    """Write a copy of a recording with subtitles and tags that contain escape sequences."""
    text = bench.write(".s.srt", f"1\n00:00:00,000 --> 00:00:00,500\n{_ESCAPE}\n")
    tags = []
    for key in ("title", "comment", "artist", "handler_name", "encoder"):
        tags += ["-metadata", f"{key}={_ESCAPE}", "-metadata:s", f"{key}={_ESCAPE}"]
    command = [
        *("ffmpeg", "-y", "-v", "error", "-i", source, "-i", text.name),
        *("-map", "0:v", "-map", "1:s", "-c:v", "copy", "-c:s", "srt", *tags),
        *("-metadata:s", "language=\x1b]0", f"./{name}"),
    ]
    subprocess.run(command, cwd=bench.folder, check=True, stdin=subprocess.DEVNULL)
    text.unlink()


def _attack_tags(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    _write_tags(bench, "lr.mkv", "tagged.mkv")
    bench.attack("probe", "tagged.mkv", status=(0,))
    bench.attack("probe", "tagged.mkv", "--json", status=(0,))
    run = ("run", "tagged.mkv", "--ref-stream", "hr.mkv", *OPTIONS[:-1], "-o")
    bench.attack(*run, "out.mp4", status=(0, 2))
    bench.attack(*run, "out.mkv", status=(0, 2))
    bench.attack("verify", "tagged.mkv", "out.mkv", status=(0, 1, 2))


def _attack_arguments(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    for command in (
        (_ESCAPE,),
        ("probe", _ESCAPE),
        ("probe", f"--{_ESCAPE}"),
        ("probe", "lr.mkv", _ESCAPE),
        (*PLAN, "--codec", _ESCAPE),
        (*PLAN, "--size", _ESCAPE),
        (*PLAN, "--model", _ESCAPE),
        (*PLAN, "--template", _ESCAPE),
        (*PLAN, "--capture", _ESCAPE),
        ("plan", "lr.mkv", "--ref-stream", _ESCAPE, *PLAIN),
        ("--config", _ESCAPE, "probe", "lr.mkv"),
        ("status", _ESCAPE),
        ("run", "--manifest", _ESCAPE),
        ("train", _ESCAPE, "--data", _ESCAPE, "-o", "out.safetensors"),
        ("compare", "lr.mkv", "hr.mkv", "--labels", f"{_ESCAPE},b", "-o", f"{_ESCAPE}/a.png"),
    ):
        # planning without a network reads neither weights nor templates
        unused = {"--model", "--template"} & set(command)
        bench.attack(*command, status=(0, 2) if unused else (2,))


def _attack_verbose(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    (bench.folder / "lr.mkv").rename(bench.folder / f"{_ESCAPE}.mkv")
    run = ("run", f"./{_ESCAPE}.mkv", *RUN[2:])
    bench.attack(*run, "-v", status=(0,))
    for kind in ("json", "text"):
        bench.attack(*run, "-v", "--force", environment={"PIPELINE_LOG": kind}, status=(0,))
    bench.attack(*run[:-3], "--json-progress", "--force", "-o", "out.mkv", status=(0,))


CASES = (
    *(
        Case(
            f"stream-{name}",
            "streams",
            f"a run with {redirection}",
            partial(_attack_stream, redirection=redirection),
            name == "stderr-full",
        )
        for name, redirection in _STREAMS.items()
    ),
    *(
        Case(
            f"stdout-full-{name}",
            "streams",
            f"{name} with a full standard output",
            partial(_attack_full_stdout, command=command),
        )
        for name, command in (
            ("probe", ("probe", "lr.mkv", "--json")),
            ("plan", (*PLAN, "--json")),
            ("run", (*RUN[:-1], "-")),
            ("y4m", (*RUN[:-1], "-", "--stream", "y4m")),
            ("help", ("--help",)),
        )
    ),
    Case("stream-head", "streams", "readers that end early", _attack_head),
    *(
        Case(
            f"name-{name}",
            "streams",
            f"the name {text[:20]!r}",
            partial(_attack_name, name=text),
            name == "title",
        )
        for name, text in _NAMES.items()
    ),
    Case("terminal", "streams", "hostile names and tags on a terminal", _attack_terminal),
    Case("tags", "streams", "titles, languages and subtitles with escape sequences", _attack_tags),
    Case("arguments", "streams", "arguments with escape sequences", _attack_arguments),
    Case("verbose", "streams", "log lines and JSON with a hostile name", _attack_verbose),
)
