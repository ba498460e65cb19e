"""The child of `sandbox`: reads one recording for a parent that does not trust it.

Run as `python -m pipeline.media.sandbox.child`. The first line of stdin is the request; answers go
to stdout, each as `sandbox.HEAD`, JSON and the pixels of a frame.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pipeline.errors import MediaError, PipelineError
from pipeline.media.sandbox.confine import confine_process, limit_memory
from pipeline.media.sandbox.parent import GIGABYTES_VARIABLE, HEAD
from pipeline.schema.clip import LightField, Recording, parse_recording

_THREADS = 4
"""Of the decoder: every one holds frames, and memory is bounded."""
_FUNCTIONS = {
    "pipeline.pairing.reference_views": ("find_hr_views",),
    "pipeline.lightfield.opening": ("open_light_field",),
    "pipeline.lightfield.validity": ("find_dark_views",),
    "pipeline.media.read.detect_interlacing": ("looks_interlaced",),
    "pipeline.media.read.probe": ("probe", "scan"),
    "pipeline.media.join.capabilities": ("container_notes",),
    "pipeline.media.join.remux": ("join_segments",),
    "pipeline.media.join.sequence": ("find_differences", "sequence_notes", "write_sequence"),
    "pipeline.media.join.verify": ("find_differences",),
}
"""What a parent may ask for."""
# Readers, imported by name: they stand above this module, and import its other side.
_CLIP_READER = "pipeline.media.read.frames"
_VIEW_READER = "pipeline.lightfield.reader"


def main() -> int:
    """Answer the request on stdin; a parent that goes away ends this, too."""
    requests = sys.stdin.buffer
    request = json.loads(requests.readline())
    # libraries print where they like
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _confine(request)
        if "call" in request:
            _end_with(requests, request["memory"])
            _send(answers, {"result": _call(request["call"], request["arguments"])})
        elif "frames" in request:
            _end_with(requests, request["memory"])
            _frames(answers, request)
        else:
            limit_memory(request["memory"])
            _singles(answers, request, requests)
    except MemoryError:
        _refuse(answers, MediaError(_too_large(request)))
    except PipelineError as error:
        # FFmpeg says so in its own words, which blame the file
        hungry = os.strerror(errno.ENOMEM) in str(error)
        _refuse(answers, MediaError(_too_large(request)) if hungry else error)
    except BrokenPipeError:
        return 1
    except Exception:  # the parent raises it again
        _send(answers, {"error": "Exception", "message": traceback.format_exc()})
    return 0


def _confine(request: dict[str, Any]) -> None:
    module, _, name = str(request.get("call", "")).partition(":")
    if module:
        if name not in _FUNCTIONS.get(module, ()):
            raise PermissionError(f"{module}:{name} is not one of those that run here")
        importlib.import_module(module)
    path = Path(request["path"])
    readable = [path]
    if any(c in path.name for c in "*?[") and not path.exists():
        readable.append(path.parent)
    given = request.get("arguments", {})
    readable += [Path(file) for file in (*given.get("segments", ()), *request.get("also", ()))]
    # the folder of the output is written to, and its files read again
    out = Path(given["out"]) if "out" in given else None
    if out is not None and name == "find_differences":
        readable.append(out)
    clip = request.get("clip") or given.get("clip") or {}
    readable += [Path(file) for file in clip.get("files", ())]
    writable = (
        [out.parent] if out is not None and name in ("join_segments", "write_sequence") else []
    )
    confine_process(readable, writable)


def _end_with(requests: BinaryIO, memory: int) -> None:
    """End this process with its parent; bound its memory once the thread for that has its own."""

    def watch() -> None:
        # the parent holds the other end, and writes no more
        requests.read(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    limit_memory(memory)


def _call(where: str, arguments: dict[str, Any]) -> Any:
    module, _, name = where.partition(":")
    function = getattr(importlib.import_module(module), name)
    hints = get_type_hints(function, include_extras=True)
    values = {key: TypeAdapter(hints[key]).validate_python(arguments[key]) for key in arguments}
    if "clip" in values:
        values["clip"] = _trusted(values["clip"])
    return TypeAdapter(hints["return"]).dump_python(function(**values), mode="json")


def _trusted(clip: Recording) -> Recording:
    return clip.with_sandbox(False)


def _frames(answers: BinaryIO, request: dict[str, Any]) -> None:
    clip = _trusted(parse_recording(request["clip"]))
    given = request["frames"]
    threads = min(given["threads"] or _THREADS, _THREADS)
    read = importlib.import_module(_CLIP_READER).read_frames
    for frame in read(clip, **{**given, "threads": threads}):
        said = {"pts": frame.pts, "concealed": frame.concealed}
        if frame.alpha is None:
            _send_frame(answers, frame.rgb, said)
        else:
            _send_frame(answers, np.dstack([frame.rgb, frame.alpha]), said)
    _send(answers, {"end": True})


def _singles(answers: BinaryIO, request: dict[str, Any], requests: BinaryIO) -> None:
    clip = _trusted(parse_recording(request["clip"]))
    if isinstance(clip, LightField):
        reader_type = importlib.import_module(_VIEW_READER).ViewReader
    else:
        reader_type = importlib.import_module(_CLIP_READER).FrameReader
    reader = reader_type(clip, cache=1, threads=_THREADS)

    for line in requests:
        pts = int(json.loads(line))
        try:
            _send_frame(answers, reader.get(pts), {"pts": pts})
        except PipelineError as error:
            _refuse(answers, error)


def _send_frame(answers: BinaryIO, rgb: NDArray[Any], said: dict[str, Any]) -> None:
    rgb = rgb if rgb.flags.c_contiguous else rgb.copy()
    _send(answers, {**said, "deep": rgb.itemsize == 2}, rgb.data.cast("B"))


def _refuse(answers: BinaryIO, error: PipelineError) -> None:
    _send(answers, {"error": type(error).__name__, "message": str(error)})


def _send(answers: BinaryIO, said: dict[str, Any], pixels: memoryview | bytes = b"") -> None:
    text = json.dumps(said).encode()
    answers.write(HEAD.pack(len(text), len(pixels)) + text)
    answers.write(pixels)
    answers.flush()


def _too_large(request: dict[str, Any]) -> str:
    return (
        f"{request['path']} needs more than {request['memory'] / 1e9:g} GB to decode; expected "
        f"less; if you trust it, try --sandbox off, or set {GIGABYTES_VARIABLE}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
