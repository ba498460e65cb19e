"""An S3 server (moto) behind a proxy that can inject faults."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

OWNER = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner", "region_name": "us-east-1"}
_HOP_HEADERS = ("connection", "transfer-encoding", "content-length")


class Objects(MutableMapping[str, bytes]):
    """The server's objects by "bucket/key", accessed with Amazon's own client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getitem__(self, name: str) -> bytes:
        try:
            return bytes(self._client.get_object(**_split_name(name))["Body"].read())
        except ClientError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, content: bytes) -> None:
        self._client.put_object(**_split_name(name), Body=content, ACL="public-read")

    def __delitem__(self, name: str) -> None:
        self._client.delete_object(**_split_name(name))

    def __iter__(self) -> Iterator[str]:
        listed = self._client.list_objects_v2(Bucket="bucket").get("Contents", [])
        return iter([f"bucket/{entry['Key']}" for entry in listed])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _split_name(name: str) -> dict[str, str]:
    bucket, _, key = name.partition("/")
    return {"Bucket": bucket, "Key": key}


class Store(ThreadingHTTPServer):
    """The proxy, the objects behind it, and the faults to inject."""

    daemon_threads = True

    def __init__(self, moto: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Proxy)
        self.moto = moto
        self._behind = OWNER | {"endpoint_url": f"http://{moto[0]}:{moto[1]}"}
        self._s3 = boto3.client("s3", **self._behind)
        self._s3.create_bucket(Bucket="bucket")
        self.objects = Objects(self._s3)
        self.faults: deque[tuple[str, str]] = deque()
        """(method, "500" | "hang" | "short") for the next request with that method."""
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def uploads(self) -> list[Any]:
        """Return the multipart uploads that were neither completed nor aborted."""
        found = self._s3.list_multipart_uploads(Bucket="bucket")
        return list(found.get("Uploads", []))

    def create_reader(self) -> dict[str, str]:
        """Create a user who may only read and list, and return that user's environment."""
        iam = boto3.client("iam", **self._behind)
        iam.create_user(UserName="reader")
        allowed = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=document)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that hang up, and report other errors as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def take_fault(self, method: str) -> str:
        """Return the fault for a request with `method`, or "" if there is none."""
        if self.faults and self.faults[0][0] == method:
            return self.faults.popleft()[1]
        return ""


@contextmanager
def serve_bucket() -> Iterator[Store]:
    """Serve an empty bucket until the end of the block."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    _reset(host, port)
    store = Store((host, port))
    threading.Thread(target=store.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield store
    finally:
        store.shutdown()
        store.server_close()
        moto.stop()


def _reset(host: str, port: int) -> None:
    """Remove the objects of an earlier server, which moto keeps until the process ends."""
    connection = HTTPConnection(host, port)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 200
    connection.close()


class Proxy(BaseHTTPRequestHandler):
    """One request, which is forwarded or answered with a fault."""

    server: Store
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        body = self.read_body()
        self.server.requests.append((self.command, self.path.partition("?")[0].lstrip("/")))
        fault = self.server.take_fault(self.command)
        if fault == "hang":
            time.sleep(3)
            self.close_connection = True
        elif fault == "500":
            self.send_answer(500, [], b"<Error><Code>InternalError</Code></Error>")
        else:
            self.forward(body, short=fault == "short")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the library's names

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def forward(self, body: bytes, *, short: bool) -> None:
        connection = HTTPConnection(*self.server.moto)
        try:
            # Keep the Host header, because it is signed
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in _HOP_HEADERS:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            self.send_answer(answer.status, answer.getheaders(), answer.read(), short=short)
        finally:
            connection.close()

    def send_answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, short: bool = False
    ) -> None:
        self.send_response_only(status)
        values = {name.lower(): value for name, value in headers}
        for name, value in headers:
            if name.lower() not in _HOP_HEADERS:
                self.send_header(name, value)
        length = values.get("content-length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if short else content)
        self.close_connection = short or self.close_connection
