"""Untrusted recordings: opened and decoded by a child process which may read them and no more.

A recording that crashes, hangs or bloats the decoder ends the child, and the run with one line.
What comes back is JSON and pixels, checked here; nothing that comes from a child is executed.
"""

from __future__ import annotations

import fcntl
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

from pipeline import errors
from pipeline.errors import InputError, MediaError
from pipeline.media.alpha import Plane
from pipeline.media.colour import make_contiguous
from pipeline.media.container import MEGAPIXELS_VARIABLE
from pipeline.pixels import Pixels
from pipeline.schema.clip import Clip, Recording, RecordingBase

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=RecordingBase)

SECONDS_VARIABLE, GIGABYTES_VARIABLE = "PIPELINE_SANDBOX_SECONDS", "PIPELINE_SANDBOX_GB"
"""Variables: the longest wait for an answer (60), and the memory of a child (4)."""
HEAD = struct.Struct(">II")
"""Before each answer: bytes of its JSON, bytes of pixels that follow."""
_SET_PIPE_SIZE = 1031
_PIPE_SIZE = 1 << 20
_LARGEST_JSON = 1 << 28
_CLIP: TypeAdapter[Clip] = TypeAdapter(Clip)


def sandboxed(
    function: Callable[Concatenate[C, P], R],
) -> Callable[Concatenate[C, P], R]:
    """Let `function` run in a child where its clip says so; arguments and result go as JSON."""
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
        where = f"{function.__module__}:{function.__name__}"
        made = call(where, arguments, clip)
        return result.validate_python(made)

    return cast("Callable[Concatenate[C, P], R]", wrapper)


def call(function: str, arguments: dict[str, Any], clip: RecordingBase) -> Any:
    """Return the JSON that `module:function` makes of `arguments` in a child of its own."""
    # whole files are read: what may be waited for grows with them
    return call_in_child(function, arguments, clip.path, clip.size_bytes / 1e6)


def call_in_child(
    function: str,
    arguments: dict[str, Any],
    path: str,
    patience: float = 0.0,
    also: Sequence[Path] = (),
) -> Any:
    """Do the same for the recording at `path`, beside which the files `also` may be read."""
    request = {"call": function, "arguments": arguments, "also": [str(file) for file in also]}
    with Child(request, path, patience) as child:
        return child.answer()[0]["result"]


def probe_in_child(path: str) -> Clip:
    """Describe a recording as `probe` does, in a child; the clip is read in children, too."""
    place = Path(path)
    request = {"call": "pipeline.media.read.probe:probe", "arguments": {"path": path}}
    with Child(request, path, 1.0 * len(list(place.iterdir())) if place.is_dir() else 0.0) as child:
        clip = _CLIP.validate_python(child.answer()[0]["result"])
    # what decides which files are opened later is not left to the child
    return clip.model_copy(update={"path": path, "sandbox": True})


def iterate_frames(
    clip: Clip, arguments: dict[str, Any]
) -> Iterator[tuple[int, Pixels, bool, Plane | None]]:
    """Yield pts, pixels, whether concealed, and alpha of each frame `read` gives in a child."""
    request = {"frames": arguments, "clip": clip.model_dump(mode="json")}
    with Child(request, clip.path) as child:
        while True:
            said, pixels = child.answer(clip, channels=4 if clip.alpha else 3)
            if pixels is None:
                return
            alpha = make_contiguous(pixels[..., 3]) if clip.alpha else None
            rgb = make_contiguous(pixels[..., :3])
            yield int(said["pts"]), rgb, bool(said["concealed"]), alpha


class ChildReader:
    """Single frames by pts, decoded by one child that stays."""

    def __init__(self, clip: Recording) -> None:
        self._clip = clip
        self._child = Child({"single": True, "clip": clip.model_dump(mode="json")}, clip.path)

    def get(self, pts: int) -> Pixels:
        """Return the frame at exactly `pts` as uint8 or uint16 H x W x 3 RGB."""
        self._child.ask(pts)
        _, pixels = self._child.answer(self._clip)
        assert pixels is not None
        return pixels

    def close(self) -> None:
        """End the child."""
        self._child.close()


class Child:
    """A process under limits that answers one request, by one message or many."""

    def __init__(self, request: dict[str, Any], path: str, patience: float = 0.0) -> None:
        self._path = path
        self._patience = _number(SECONDS_VARIABLE, 60.0) + patience
        self._gigabytes = _number(GIGABYTES_VARIABLE, 4.0)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.media.sandbox.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            # Ctrl-C is for the parent, which then ends the child
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout.fileno()
        if sys.platform == "linux":
            fcntl.fcntl(self._out, _SET_PIPE_SIZE, _PIPE_SIZE)
        self.ask({**request, "memory": int(self._gigabytes * 1e9), "path": path})

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.communicate()

    def ask(self, request: Any) -> None:
        """Send a line of JSON."""
        try:
            self._in.write(json.dumps(request).encode() + b"\n")
            self._in.flush()
        except BrokenPipeError:
            pass  # it has died, which reading its answer tells better

    def answer(
        self, clip: Recording | None = None, channels: int = 3
    ) -> tuple[dict[str, Any], Pixels | None]:
        """Return the next message: its JSON, and the pixels of a frame of `clip`, if any.

        Raises what the child raised, and MediaError where it died, hung, or answered nonsense.
        """
        deadline = time.monotonic() + self._patience
        length, size = HEAD.unpack(self._receive(HEAD.size, deadline))
        if length > _LARGEST_JSON:
            raise self._nonsense()
        said = json.loads(bytes(self._receive(length, deadline)))
        if "error" in said:
            raise _as_raised(str(said["error"]), str(said["message"]))
        if size == 0:
            return said, None
        kind = np.dtype(np.uint16 if said.get("deep") else np.uint8)
        if clip is None or size != clip.height * clip.width * channels * kind.itemsize:
            raise self._nonsense()
        pixels = np.frombuffer(self._receive(size, deadline), kind)
        return said, pixels.reshape(clip.height, clip.width, channels)

    def _receive(self, count: int, deadline: float) -> bytearray:
        data = bytearray(count)
        view, got = memoryview(data), 0
        while got < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._out], [], [], left)[0]:
                raise MediaError(
                    f"{self._path} keeps the decoder busy for more than {self._patience:.0f} s; "
                    f"expected an intact file; if you trust it, try --sandbox off, or "
                    f"set {SECONDS_VARIABLE}"
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
            f"{self._path} ends the decoder ({how}); expected an intact file that needs at most "
            f"{self._gigabytes:g} GB; if you trust it, try --sandbox off, or "
            f"set {GIGABYTES_VARIABLE}"
        )

    def _nonsense(self) -> MediaError:
        return MediaError(
            f"{self._path} makes the decoder answer nonsense; expected an intact file; do not "
            "open it elsewhere"
        )


def _number(variable: str, usual: float) -> float:
    text = os.environ.get(variable) or str(usual)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number > 0:
        raise InputError(f"found {variable}={text}, expected a number above 0; try {usual:g}")
    return number


def _environment() -> dict[str, str]:
    """Return what a child may know: no credentials, nobody's home."""
    known = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", MEGAPIXELS_VARIABLE)
    kept = {name: os.environ[name] for name in known if name in os.environ}
    here = str(Path(__file__).parents[3])
    # a process of one thread can be cut off from the network by anybody
    kept["OPENBLAS_NUM_THREADS"] = "1"
    return {**kept, "PYTHONPATH": os.pathsep.join([here, *(p for p in sys.path if p)])}


def _as_raised(name: str, message: str) -> BaseException:
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.PipelineError):
        return kind(message)
    return RuntimeError(f"{name} in the sandbox: {message}")
