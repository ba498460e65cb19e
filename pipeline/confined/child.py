"""The child process of the sandbox, which reads a recording that its parent does not trust.

`pipeline/media/sandbox/parent.py` runs this module with `python -m`. The first line on stdin is the
request. Each answer on stdout consists of a header (`parent.HEAD`), JSON and, if the answer is a
frame, its pixels.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pipeline.errors import MediaError, PipelineError
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader
from pipeline.lightfield.validity import find_dark_views
from pipeline.media.join import capabilities, remux, sequence, verify
from pipeline.media.pictures import stills
from pipeline.media.planes import PlaneFormat
from pipeline.media.read import probe
from pipeline.media.read.detect_interlacing import looks_interlaced
from pipeline.media.read.frames import FrameReader, read_frames
from pipeline.media.read.sound import read_loudness
from pipeline.media.sandbox.confine import confine_process, limit_memory
from pipeline.media.sandbox.parent import GIGABYTES_VARIABLE, HEAD, name_function
from pipeline.pairing.reference_views import find_hr_views
from pipeline.schema.clip import LightField, Recording, parse_recording

_THREADS = 4  # limit on the decoder's threads, each of which needs memory for frames

# What a function may do with the path in its argument `out`, in addition to reading the recording.
Right = Literal["nothing", "read out", "write beside out"]
RIGHTS: dict[Callable[..., Any], Right] = {
    probe.probe: "nothing",
    probe.scan: "nothing",
    looks_interlaced: "nothing",
    read_loudness: "nothing",
    open_light_field: "nothing",
    find_dark_views: "nothing",
    find_hr_views: "nothing",
    capabilities.container_notes: "nothing",
    sequence.sequence_notes: "nothing",
    sequence.find_differences: "read out",
    verify.find_differences: "read out",
    sequence.write_sequence: "write beside out",
    remux.join_segments: "write beside out",
}
"""The functions that a parent may call, and what each of them may do with `out`."""
_FUNCTIONS = {name_function(function): function for function in RIGHTS}


def main() -> int:
    """Answer the request on stdin, and return the exit status.

    It is 1 if the parent stops reading before it has all answers, else 0.
    """
    requests = sys.stdin.buffer
    request = json.loads(requests.readline())
    # send what libraries print to stderr, because stdout carries the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _confine(request)
        if "call" in request:
            _end_with(requests, request["memory"])
            _send(answers, {"result": _call(request["call"], request["arguments"])})
        elif "frames" in request:
            _end_with(requests, request["memory"])
            _send_frames(answers, request)
        else:
            limit_memory(request["memory"])
            _send_single_frames(answers, request, requests)
    except MemoryError:
        _refuse(answers, MediaError(_too_large(request)))
    except PipelineError as error:
        # FFmpeg reports a lack of memory as an error in the file
        out_of_memory = os.strerror(errno.ENOMEM) in str(error)
        _refuse(answers, MediaError(_too_large(request)) if out_of_memory else error)
    except BrokenPipeError:
        return 1
    except Exception:  # a programming error, which the parent raises as a RuntimeError
        _send(answers, {"error": "Exception", "message": traceback.format_exc()})
    return 0


def _confine(request: dict[str, Any]) -> None:
    """Confine this process to the files that the request needs."""
    path = Path(request["path"])
    readable = [path]
    if stills.is_pattern(request["path"]):
        readable.append(path.parent)

    arguments = request.get("arguments", {})
    clip = request.get("clip") or arguments.get("clip") or {}
    for files in (arguments.get("segments"), request.get("also"), clip.get("files")):
        readable += [Path(file) for file in files or ()]

    writable = []
    if "call" in request:
        right = RIGHTS[_find_function(request["call"])]
        if right == "read out":
            readable.append(Path(arguments["out"]))
        elif right == "write beside out":
            # files in the output's folder are written and read again
            writable.append(Path(arguments["out"]).parent)
    confine_process(readable, writable)


def _find_function(name: str) -> Callable[..., Any]:
    if name not in _FUNCTIONS:
        raise PermissionError(f"the sandbox does not allow calls to {name}")
    return _FUNCTIONS[name]


def _end_with(requests: BinaryIO, memory: int) -> None:
    """Make this process end when its parent does, and limit its memory to `memory` bytes."""

    def watch() -> None:
        # the parent sends nothing more, so this returns when the parent closes the pipe or dies
        requests.read(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    limit_memory(memory)


def _call(name: str, arguments: dict[str, Any]) -> Any:
    """Call the function `name` with arguments parsed from JSON; return its result in JSON types."""
    function = _find_function(name)
    hints = get_type_hints(function, include_extras=True)
    values = {key: TypeAdapter(hints[key]).validate_python(arguments[key]) for key in arguments}
    if "clip" in values:
        values["clip"] = _trusted(values["clip"])
    return TypeAdapter(hints["return"]).dump_python(function(**values), mode="json")


def _trusted(clip: Recording) -> Recording:
    return clip.with_sandbox(False)


def _send_frames(answers: BinaryIO, request: dict[str, Any]) -> None:
    """Send the requested range of frames in order, then an answer that marks the end."""
    clip = _trusted(parse_recording(request["clip"]))
    assert not isinstance(clip, LightField)
    given = dict(request["frames"])
    given["threads"] = min(given["threads"] or _THREADS, _THREADS)
    if given["planes"] is not None:
        given["planes"] = PlaneFormat(*given["planes"])
    for frame in read_frames(clip, **given):
        header = {"pts": frame.pts, "concealed": frame.concealed}
        if frame.alpha is None:
            _send_frame(answers, frame.rgb, header)
        else:
            _send_frame(answers, np.dstack([frame.rgb, frame.alpha]), header)
    _send(answers, {"end": True})


def _send_single_frames(answers: BinaryIO, request: dict[str, Any], requests: BinaryIO) -> None:
    """For each pts that the parent requests, send the frame or the error that reading it raised."""
    clip = _trusted(parse_recording(request["clip"]))
    reader = (
        ViewReader(clip, cache=1, threads=_THREADS)
        if isinstance(clip, LightField)
        else FrameReader(clip, cache=1, threads=_THREADS)
    )
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
        f"{request['path']} needs more than {request['memory'] / 1e9:g} GB to decode; if you "
        f"trust it, try --sandbox off, or increase {GIGABYTES_VARIABLE}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
