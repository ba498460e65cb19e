"""Sidecars from a stranger: lightfield.json, keyframes.json, captures and other files."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Any

from jobs.stress.hostile.bench import PLAIN, Bench, Case

_ESCAPE = "\x1b]0;evil\x07"
_TEMPLATES = (
    "../../EVIL_{row:02}_{col:02}.png",
    "/tmp/EVIL_{row:02}_{col:02}.png",
    "{row:0999999999}_{col}.png",
    "{row:>999999999}_{col}.png",
    "{row.__class__.__mro__}_{col}",
    "{row!r}_{col}",
    "{row}_{col}_{index",
    "(((((a+)+)+)+)+)!{row}_{col}",
    "{row}" * 60 + "{col}!",
    "a\0{row}_{col}.png",
    f"{_ESCAPE}{{row}}_{{col}}.png",
)
_FIELDS: dict[str, dict[str, Any]] = {
    "packed-huge": {"packed": [9**9, 9**9]},
    "rows-none": {"rows": 0},
    "axes": {"axes": "x" * 99},
    "fps-zero": {"fps": "1/0"},
    "fps-huge": {"fps": f"1e{'9' * 9}"},
    "views-path": {"views": [{"row": 0, "col": 0, "path": "../../../victim/thesis.txt"}]},
    "views-many": {"views": [{"row": 0, "col": 0}] * 200_000},
    "size": {"width": 10**18, "height": -1},
    "data-set": {"dataset": "a\0b"},
    "unknown": {"exec": "touch PWNED"},
}
_TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "nested": "[" * 100_000,
    "number": f'{{"version": {"9" * 100_000}}}',
    "not-utf-8": bytes(range(256)),
    "list": "[]",
    "nan": '{"version": NaN}',
}


def _attack_views(bench: Bench) -> None:
    """Convert the mosaic and its sidecar to files that are named after the views."""
    bench.attack("convert", "m.png", "--to", "folder", "-o", "out", "-q")


def _attack_field(bench: Bench, fields: dict[str, Any]) -> None:
    bench.copy("m.png", "m.lightfield.json")
    sidecar = bench.folder / "m.lightfield.json"
    known = json.loads(sidecar.read_text(encoding="utf-8"))
    sidecar.write_text(json.dumps(known | fields), encoding="utf-8")
    _attack_views(bench)


def _attack_run(bench: Bench, template: str) -> None:
    """Enhance the mosaic to a folder, both without and with the sandbox."""
    bench.copy("m.png", "m.lightfield.json", "large.png")
    sidecar = bench.folder / "m.lightfield.json"
    known = json.loads(sidecar.read_text(encoding="utf-8"))
    sidecar.write_text(json.dumps(known | {"template": template}), encoding="utf-8")
    more = ("--ref-stream", "large.png", "--ref-view", "0,0", *PLAIN, "--to", "folder")
    run = ("run", "m.png", *more, "-q", "--runner", "inline", "-o", "out")
    bench.attack(*run, status=(2,))
    bench.attack(*run, "--sandbox", "on", status=(2,))


def _attack_text(bench: Bench, content: str | bytes, *, folder: bool) -> None:
    if folder:
        bench.copy("views")
        bench.write("views/lightfield.json", content)
        bench.attack("probe", "views")
        return
    bench.copy("m.png")
    bench.write("m.lightfield.json", content)
    _attack_views(bench)


def _make_sparse(bench: Bench, name: str) -> None:
    with bench.write(name, "{").open("r+b") as file:
        file.truncate(2 << 30)


# file read beside a recording -> the material that it belongs to, and a command that reads it
_BESIDE: dict[str, tuple[str, tuple[str, ...]]] = {
    "m.lightfield.json": ("m.png", ("probe", "m.png")),
    "views/lightfield.json": ("views", ("probe", "views")),
    "views/parameters.cfg": ("views", ("probe", "views")),
    "views/models.json": ("views", ("probe", "views")),
    "views/poses_bounds.npy": ("views", ("probe", "views")),
    "keys/keyframes.json": ("keys", ("plan", "lr.mkv", "--ref-stream", "keys", *PLAIN)),
    "frames/sequence.json": ("frames", ("probe", "frames")),
    "pipeline.toml": ("frames", ("probe", "frames")),
}


def _attack_file(bench: Bench, name: str, kind: str) -> None:
    """Replace a file that is read beside a recording with a link, a pipe or a file of 2 GiB."""
    source, command = _BESIDE[name]
    bench.copy(source, "lr.mkv")
    (bench.folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(bench.folder / name)
    elif kind == "huge":
        _make_sparse(bench, name)
    else:
        bench.link(name, kind)
    bench.attack(*command)
    (bench.folder / name).unlink()


_KEYS: dict[str, Any] = {
    "file-parent": {"file": "../../../victim/thesis.txt"},
    "file-nul": {"file": "a\0b.png"},
    "file-escape": {"file": f"{_ESCAPE}.png"},
    "frame-huge": {"frame": 10**30},
    "frame-past": {"frame": 10**9, "pts": 10**15},
}
_KEY_FIELDS: dict[str, dict[str, Any]] = {
    "clock-zero": {"time_base": "1/0"},
    "clock-small": {"time_base": "1/9999999999"},
    "digest": {"fingerprint": "../../../victim/thesis.txt"},
    "size": {"size_bytes": -1},
    "none": {"key_frames": []},
}


def _attack_keys(bench: Bench, *, of_key: dict[str, Any], of_all: dict[str, Any]) -> None:
    bench.copy("lr.mkv", "keys")
    sidecar = bench.folder / "keys/keyframes.json"
    fields = json.loads(sidecar.read_text(encoding="utf-8")) | of_all
    if of_key:
        fields["key_frames"][0] |= of_key
    sidecar.write_text(json.dumps(fields), encoding="utf-8")
    bench.attack("plan", "lr.mkv", "--ref-stream", "keys", *PLAIN)


_CAPTURES: dict[str, str] = {
    "nan": '{"scale": 2, "rows": [[NaN]], "columns": [[NaN]]}',
    "huge": json.dumps({"scale": 2, "rows": [[1e308] * 8], "columns": [[1e308] * 8]}),
    "none": '{"scale": 2, "rows": [], "columns": []}',
    "nested": "[" * 100_000,
    "escape": json.dumps({"scale": 2, "source": _ESCAPE, "rows": [[1.0]], "columns": [[1.0]]}),
}


def _attack_capture(bench: Bench, text: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.write("capture.json", text)
    plan = ("plan", "lr.mkv", "--ref-stream", "hr.mkv", *PLAIN)
    bench.attack(*plan, "--capture", "capture.json", status=(2,))


def _attack_capture_device(bench: Bench) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    plan = ("plan", "lr.mkv", "--ref-stream", "hr.mkv", *PLAIN)
    bench.attack(*plan, "--capture", "/dev/zero", status=(2,))
    _make_sparse(bench, "capture.json")
    bench.attack(*plan, "--capture", "capture.json", status=(2,))
    (bench.folder / "capture.json").unlink()


CASES = (
    *(
        Case(
            f"template-{number}",
            "sidecars",
            f"the template {template[:40]!r}",
            partial(_attack_field, fields={"template": template}),
            number == 0,
        )
        for number, template in enumerate(_TEMPLATES)
    ),
    *(
        Case(
            f"template-run-{number}",
            "sidecars",
            f"the template {template!r} in a run",
            partial(_attack_run, template=template),
        )
        for number, template in enumerate((_TEMPLATES[0], _TEMPLATES[2]))
    ),
    *(
        Case(
            f"sidecar-{name}",
            "sidecars",
            f"{', '.join(fields)} in lightfield.json",
            partial(_attack_field, fields=fields),
        )
        for name, fields in _FIELDS.items()
    ),
    *(
        Case(
            f"sidecar-text-{name}{'-folder' * folder}",
            "sidecars",
            f"a lightfield.json with invalid content: {name}",
            partial(_attack_text, content=content, folder=folder),
        )
        for name, content in _TEXTS.items()
        for folder in (False, True)
        if not folder or name == "nested"
    ),
    *(
        Case(
            f"beside-{name.replace('/', '-')}-{kind.strip('/').replace('/', '-')}",
            "sidecars",
            f"{name} that is {kind}",
            partial(_attack_file, name=name, kind=kind),
        )
        for name in _BESIDE
        for kind in ("/dev/zero", "pipe", "huge")
        if kind == "huge" or name in ("m.lightfield.json", "keys/keyframes.json")
    ),
    *(
        Case(
            f"keys-{name}",
            "sidecars",
            f"{', '.join(fields)} of a key frame",
            partial(_attack_keys, of_key=fields, of_all={}),
            name == "file-parent",
        )
        for name, fields in _KEYS.items()
    ),
    *(
        Case(
            f"keys-{name}",
            "sidecars",
            f"{', '.join(fields)} in keyframes.json",
            partial(_attack_keys, of_key={}, of_all=fields),
        )
        for name, fields in _KEY_FIELDS.items()
    ),
    *(
        Case(
            f"capture-{name}",
            "sidecars",
            f"a capture: {name}",
            partial(_attack_capture, text=text),
        )
        for name, text in _CAPTURES.items()
    ),
    Case("capture-device", "sidecars", "an endless capture", _attack_capture_device),
)
