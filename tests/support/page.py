"""Running pages of `pipeline ui`: a server in a thread of this process, or the command itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from pipeline.ui.commands import PROGRAM
from pipeline.ui.guard import Guard
from pipeline.ui.handlers import Handlers
from pipeline.ui.serve import format_address, make_app, open_socket
from pipeline.ui.store import JobStore
from pipeline.ui.work import Work
from tests.support import ROOT

PATIENCE_SECONDS = 200.0  # for machines that do much else


class Page:
    """A page at an address, and the requests that a browser sends to it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def request(
        self, method: str, path: str, data: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Send a request and return the status and the body of the answer."""
        request = urllib.request.Request(
            self.address.split("?")[0] + path.lstrip("/"),
            data=data,
            method=method,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def call(self, method: str, path: str, value: Any = None) -> Any:
        """Send JSON, or bytes, and return the JSON of an answer without an error."""
        data = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        status, body = self.request(method, path, data)
        assert status == 200, body
        return json.loads(body)

    def create_job(self, recording: Path | str, reference: Path | str, **options: str) -> str:
        """Create a job of two paths with a bicubic engine, and return its id."""
        job = str(self.call("POST", "/api/jobs")["id"])
        self.call("POST", f"/api/jobs/{job}/path/input", {"path": str(recording)})
        quick = {"engine": "bicubic", "preset": "ultrafast", "runner": "inline"}
        self.call("POST", f"/api/jobs/{job}/options", quick | options)
        self.call("POST", f"/api/jobs/{job}/path/reference", {"path": str(reference)})
        return job

    def wait_for(self, job: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the state of a job as soon as it fits."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            jobs = self.call("GET", "/api/state")["jobs"]
            found: dict[str, Any] = next(each for each in jobs if each["id"] == job)
            if fits(found):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)


@contextmanager
def serve_page(
    folder: Path, *, token: str = "", program: Sequence[str] = PROGRAM
) -> Iterator[Page]:
    """Serve a page from a thread of this process; `program` starts the runs."""
    store = JobStore(folder)
    work = Work(store, program=program)
    listening = open_socket("127.0.0.1", 0)
    app = make_app(Handlers(store, work), Guard(token=token, loopback_only=not token))
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listening).start()

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Page(format_address("127.0.0.1", listening.getsockname()[1], token))
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_SECONDS)
        loop.close()
        listening.close()
        work.close()
        store.close()


@contextmanager
def start_command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Start `pipeline ui ARGUMENTS`, and yield the process and the two lines that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "ui", "--no-open", "--port", "0", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, [process.stdout.readline().strip() for _ in range(2)]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
