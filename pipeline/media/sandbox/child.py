"""The child process of the sandbox, which reads one recording for a parent that does not trust it.

It runs as `python -m pipeline.media.sandbox.child`. The first line of stdin is the request. Each
answer on stdout is a `parent.HEAD`, JSON, and the pixels of a frame, if any.
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

_THREADS = 4  # of the decoder at most, as each holds frames and the memory is limited
# The functions that a parent may call, by module.
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
# Readers are imported by name, because their layers are above this one.
_CLIP_READER = "pipeline.media.read.frames"
_VIEW_READER = "pipeline.lightfield.reader"


def main() -> int:
    """Answer the request on stdin, and exit when the parent does."""
    requests = sys.stdin.buffer
    request = json.loads(requests.readline())
    # libraries that print to stdout must not disturb the answers
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
        # FFmpeg reports a lack of memory as an error of the file
        out_of_memory = os.strerror(errno.ENOMEM) in str(error)
        _refuse(answers, MediaError(_too_large(request)) if out_of_memory else error)
    except BrokenPipeError:
        return 1
    except Exception:  # the parent raises it again
        _send(answers, {"error": "Exception", "message": traceback.format_exc()})
    return 0


def _confine(request: dict[str, Any]) -> None:
    module, _, name = str(request.get("call", "")).partition(":")
    if module:
        if name not in _FUNCTIONS.get(module, ()):
            raise PermissionError(f"{module}:{name} is not a function that the sandbox may call")
        importlib.import_module(module)
    path = Path(request["path"])
    readable = [path]
    if any(c in path.name for c in "*?[") and not path.exists():
        readable.append(path.parent)
    arguments = request.get("arguments", {})
    readable += [Path(file) for file in (*arguments.get("segments", ()), *request.get("also", ()))]

    # the output's folder is written to, and its files are read again
    out = Path(arguments["out"]) if "out" in arguments else None
    if out is not None and name == "find_differences":
        readable.append(out)
    clip = request.get("clip") or arguments.get("clip") or {}
    readable += [Path(file) for file in clip.get("files", ())]
    writable = (
        [out.parent] if out is not None and name in ("join_segments", "write_sequence") else []
    )
    confine_process(readable, writable)


def _end_with(requests: BinaryIO, memory: int) -> None:
    """Start a thread that exits when the parent does, then limit the memory."""

    def watch() -> None:
        # the parent writes nothing more, so this returns when it closes its end
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
        header = {"pts": frame.pts, "concealed": frame.concealed}
        if frame.alpha is None:
            _send_frame(answers, frame.rgb, header)
        else:
            _send_frame(answers, np.dstack([frame.rgb, frame.alpha]), header)
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


def _send_frame(answers: BinaryIO, rgb: NDArray[Any], header: dict[str, Any]) -> None:
    rgb = rgb if rgb.flags.c_contiguous else rgb.copy()
    _send(answers, {**header, "deep": rgb.itemsize == 2}, rgb.data.cast("B"))


def _refuse(answers: BinaryIO, error: PipelineError) -> None:
    _send(answers, {"error": type(error).__name__, "message": str(error)})


def _send(answers: BinaryIO, header: dict[str, Any], pixels: memoryview | bytes = b"") -> None:
    text = json.dumps(header).encode()
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
