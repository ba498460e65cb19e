"""JSON, YAML, XML and other documents that are valid in form, but absurd in content."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jobs.stress.hostile.bench import PLAIN, SECRET, Bench, Case

_TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
_VIEWS_RUN = ("run", "m.png", "--ref-stream", "large.png", "--ref-view", "0,0", *PLAIN,
              "--to", "folder", "--runner", "inline", "-q", "-o", "out")  # fmt: skip


def _change_keys(changes: Callable[[list[dict[str, Any]]], object]) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        fields = json.loads(content)
        changes(fields["key_frames"])
        return json.dumps(fields).encode()

    return change


def _repeat_name(content: bytes, name: str, value: str) -> bytes:
    """Return the JSON object `content` with another entry named `name` at its end."""
    return content.rstrip()[:-1] + f', "{name}": {value}}}'.encode()


def _set(name: str, value: object) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | {name: value}).encode()

    return change


_KEYS: dict[str, Callable[[bytes], bytes]] = {
    "fraction": _change_keys(lambda keys: keys[0].update(frame=1.5)),
    "text": _change_keys(lambda keys: keys[0].update(frame="1")),
    "boolean": _change_keys(lambda keys: keys[0].update(frame=True)),
    "twice": _change_keys(lambda keys: keys.append(dict(keys[0]))),
    "same-frame": _change_keys(lambda keys: keys[1].update(frame=keys[0]["frame"])),
    "descending": _change_keys(lambda keys: keys.reverse()),
    "many": _change_keys(lambda keys: keys.extend(dict(keys[0], frame=n) for n in range(100_000))),
    "homoglyph": _change_keys(lambda keys: keys[0].update(file="\u043aey_000000_0.000s.png")),
    "decomposed": _change_keys(lambda keys: keys[0].update(file="e\u0301.png")),
    "repeated-name": lambda content: _repeat_name(content, "key_frames", "[]"),
    "utf-16": lambda content: content.decode().encode("utf-16"),
    "marked": lambda content: b"\xef\xbb\xbf" + content,
}  # fmt: skip


def _attack_keys(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "keys")
    sidecar = bench.folder / "keys/keyframes.json"
    sidecar.write_bytes(_KEYS[name](sidecar.read_bytes()))
    bench.attack("plan", "lr.mkv", "--ref-stream", "keys", *PLAIN)


_SIDECARS: dict[str, Callable[[bytes], bytes]] = {
    "boolean": _set("rows", True),
    "text": _set("rows", "2"),
    "product": _set("cols", 2**40),
    "negative": _set("rows", -2),
    "repeated-name": lambda content: _repeat_name(content, "rows", "1000000"),
    "utf-16": lambda content: content.decode().encode("utf-16"),
    "template-escape": _set("template", "{row:02}_{col:02}\u202e.png"),
    "template-same": _set("template", "{row:02}.png"),
}


def _attack_sidecar(bench: Bench, name: str) -> None:
    bench.copy("m.png", "m.lightfield.json", "large.png")
    sidecar = bench.folder / "m.lightfield.json"
    sidecar.write_bytes(_SIDECARS[name](sidecar.read_bytes()))
    bench.attack("convert", "m.png", "--to", "folder", "-o", "out", "-q")
    bench.attack(*_VIEWS_RUN, "--force")


def _make_capture(**changes: object) -> bytes:
    taps = [0.0] * 3 + [0.5] * 2 + [0.0] * 3
    known = {"source": "measured", "scale": 2, "rows": [taps], "columns": [taps]}
    return json.dumps(known | changes).encode()


_CAPTURES: dict[str, bytes] = {
    "sum-zero": _make_capture(rows=[[1.0, -1.0] * 4]),
    "large": _make_capture(rows=[[1e300, -1e300, 1, 0, 0, 0, 0, 0]]),
    "shift": _make_capture(chroma_shift=[1e300, -1e300]),
    "pairs": _make_capture(pairs=list(range(500_000))),
    "digits": b'{"scale": 2, "rows": [[1' + b"0" * 400 + b"]]}",
    "texts": _make_capture(rows=[["0.5"] * 8]),
    "scale": _make_capture(scale=2.0000001),
    "colour": _make_capture(colour={"curves": [[0, 0]] * 3, "matrix": [[0, 0, 0]] * 3}),
    "plan": b'{"capture": {"capture": {"capture": null}}}',
}


def _attack_capture(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "hr.mkv")
    bench.write("capture.json", _CAPTURES[name])
    plan = ("plan", "lr.mkv", "--ref-stream", "hr.mkv", *PLAIN)
    bench.attack(*plan, "--capture", "capture.json")


_PLANS: dict[str, Callable[[bytes], bytes]] = {
    "version": _set("version", 10**9),
    "repeated-name": lambda content: _repeat_name(content, "output", '"/etc/passwd"'),
    "utf-16": lambda content: content.decode().encode("utf-16"),
    "marked": lambda content: b"\xef\xbb\xbf" + content,
    "twice": lambda content: content + content,
    "infinite": lambda content: content.replace(b'"scale": 2', b'"scale": Infinity'),
}


def _attack_plan(bench: Bench, name: str) -> None:
    bench.copy("lr.mkv", "hr.mkv", "plan.json")
    plan = bench.folder / "plan.json"
    plan.write_bytes(_PLANS[name](plan.read_bytes()))
    bench.attack(
        "run", "lr.mkv", "--plan", "plan.json", "--runner", "inline", "-q", "-o", "out.mkv"
    )


_YAML: dict[str, str] = {
    "negative": "steps: -1\n",
    "endless": f"steps: {10**30}\n",
    "sexagesimal": f"steps: 1{':1' * 5000}\n",
    "long-sexagesimal": f"rate: 1{':1' * 2_000_000}.5\n",
    "merged": "a: &a {<<: *a}\nsteps: 1\n",
    "start": "start: /dev/zero\nsteps: 1\n",
    "sources": "sources: [{files: '../../../victim/*'}]\nsteps: 1\n",
    "repeated-name": "steps: 1\nsteps: !!python/name:os.system\n",
    "many": "".join(f"a{n}: {n}\n" for n in range(100_000)),
    "binary": "steps: !!binary /////w==\n",
}


def _attack_yaml(bench: Bench, name: str) -> None:
    bench.copy("frames")
    bench.write("own.yaml", _YAML[name])
    train = ("train", "own.yaml", "--data", "frames", "-o", "out.safetensors", "-q")
    bench.attack(*train, status=(2,))


def _make_safetensors(header: dict[str, Any] | bytes, data: bytes = bytes(4)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _make_onnx(bench: Bench) -> bytes:
    """Return an ONNX file whose weights are stored externally, in one of the victim's files."""
    import onnx
    from onnx import TensorProto, helper

    (bench.victim / "numbers").write_bytes(SECRET.encode() * 200)
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[4])
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../victim/numbers"), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    value = helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])
    node = helper.make_node("Identity", ["weight"], ["out"])
    graph = helper.make_graph([node], "evil", [], [value], [weight])
    content: bytes = onnx.helper.make_model(graph).SerializeToString()
    return content


_XML = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY secret SYSTEM "{secret}">]>
<net name="&secret;" version="11"><layers><layer id="0" name="a" type="Const" version="opset1">
<data element_type="f32" offset="0" shape="4" size="16"/></layer></layers><edges/></net>"""

_WEIGHTS: dict[str, Callable[[Bench], bytes]] = {
    "repeated-name": lambda _: _make_safetensors(
        b'{"a": ' + json.dumps(_TENSOR).encode() + b', "a": ' + json.dumps(_TENSOR).encode() + b"}"
    ),
    "type": lambda _: _make_safetensors({"a": _TENSOR | {"dtype": "F99"}}),
    "overlapping": lambda _: _make_safetensors({"a": _TENSOR, "b": _TENSOR}),
    "negative": lambda _: _make_safetensors({"a": _TENSOR | {"data_offsets": [-4, 0]}}),
    "gap": lambda _: _make_safetensors({"a": _TENSOR | {"data_offsets": [4, 8]}}, bytes(8)),
    "trailing": lambda _: _make_safetensors({"a": _TENSOR}, bytes(1 << 20)),
    "name": lambda _: _make_safetensors({"\x1b]0;evil\x07" * 50_000: _TENSOR}),
    "many": lambda _: _make_safetensors({str(n): _TENSOR | {"shape": [0], "data_offsets": [0, 0]}
                                         for n in range(100_000)}, b""),
    "metadata": lambda _: _make_safetensors({"__metadata__": {"a": 1}, "a": _TENSOR}),
    "onnx": _make_onnx,
    "openvino": lambda bench: _XML.format(secret=bench.victim / "thesis.txt").encode(),
}  # fmt: skip


def _attack_weights(bench: Bench, name: str) -> None:
    bench.copy("small.png", "large.png")
    content = _WEIGHTS[name](bench)
    run = ("run", "small.png", "--ref-stream", "large.png", "--scale", "2", "--runner", "inline")
    for suffix in ("safetensors", {"onnx": "onnx", "openvino": "xml"}.get(name, "pt")):
        bench.write(f"w.{suffix}", content)
        more = ("-q", "--engine", "torch", "-o", "out.png")
        bench.attack(*run, *more, "--model", f"w.{suffix}", status=(2,))
        bench.attack(*run, *more, "--adapt", f"w.{suffix}", status=(2,))


def _attack_registry(bench: Bench, kind: str) -> None:
    """Plant a folder of engines, or parts of one, in the cache."""
    engines = bench.home / ".cache" / "crossnetpp-pipeline" / "engines"
    engines.parent.mkdir(parents=True)
    if kind == "link":
        engines.symlink_to(bench.victim)
    else:
        engines.mkdir(mode=0o700)
        _PLANTED[kind](engines, bench.victim)
    bench.attack("engines", "list", status=(0, 1, 2))


def _plant_key(engines: Path, victim: Path) -> None:
    (engines / "key").write_bytes(b"k" * 32)
    (engines / "key").chmod(0o644)


def _plant_linked_key(engines: Path, victim: Path) -> None:
    (engines / "key").symlink_to(victim / "thesis.txt")


def _plant_entries(engines: Path, victim: Path) -> None:
    (engines / "key").write_bytes(b"k" * 32)
    (engines / "key").chmod(0o600)
    for number, text in enumerate(("{}", "[" * 100_000, '{"hmac": 1}', "\xff", "")):
        (engines / f"{number:032x}.json").write_text(text, encoding="utf-8")
    (engines / f"{9:032x}.json").symlink_to("/dev/zero")
    (engines / "choices.json").symlink_to(victim / "thesis.txt")


_PLANTED = {"key": _plant_key, "linked-key": _plant_linked_key, "entries": _plant_entries}


def _pickle_poses() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return file.getvalue()


_BESIDE: dict[str, tuple[str, bytes]] = {
    "poses": ("poses_bounds.npy", _pickle_poses()),
    "poses-header": ("poses_bounds.npy", b"\x93NUMPY\x01\0\xff\xff{'descr': __import__('os')}"),
    "parameters": ("parameters.cfg", b"[intrinsics]\na = %(a)s\n[extrinsics]\nnum_cams_x = 1e9\n"),
    "models": ("models.json", b'[{"name": "\\u001b]0;evil", "position": [1e999, 0, 0]}]'),
    "sequence": ("sequence.json", b'{"fps": NaN, "frame_rate": "1/0"}'),
}


def _attack_beside(bench: Bench, name: str) -> None:
    """Probe and enhance views in a folder that also contains a file from _BESIDE."""
    bench.copy("views", "large.png")
    file, content = _BESIDE[name]
    bench.write(f"views/{file}", content)
    bench.attack("probe", "views", status=(0, 2))
    bench.attack("run", "views", *_VIEWS_RUN[2:], status=(0, 2))


def _make_cases(kind: str, names: Any, act: Any, what: str) -> list[Case]:
    return [
        Case(f"{kind}-{name}", "documents", f"{what}: {name}", partial(act, name=name))
        for name in names
    ]


CASES = (
    *_make_cases("key-list", _KEYS, _attack_keys, "keyframes.json"),
    *_make_cases("view-list", _SIDECARS, _attack_sidecar, "lightfield.json"),
    *_make_cases("kernel", _CAPTURES, _attack_capture, "a capture"),
    *_make_cases("document", _PLANS, _attack_plan, "a plan"),
    *_make_cases("training", _YAML, _attack_yaml, "YAML"),
    *_make_cases("tensors", _WEIGHTS, _attack_weights, "weights"),
    *_make_cases("poses", _BESIDE, _attack_beside, "a file beside views"),
    *(
        Case(
            f"registry-{kind}",
            "documents",
            f"a folder of engines with a planted {kind}",
            partial(_attack_registry, kind=kind),
            kind == "link",
        )
        for kind in ("link", *_PLANTED)
    ),
)
