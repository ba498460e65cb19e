"""Plans from a stranger, whose texts and numbers must all be validated."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from jobs.stress.hostile.bench import OPTIONS, SECRET, Bench, Case

_WITH_PLAN = ("--plan", "evil.json", "--runner", "inline", "-q")
_DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
_ESCAPE = "\x1b]0;evil\x07"
_HUGE = 10**18

# name -> a field of the plan, and its new value; {victim} stands for the victim's folder
_FIELDS: dict[str, tuple[str, Any]] = {
    "pictures-absolute": ("pictures", "{victim}/%06d.png"),
    "pictures-file": ("pictures", "{victim}/thesis.txt"),
    "pictures-parent": ("pictures", "../../../victim/%d.png"),
    "pictures-wide": ("pictures", "%99999999d.png"),
    "display-csv": ("encoding.hdr.display", f"{_DISPLAY}:csv={{victim}}/new"),
    "codec-options": ("encoding.codec", "libx265:csv={victim}/new"),
    "crf-huge": ("encoding.crf", 1e308),
    "threads": ("encoding.threads", _HUGE),
    "engine-path": ("engine", "../../../victim/engine"),
    "model-device": ("model", "/dev/zero"),
    "model-digest": ("model_sha256", "../../../victim/thesis.txt"),
    "input-digest": ("input.fingerprint", "../../../victim/thesis.txt"),
    "input-codec": ("input.codec", f"h264{_ESCAPE}"),
    "input-container": ("input.container", "concat,hls,../../victim"),
    "input-device": ("input.path", "/dev/zero"),
    "input-protocol": ("input.path", "concat:{victim}/a|{victim}/b"),
    "input-nul": ("input.path", "a\0b"),
    "input-url": ("input.url", "file://{victim}/thesis.txt"),
    "input-width": ("input.width", _HUGE),
    "input-clock": ("input.time_base", "1/0"),
    "input-clock-huge": ("input.time_base", f"1/{'9' * 5000}"),
    "input-clock-power": ("input.time_base", "1e-999999999"),
    "input-clock-infinite": ("input.time_base", float("inf")),
    "input-rate-power": ("input.frame_rate", "1e999999999"),
    "output-victim": ("output", "{victim}/thesis.txt"),
    "output-nul": ("output", "a\0b"),
    "output-input": ("output", "lr.mkv"),
    "output-device": ("output", "/dev/full"),
    "output-url-file": ("output_url", "file://{victim}/thesis.txt"),
    "output-url-zip": ("output_url", "zip://x::file://{victim}/thesis.txt"),
    "size-huge": ("width", _HUGE),
    "scale": ("scale", 10**9),
    "batch-huge": ("batch", _HUGE),
    "notes": ("notes", [_ESCAPE, "\x9b2J", "a\u202eb"]),
    "segment-huge": (
        "segments",
        [{"index": 0, "start_pts": 0, "end_pts": _HUGE, "frames": _HUGE}],
    ),
    "segment-negative": (
        "segments",
        [{"index": -1, "start_pts": -9, "end_pts": -1, "frames": -3}],
    ),
    "map-huge": (
        "reference_map",
        [{"pts": 0, "ref_pts": _HUGE, "seconds": 0.0, "why": "nearest"}] * 24,
    ),
    "map-escape": (
        "reference_map",
        [{"pts": 0, "ref_pts": 0, "seconds": 0.0, "why": _ESCAPE}] * 24,
    ),
    "version": ("version", 2),
    "unknown-field": ("exec", "touch PWNED"),
    "record": ("record", {"command": "rm -rf /"}),
    "kernel": ("capture.rows", [[float(10**300)] * 999]),
}


def _set_field(plan: dict[str, Any], place: str, value: object) -> None:
    *parents, name = place.split(".")
    inside: Any = plan
    for parent in parents:
        if inside.get(parent) is None:
            inside[parent] = {}
        inside = inside[parent]
    inside[name] = value


def _fill_in(bench: Bench, value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("{victim}", str(bench.victim))
    return value


def _read_plan(bench: Bench, name: str) -> dict[str, Any]:
    text = bench.materials.get(name).read_text(encoding="utf-8")
    text = text.replace(str(bench.materials.folder), str(bench.folder))
    plan: dict[str, Any] = json.loads(text)
    return plan


def _attack_field(bench: Bench, name: str) -> None:
    place, value = _FIELDS[name]
    bench.copy("lr.mkv", "hr.mkv")
    plan = _read_plan(bench, "plan.json")
    if place.startswith("encoding.hdr"):
        plan["encoding"]["codec"] = "libx265"
        plan["encoding"]["pix_fmt"] = "yuv420p10le"
    _set_field(plan, place, _fill_in(bench, value))
    bench.write("evil.json", json.dumps(plan))
    bench.attack("run", "lr.mkv", *_WITH_PLAN, status=(0, 1, 2))


def _attack_text(bench: Bench, content: str | bytes) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.write("evil.plan.json", content)
    bench.attack("run", "lr.mkv", "--plan", "evil.plan.json", status=(2,))
    bench.attack("report", "evil.plan.json", "-o", "out.html", status=(2,))


def _attack_huge_file(bench: Bench) -> None:
    """Pass a plan of 2 GiB, a sparse file that takes hardly any space in an archive."""
    bench.copy("lr.mkv", "hr.mkv", "small.png")
    for name in ("evil.json", "small.plan.json"):
        with bench.write(name, "{").open("r+b") as file:
            file.truncate(2 << 30)
    bench.attack("run", "lr.mkv", "--plan", "evil.json", status=(2,))
    bench.attack("run", "lr.mkv", "--plan", "/dev/zero", status=(2,))
    bench.attack("evaluate", "small.png", "--ground-truth", "small.png", "-q")
    bench.attack("report", "small.png", "-o", "out.html", "-q", status=(2,))
    for name in ("evil.json", "small.plan.json"):
        (bench.folder / name).unlink()


def _attack_view(bench: Bench, place: str) -> None:
    """Change a view's file or the file name template in the plan of a light field."""
    bench.copy("views", "large.png")
    plan = _read_plan(bench, "m.plan.json")
    grid = plan["input"]["grid"]
    if place.startswith("template"):
        grid["template"] = place.removeprefix("template ").replace("{victim}", str(bench.victim))
    else:
        grid["views"][0]["files"] = [place.format(victim=bench.victim, folder=bench.folder)]
    bench.write("evil.json", json.dumps(plan))
    bench.attack("run", "views", *_WITH_PLAN, status=(1, 2))


def _attack_output(bench: Bench) -> None:
    """Run a plan whose output is an existing file of the victim, which must not be replaced."""
    bench.copy("lr.mkv", "hr.mkv")
    film = bench.victim / "film.mkv"
    film.write_text(SECRET, encoding="utf-8")
    plan = _read_plan(bench, "plan.json")
    for output in (str(film), f"{bench.victim}/../victim/film.mkv", f"file://{film}"):
        bench.write("evil.json", json.dumps(plan | {"output": output}))
        bench.attack("run", "lr.mkv", *_WITH_PLAN, status=(2,))
    bench.link("out.mkv", film)
    bench.write("evil.json", json.dumps(plan))
    bench.attack("run", "lr.mkv", *_WITH_PLAN, status=(2,))


def _attack_stored(bench: Bench, change: dict[str, Any]) -> None:
    """Change the plan beside a finished output, where the pipeline looks for it."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.prepare("run", "lr.mkv", "--ref-stream", "hr.mkv", *OPTIONS, "-o", "out.mkv")
    stored = bench.folder / "out.plan.json"
    plan = json.loads(stored.read_text(encoding="utf-8"))
    for place, value in change.items():
        _set_field(plan, place, _fill_in(bench, value))
    stored.write_text(json.dumps(plan), encoding="utf-8")
    run = ("run", "lr.mkv", "--ref-stream", "hr.mkv", *OPTIONS, "-o", "out.mkv")
    bench.attack(*run)
    bench.attack("report", "out.mkv", "-o", "out.html", "-q")
    page = bench.folder / "out.html"
    bench.expect(
        not page.exists() or "<script>alert" not in page.read_text(encoding="utf-8"),
        "the report contains the stranger's script",
    )
    bench.attack("evaluate", "out.mkv", "--ground-truth", "hr.mkv", "-q")
    bench.attack("status", "out.mkv")


_STORED: dict[str, dict[str, Any]] = {
    "html": {
        "notes": ["<script>alert(1)</script>"],
        "record.command": "</script><script>alert(1)</script>",
        "input.path": "<script>alert(1)</script>.mkv",
        "engine": "<script>alert(1)</script>",
    },
    "html-notes": {
        "notes": ["</script><script>alert(1)</script>", _ESCAPE],
        "record.reason": "<script>alert(1)</script>",
        "record.machine": '"><script>alert(1)</script>',
    },
    "paths": {"reference.clip.path": "{victim}/thesis.txt", "input.path": "{victim}/thesis.txt"},
    "counts": {"record.frames": _HUGE, "record.seconds": 1e308, "expected_bytes": -_HUGE},
}

_TEXTS: dict[str, str | bytes] = {
    "nested": "[" * 100_000,
    "nested-objects": '{"input":' * 100_000,
    "number": f'{{"version": {"9" * 100_000}}}',
    "not-utf-8": bytes(range(256)),
    "nan": '{"version": NaN, "batch": Infinity}',
}
_VIEWS = (
    "{victim}/thesis.txt",
    "{folder}/views/../../EVIL.png",
    "../../EVIL.png",
    "template ../../EVIL_{row:02}_{col:02}.png",
    "template {row:0999999999}_{col}.png",
    "template {row.__class__}_{col}.png",
)

CASES = (
    *(
        Case(
            f"plan-{name}",
            "plans",
            f"{place} in a plan",
            partial(_attack_field, name=name),
            name in ("pictures-absolute", "display-csv"),
        )
        for name, (place, _) in _FIELDS.items()
    ),
    *(
        Case(
            f"plan-text-{name}",
            "plans",
            f"a plan with invalid content: {name}",
            partial(_attack_text, content=content),
        )
        for name, content in _TEXTS.items()
    ),
    *(
        Case(
            f"plan-view-{number}",
            "plans",
            f"views in a plan: {place}",
            partial(_attack_view, place=place),
        )
        for number, place in enumerate(_VIEWS)
    ),
    Case("plan-huge", "plans", "a plan of 2 GiB", _attack_huge_file),
    Case("plan-output", "plans", "a plan whose output exists", _attack_output),
    *(
        Case(
            f"plan-stored-{name}",
            "plans",
            f"a changed plan beside an output: {name}",
            partial(_attack_stored, change=change),
        )
        for name, change in _STORED.items()
    ),
)
