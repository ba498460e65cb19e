"""A small server of the S3 protocol, in memory, which can be told to misbehave."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape


class Store(ThreadingHTTPServer):
    """Objects by "bucket/key", and what is to go wrong."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.buckets = {"bucket"}
        self.read_only = False
        self.faults: deque[tuple[str, str]] = deque()
        """(method, "500" | "hang" | "short") for the next requests of that method."""
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, method: str) -> str:
        if self.faults and self.faults[0][0] == method:
            return self.faults.popleft()[1]
        return ""


@contextmanager
def serving() -> Iterator[Store]:
    """Serve until the end of the block."""
    store = Store()
    threading.Thread(target=store.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        body = self.body()
        parts = urlsplit(self.path)
        name = unquote(parts.path).lstrip("/")
        query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self.server.requests.append((self.command, name))
        fault = self.server.fault(self.command)
        if fault == "hang":
            time.sleep(3)
            self.close_connection = True
            return
        if fault == "500":
            self.error(500, "InternalError")
        elif self.server.read_only and self.command in ("PUT", "POST", "DELETE"):
            self.error(403, "AccessDenied")
        elif name.partition("/")[0] not in self.server.buckets:
            self.error(404, "NoSuchBucket")
        else:
            getattr(self, f"on_{self.command.lower()}")(name, query, body, fault == "short")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the library's names

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return data
        content = b""
        while data:
            line, _, data = data.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            content, data = content + data[:size], data[size + 2 :]
        return content

    def answer(
        self,
        status: int,
        content: bytes = b"",
        *,
        short: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if short else content)
        if short:
            self.close_connection = True

    def error(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self.answer(status, text.encode(), headers={"Content-Type": "application/xml"})

    def on_head(self, name: str, query: dict[str, str], body: bytes, short: bool) -> None:
        if "/" not in name.rstrip("/"):
            self.answer(200)
        elif name in self.server.objects:
            content = self.server.objects[name]
            stamp = {"ETag": f'"{md5(content).hexdigest()}"', "Content-Length": str(len(content))}
            self.answer(200, headers=stamp | {"Last-Modified": "Sat, 01 Nov 2025 10:00:00 GMT"})
        else:
            self.answer(404)

    def on_get(self, name: str, query: dict[str, str], body: bytes, short: bool) -> None:
        if "/" not in name.rstrip("/"):
            self.list(name.rstrip("/"), query)
        elif name not in self.server.objects:
            self.error(404, "NoSuchKey")
        else:
            content = self.server.objects[name]
            stamp = {"Last-Modified": "Sat, 01 Nov 2025 10:00:00 GMT"}
            wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None:
                self.answer(200, content, short=short, headers=stamp)
                return
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            stamp["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self.answer(206, content[first : last + 1], short=short, headers=stamp)

    def list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys, folders = [], set()
        for name in sorted(self.server.objects):
            place, _, key = name.partition("/")
            if place != bucket or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                keys.append((key, len(self.server.objects[name])))
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
            "<LastModified>2025-11-01T10:00:00.000Z</LastModified></Contents>"
            for key, size in keys
        )
        shared = "".join(
            f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders
        )
        count = len(keys) + len(folders)
        text = (
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<KeyCount>{count}</KeyCount><IsTruncated>false</IsTruncated>{entries}{shared}"
            "</ListBucketResult>"
        )
        self.answer(200, text.encode(), headers={"Content-Type": "application/xml"})

    def on_put(self, name: str, query: dict[str, str], body: bytes, short: bool) -> None:
        tag = {"ETag": f'"{md5(body).hexdigest()}"'}
        if "uploadId" in query:
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
        else:
            self.server.objects[name] = body
        self.answer(200, headers=tag)

    def on_post(self, name: str, query: dict[str, str], body: bytes, short: bool) -> None:
        if "delete" in query:
            for key in re.findall(r"<Key>(.*?)</Key>", body.decode()):
                self.server.objects.pop(f"{name.rstrip('/')}/{unescape(key)}", None)
            text = "<DeleteResult></DeleteResult>"
        elif "uploads" in query:
            upload = f"upload{len(self.server.parts)}"
            self.server.parts[upload] = {}
            text = (
                f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                "</InitiateMultipartUploadResult>"
            )
        else:
            parts = self.server.parts.pop(query["uploadId"])
            self.server.objects[name] = b"".join(parts[i] for i in sorted(parts))
            text = '<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
        self.answer(200, text.encode(), headers={"Content-Type": "application/xml"})

    def on_delete(self, name: str, query: dict[str, str], body: bytes, short: bool) -> None:
        if "uploadId" in query:
            self.server.parts.pop(query["uploadId"], None)
        else:
            self.server.objects.pop(name, None)
        self.answer(204)
