"""URLs that contain secrets, servers that misbehave, and schemes that read other files."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from jobs.stress.hostile.bench import PLAIN, RUN, SECRET, Bench, Case
from jobs.stress.hostile.killing import kill_before

_PASSWORD = "p4ssw0rd"
_SIGNATURE = "s1gnature"
Manner = Literal["well", "endless", "redirect", "short", "long name"]


class _Handler(BaseHTTPRequestHandler):
    """Serves the files in one folder, either correctly or in a hostile manner."""

    folder = Path()
    manner: Manner = "well"

    def do_HEAD(self) -> None:
        self._send(body=False)

    def do_GET(self) -> None:
        self._send(body=True)

    def _send(self, *, body: bool) -> None:
        file = self.folder / Path(self.path.partition("?")[0]).name
        if self.manner == "redirect":
            self.send_response(302)
            self.send_header("Location", f"file://{self.folder}/lr.mkv")
            self.end_headers()
            return
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        size = {"endless": 1 << 60, "short": 2 * len(content)}.get(self.manner, len(content))
        first, last = self._range(len(content))
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", str(size - first if last is None else last + 1 - first))
        self.send_header("Accept-Ranges", "bytes")
        if "Range" in self.headers:
            end = size - 1 if last is None else last
            self.send_header("Content-Range", f"bytes {first}-{end}/{size}")
        if self.manner == "long name":
            self.send_header("Content-Disposition", f'attachment; filename="../../../{"a" * 999}"')
            self.send_header("ETag", f'"\x1b]0;evil\x07{"b" * 999}"')
        self.end_headers()
        if body:
            self.wfile.write(content[first : None if last is None else last + 1])

    def _range(self, size: int) -> tuple[int, int | None]:
        given = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        first, _, last = given.partition("-")
        return int(first or 0), int(last) if last else None

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@contextmanager
def _serve(folder: Path, manner: Manner = "well") -> Iterator[str]:
    """Serve a folder on this machine, and yield its URL, which contains a user and a password."""
    handler = type("Handler", (_Handler,), {"folder": folder, "manner": manner})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://user:{_PASSWORD}@127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _expect_no_secret(bench: Bench, text: str, where: str) -> None:
    bench.expect(_PASSWORD not in text and _SIGNATURE not in text, f"a secret in {where}")


def _check_files(bench: Bench) -> None:
    """Record a fault for each file that contains a secret but is not private."""
    for path in bench.root.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        if _PASSWORD.encode() in content or _SIGNATURE.encode() in content:
            mode = stat.S_IMODE(path.stat().st_mode)
            bench.expect(not mode & 0o077, f"a secret in {path.name} of mode {mode:o}")


def _attack_run(bench: Bench) -> None:
    """Enhance a signed URL with a password in a run that is killed and then finished."""
    bench.copy("hr.mkv")
    with _serve(bench.materials.get("lr.mkv").parent) as server:
        url = f"{server}/lr.mkv?X-Amz-Signature={_SIGNATURE}"
        run = ("run", url, *RUN[2:], "--sandbox", "off")
        kill_before(bench, "os.rename", "out.mkv", *run)
        _expect_no_secret(bench, bench.attempts[-1].outcome.text, "the text of a killed run")
        _check_files(bench)
        done = bench.attack(*run, status=(0,))
        _expect_no_secret(bench, done.text, "the text of a run")
        plan = (bench.folder / "out.plan.json").read_text(encoding="utf-8")
        _expect_no_secret(bench, plan, "the plan beside the output")
        shown = bench.attack("report", "out.mkv", "-o", "out.html", "-q")
        _expect_no_secret(bench, shown.text, "the text of a report")
        _check_files(bench)


def _attack_texts(bench: Bench) -> None:
    """Fail in many ways with a signed URL; no message may contain its secrets."""
    bench.copy("lr.mkv", "hr.mkv")
    bench.materials.get("lr.mkv")
    with _serve(bench.materials.folder) as server:
        signed = f"?X-Amz-Signature={_SIGNATURE}"
        for command in (
            ("probe", f"{server}/none.mkv{signed}"),
            ("plan", f"{server}/lr.mkv{signed}", "--ref-stream", f"{server}/none{signed}", *PLAIN),
            ("plan", "lr.mkv", "--ref-stream", "hr.mkv", *PLAIN, "-o", f"{server}/x.mkv{signed}"),
            ("run", "--manifest", f"{server}/none.csv{signed}", *RUN[2:-2], "-o", "out"),
            ("status", f"{server}/none.mkv{signed}"),
        ):
            done = bench.attack(*command, status=(1, 2))
            _expect_no_secret(bench, done.text, f"the text of {command[0]}")
        bench.write("list.jsonl", f'{{"input": "{server}/none.mkv{signed}"}}\n')
        run = ("run", "--manifest", "list.jsonl", "--ref-stream", "hr.mkv", *PLAIN, "-q")
        done = bench.attack(*run, status=(1, 2), makes=("*failed*",))
        _expect_no_secret(bench, done.text, "the text of a batch")
        (bench.folder / "list.jsonl").chmod(0o600)
        _check_files(bench)


def _attack_server(bench: Bench, manner: Manner) -> None:
    bench.copy("hr.mkv")
    bench.materials.get("lr.mkv")
    with _serve(bench.materials.folder, manner) as server:
        allowed = (0,) if manner == "long name" else (1, 2)
        bench.attack("run", f"{server}/lr.mkv", *RUN[2:], "--sandbox", "off", status=allowed)


_MANNERS: dict[Manner, str] = {
    "endless": "a size of 2^60",
    "redirect": "a redirection to a file",
    "short": "fewer bytes than announced",
    "long name": "a long name and escape sequences",
}
_SCHEMES = (
    "ftp://127.0.0.1:9/a.mkv",
    "zip://a.mkv::file://{victim}/a.zip",
    "simplecache::file://{victim}/film.mkv",
    "reference://{victim}/film.mkv",
    "github://evil:repo@main/a.mkv",
    "dir://{victim}::local://{victim}",
    "http+unix://{victim}",
    "file://evil.invalid{victim}/none.mkv",
)


def _attack_scheme(bench: Bench, url: str) -> None:
    (bench.victim / "film.mkv").write_bytes(bench.materials.get("lr.mkv").read_bytes())
    bench.copy("hr.mkv")
    place = url.replace("{victim}", str(bench.victim))
    plan = ("plan", "hr.mkv", "--ref-stream", place, *PLAIN)
    bench.attack(*plan, status=(2,))


def _attack_file_url(bench: Bench) -> None:
    """Write to file:// URLs, which are local paths; an existing file must stay unchanged."""
    bench.copy("lr.mkv", "hr.mkv")
    thesis = bench.victim / "thesis.txt"
    for place in (f"file://{thesis}", f"file://localhost{thesis}", f"file:{thesis}"):
        bench.attack(*RUN[:-1], place, status=(1, 2), makes=(".out*",))
    bench.expect(thesis.read_text(encoding="utf-8") == SECRET, "the victim's file changed")


CASES = (
    Case("url-secrets", "urls", "a password and a signature in a URL", _attack_run, False),
    Case("url-texts", "urls", "error messages about URLs with secrets", _attack_texts),
    *(
        Case(
            f"server-{manner.replace(' ', '-')}",
            "urls",
            f"a server that answers with {what}",
            partial(_attack_server, manner=manner),
        )
        for manner, what in _MANNERS.items()
    ),
    *(
        Case(
            f"scheme-{url.partition(':')[0].replace('+', '-')}-{number}",
            "urls",
            url,
            partial(_attack_scheme, url=url),
            number == 2,
        )
        for number, url in enumerate(_SCHEMES)
    ),
    Case("url-file", "urls", "outputs at file:// URLs of the victim", _attack_file_url),
)
