"""The sandbox: decode an untrusted recording in a confined child process.

If a recording crashes the decoder, hangs it or exhausts its memory, only the child dies, and the
run stops with a one-line error. A child's answers are JSON and pixels, which are validated; nothing
in them is executed.
"""

from __future__ import annotations

import functools
import json
import math
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, get_type_hints

import numpy as np
from pydantic import TypeAdapter

from deploy.child_process import import_variables
from pipeline import errors
from pipeline.errors import MediaError
from pipeline.media.alpha import Plane
from pipeline.media.colour import make_contiguous
from pipeline.media.container import MEGAPIXELS_VARIABLE
from pipeline.media.planes import PlaneFormat
from pipeline.media.sandbox.confine import enlarge_pipe, require_confinement
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, Recording, RecordingBase
from pipeline.schema.parsing import read_number_variable

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=RecordingBase)

SECONDS_VARIABLE = "PIPELINE_SANDBOX_SECONDS"  # longest wait for a child's answer; 60 by default
GIGABYTES_VARIABLE = "PIPELINE_SANDBOX_GB"  # a child's memory limit; 4 by default
HEAD = struct.Struct(">II")  # precedes each answer: the sizes of its JSON and its pixels in bytes
_CHILD = "pipeline.confined.child"  # in a layer above this module, because it imports all readers
_LARGEST_JSON = 1 << 28
_CLIP: TypeAdapter[Clip] = TypeAdapter(Clip)


def sandboxed(
    function: Callable[Concatenate[C, P], R],
) -> Callable[Concatenate[C, P], R]:
    """Decorate `function` to run in a child if its first argument is a sandboxed recording.

    Arguments and results are passed as JSON, converted according to the function's type hints.
    """
    hints = get_type_hints(function, include_extras=True)
    names = [name for name in hints if name != "return"]
    result: TypeAdapter[R] = TypeAdapter(hints["return"])

    @functools.wraps(function)
    def wrapper(clip: C, *args: P.args, **kwargs: P.kwargs) -> R:
        if not clip.sandbox:
            return function(clip, *args, **kwargs)
        given = {names[0]: clip, **dict(zip(names[1:], args, strict=False)), **kwargs}
        arguments = {
            name: TypeAdapter(hints[name]).dump_python(value, mode="json")
            for name, value in given.items()
        }
        # a child reads whole files, so its time limit grows with their size
        patience = clip.size_bytes / 1e6
        made = call_in_child(name_function(function), arguments, clip.path, patience)
        return result.validate_python(made)

    return cast("Callable[Concatenate[C, P], R]", wrapper)


def name_function(function: Callable[..., Any]) -> str:
    """Return `module:function`, the name of a function in requests to a child."""
    return f"{function.__module__}:{function.__qualname__}"


def call_in_child(
    function: str,
    arguments: dict[str, Any],
    path: str,
    patience: float = 0.0,
    also: Sequence[Path] = (),
) -> Any:
    """Call `function` (`module:function`) with `arguments` in a child; return the result as JSON.

    The child can read the recording at `path`, the files in `also`, and the files that `arguments`
    lists. `patience`, in seconds, is added to its time limit.
    """
    request = {"call": function, "arguments": arguments, "also": [str(file) for file in also]}
    with Child(request, path, patience) as child:
        return child.answer()[0]["result"]


def probe_in_child(path: str) -> Clip:
    """Run `probe` in a child, and return a clip whose frames will be read in children, too."""
    place = Path(path)
    request = {"call": "pipeline.media.read.probe:probe", "arguments": {"path": path}}
    with Child(request, path, 1.0 * len(list(place.iterdir())) if place.is_dir() else 0.0) as child:
        clip = _CLIP.validate_python(child.answer()[0]["result"])
    # the child must not choose what is opened or fetched later
    return clip.model_copy(update={"path": path, "url": "", "sandbox": True})


def read_frames_in_child(
    clip: Clip, arguments: dict[str, Any]
) -> Iterator[tuple[int, Pixels, bool, Plane | None]]:
    """Run `read_frames` in a child, and yield the fields of each `Frame`.

    The fields are the pts in ticks, the pixels, whether the frame is concealed, and the alpha (or
    None).
    """
    request = {"frames": arguments, "clip": clip.model_dump(mode="json")}
    planes: PlaneFormat | None = arguments.get("planes")
    with Child(request, clip.path) as child:
        while True:
            shape = clip.height, clip.width, 4 if clip.alpha else 3
            header, pixels = child.answer(shape if planes is None else planes.shape)
            if pixels is None:
                return
            if planes is not None:
                yield int(header["pts"]), pixels, bool(header["concealed"]), None
                continue
            alpha = make_contiguous(pixels[..., 3]) if clip.alpha else None
            rgb = make_contiguous(pixels[..., :3])
            yield int(header["pts"]), rgb, bool(header["concealed"]), alpha


class ChildReader:
    """Reads single frames by pts, all of them in the same child process."""

    def __init__(self, clip: Recording) -> None:
        self._clip = clip
        self._child = Child({"single": True, "clip": clip.model_dump(mode="json")}, clip.path)

    def get(self, pts: int) -> Pixels:
        """Return the frame at exactly `pts` as uint8 or uint16 H x W x 3 RGB."""
        self._child.ask(pts)
        _, pixels = self._child.answer((self._clip.height, self._clip.width, 3))
        assert pixels is not None
        return pixels

    def close(self) -> None:
        """Kill the child."""
        self._child.close()


class Child:
    """A confined child process that answers requests with messages.

    Raises InputError if this system cannot confine processes, or if an environment variable that
    sets one of the limits is not a positive number.
    """

    def __init__(self, request: dict[str, Any], path: str, patience: float = 0.0) -> None:
        require_confinement()
        self._path = path
        self._patience = read_number_variable(SECONDS_VARIABLE, 60.0, "seconds") + patience
        self._gigabytes = read_number_variable(GIGABYTES_VARIABLE, 4.0, "gigabytes")
        self._process = subprocess.Popen(
            [sys.executable, "-m", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            # so that Ctrl-C reaches only the parent, which then ends the child
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout.fileno()
        enlarge_pipe(self._out)
        self.ask({**request, "memory": int(self._gigabytes * 1e9), "path": path})

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the process, and wait until it has ended."""
        self._process.kill()
        self._process.communicate()

    def ask(self, request: Any) -> None:
        """Send a request as a line of JSON."""
        try:
            self._in.write(json.dumps(request).encode() + b"\n")
            self._in.flush()
        except BrokenPipeError:
            pass  # the child has died, which `answer` reports with a better error

    def answer(self, shape: tuple[int, ...] | None = None) -> tuple[dict[str, Any], Pixels | None]:
        """Return the next message: its JSON, and the pixels of a frame or None.

        The pixels are uint8 or uint16 and must have the given `shape`; if it is None, the message
        must not contain any. Raises the error that the child reports, and MediaError if the child
        dies, hangs or sends an invalid answer.
        """
        deadline = time.monotonic() + self._patience
        length, size = HEAD.unpack(self._receive(HEAD.size, deadline))
        if length > _LARGEST_JSON:
            raise self._nonsense()
        header = self._parse(self._receive(length, deadline))
        if "error" in header:
            raise _as_raised(str(header["error"]), str(header["message"]))
        if size == 0:
            return header, None
        kind = np.dtype(np.uint16 if header.get("deep") else np.uint8)
        if shape is None or size != math.prod(shape) * kind.itemsize:
            raise self._nonsense()
        pixels = np.frombuffer(self._receive(size, deadline), kind)
        return header, pixels.reshape(shape)

    def _parse(self, text: bytearray) -> dict[str, Any]:
        try:
            header = json.loads(bytes(text))
        except (ValueError, RecursionError) as error:
            raise self._nonsense() from error
        if not isinstance(header, dict) or ("error" in header) != ("message" in header):
            raise self._nonsense()
        return header

    def _receive(self, count: int, deadline: float) -> bytearray:
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._out], [], [], left)[0]:
                raise MediaError(
                    f"{self._path} kept the decoder busy for more than {self._patience:.0f} s; "
                    f"expected an intact file; if you trust it, try --sandbox off, or "
                    f"increase {SECONDS_VARIABLE}"
                )
            chunk = os.readv(self._out, [view[got:]])
            if chunk == 0:
                raise self._died()
            got += chunk
        return data

    def _died(self) -> MediaError:
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            status = 0
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return MediaError(
            f"{self._path} crashed the decoder ({how}); expected an intact file that needs at most "
            f"{self._gigabytes:g} GB; if you trust it, try --sandbox off, or "
            f"increase {GIGABYTES_VARIABLE}"
        )

    def _nonsense(self) -> MediaError:
        return MediaError(
            f"{self._path} made the decoder send invalid answers, and may be malicious; do not "
            "open it with other programs"
        )


def _environment() -> dict[str, str]:
    """Return the environment of a child, without credentials or the home folder."""
    known = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", MEGAPIXELS_VARIABLE)
    kept = {name: os.environ[name] for name in known if name in os.environ}
    # without privileges, only a process with a single thread can leave the host's network
    kept["OPENBLAS_NUM_THREADS"] = "1"
    return {**kept, **import_variables()}


def _as_raised(name: str, message: str) -> BaseException:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.PipelineError):
        return kind(message)
    return RuntimeError(f"{name} in the sandbox: {message}")
