"""Files at URLs: s3:// and gs:// (pyarrow), http(s):// to read, memory:// and all fsspec knows.

Everything is retried with growing pauses; credentials come from the environment alone (for S3
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL and what else Amazon's SDK reads) and are
never part of a message.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipeline.errors import InputError, PipelineError, first_line
from pipeline.paths import join_url, redact_url, url_name

logger = logging.getLogger(__name__)

ATTEMPTS = 5
PAUSE = 0.25
"""Seconds before the second attempt; doubled for each further one."""
TIMEOUT = float(os.environ.get("PIPELINE_REMOTE_TIMEOUT", "20"))
"""Seconds without an answer after which a request is taken to have failed."""
_CHUNK = 8 << 20
_DENIED = re.compile(
    r"ACCESS_DENIED|AccessDenied|Forbidden|\b403\b|\b401\b|InvalidAccessKeyId", re.I
)
_MISSING = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|does not exist|NO_SUCH_KEY|\b404\b", re.I)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL."""

    url: str
    size: int | None
    """Bytes; None where the server does not say."""
    version: str
    """Changes with the content: entity tag or time of change, as far as the server tells."""


@lru_cache(maxsize=16)
def _filesystem(scheme: str, place: str) -> Any:
    import fsspec

    if scheme not in ("s3", "gs"):
        try:
            return fsspec.filesystem(scheme)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"found a {scheme}:// URL, expected one of s3, gs, http, https or file; "
                f"install what fsspec needs for it ({error})"
            ) from error
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import fs
    except ImportError as error:
        raise InputError(
            f"found a {scheme}:// URL, expected the package pyarrow for it; "
            "install crossnetpp-pipeline[s3]"
        ) from error
    if scheme == "gs":
        return ArrowFSWrapper(fs.GcsFileSystem())
    endpoint = urlsplit(place) if place else None
    options = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint else {}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # one attempt of the SDK's: ours are counted, and say what they are doing
    return ArrowFSWrapper(
        fs.S3FileSystem(
            region=region or ("us-east-1" if endpoint else None),
            request_timeout=TIMEOUT,
            connect_timeout=TIMEOUT,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
            background_writes=False,
            **options,
        )
    )


def _open(url: str) -> tuple[Any, str]:
    parts = urlsplit(url)
    scheme = {"s3a": "s3", "gcs": "gs"}.get(parts.scheme, parts.scheme)
    place = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    filesystem = _filesystem(scheme, place if scheme == "s3" else "")
    if scheme in ("s3", "gs", "memory"):
        return filesystem, f"{parts.netloc}{parts.path}"
    return filesystem, url


def retry_request(what: str, url: str, call: Callable[[], Answer]) -> Answer:
    """Return `call()`, tried again after transient errors.

    Raises InputError where the file is missing or access is denied, PipelineError where the place
    does not answer in `ATTEMPTS` attempts.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except FileNotFoundError as error:
            raise InputError(
                f"found nothing at {redact_url(url)}, expected a file; check the URL"
            ) from error
        except (OSError, TimeoutError, EOFError, _client_error()) as error:
            said = first_line(error).replace(url, redact_url(url))
            if isinstance(error, PermissionError) or _DENIED.search(said):
                raise InputError(
                    f"found no right to {what} {redact_url(url)} ({_reason(said)}), expected "
                    "access; check the credentials in the environment"
                ) from error
            if _MISSING.search(said):
                raise InputError(
                    f"found nothing at {redact_url(url)} ({_reason(said)}), expected a bucket and "
                    "file that exist; check the URL"
                ) from error
            if attempt == ATTEMPTS:
                raise PipelineError(
                    f"cannot {what} {redact_url(url)} after {ATTEMPTS} attempts: {_reason(said)}; "
                    "run the same command again to resume"
                ) from error
            pause = PAUSE * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            logger.info("%s %s: %s; again in %.1f s", what, redact_url(url), _reason(said), pause)
            time.sleep(pause)
    raise AssertionError


def _client_error() -> type[Exception]:
    from aiohttp import ClientError

    return ClientError


def _reason(said: str) -> str:
    """Return what matters of a long message, without anything that may be a secret."""
    secret = r"(?i)\w*(key|token|secret|signature|credential)\w*\s*[=:]\s*\S+"
    return re.sub(secret, "...", said)[:160]


def find_file(url: str) -> RemoteFile | None:
    """Return what is at a URL, None if there is nothing."""
    filesystem, path = _open(url)

    def look() -> RemoteFile | None:
        filesystem.invalidate_cache()
        try:
            info = filesystem.info(path)
        except FileNotFoundError:
            return None
        if info.get("type") == "directory":
            return None
        told = [info.get(key) for key in ("ETag", "etag", "mtime", "last_modified", "created")]
        version = next((str(value) for value in told if value), "")
        return RemoteFile(url, info.get("size"), version)

    return retry_request("look at", url, look)


def list_files(url: str) -> list[RemoteFile]:
    """Return the files directly in a folder, sorted by name; [] if there is none."""
    filesystem, path = _open(url.rstrip("/"))
    root = url[: len(url.rstrip("/"))]

    def look() -> list[RemoteFile]:
        filesystem.invalidate_cache()
        try:
            listed = filesystem.ls(path, detail=True)
        except FileNotFoundError:
            return []
        return [
            RemoteFile(
                join_url(root, url_name("x://" + str(i["name"]))),
                i["size"],
                str(i.get("mtime", "")),
            )
            for i in sorted(listed, key=lambda i: str(i["name"]))
            if i["type"] == "file"
        ]

    return retry_request("list", url, look)


def glob_urls(pattern: str) -> list[str]:
    """Return the URLs that match a pattern, sorted."""
    filesystem, path = _open(pattern)
    scheme = pattern.partition("://")[0]
    found = retry_request("list", pattern, lambda: sorted(filesystem.glob(path)))
    return [f"{scheme}://{str(name).lstrip('/')}" for name in found]


def download_file(found: RemoteFile, target: Path) -> None:
    """Copy a file here; goes on after an interruption where it was, and checks the size."""
    filesystem, path = _open(found.url)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(b"")

    def copy() -> None:
        with part.open("ab") as out, filesystem.open(path, "rb") as source:
            if out.tell():
                source.seek(out.tell())
            while chunk := source.read(_CHUNK):
                out.write(chunk)
        size = part.stat().st_size
        if found.size is not None and size != found.size:
            if size > found.size:
                part.write_bytes(b"")
            raise EOFError(f"got {size} of {found.size} bytes")

    try:
        retry_request("read", found.url, copy)
        if found.size is None and part.stat().st_size == 0:
            raise InputError(f"found an empty file at {redact_url(found.url)}; check the URL")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def upload_file(source: Path, url: str) -> None:
    """Copy a file there; it appears whole (one PUT, or one multipart upload completed) or not."""
    filesystem, path = _open(url)
    _check_writable_scheme(url)

    def copy() -> None:
        with source.open("rb") as file, filesystem.open(path, "wb") as out:
            while chunk := file.read(_CHUNK):
                out.write(chunk)
        there = filesystem.info(path).get("size")
        if there != source.stat().st_size:
            raise EOFError(f"{there} of {source.stat().st_size} bytes arrived")

    retry_request("write", url, copy)


def write_bytes(url: str, content: bytes) -> None:
    """Write a small file in one request."""
    filesystem, path = _open(url)
    _check_writable_scheme(url)

    def put() -> None:
        with filesystem.open(path, "wb") as out:
            out.write(content)

    retry_request("write", url, put)


def read_bytes(url: str) -> bytes | None:
    """Return a small file's content, None if there is none."""
    filesystem, path = _open(url)

    def get() -> bytes | None:
        try:
            with filesystem.open(path, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    return retry_request("read", url, get)


def sha256(url: str) -> str | None:
    """Return the sha256 of a file in hexadecimal, None if there is none."""
    filesystem, path = _open(url)

    def digest() -> str | None:
        try:
            with filesystem.open(path, "rb") as file:
                total = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    total.update(chunk)
                return total.hexdigest()
        except FileNotFoundError:
            return None

    return retry_request("read", url, digest)


def remove_file(url: str) -> None:
    """Delete a file if it is there."""
    filesystem, path = _open(url)

    def delete() -> None:
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            return

    retry_request("delete", url, delete)


def remove_folder(url: str) -> None:
    """Delete an empty folder: object stores may hold a mark for it."""
    filesystem, path = _open(url)

    def delete() -> None:
        try:
            filesystem.rmdir(path)
        except FileNotFoundError:
            return

    retry_request("delete", url, delete)


def check_writable(folder: str) -> None:
    """Write and delete a small file, now rather than after hours; raises InputError."""
    _check_writable_scheme(folder)
    test = join_url(folder, f".pipeline-write-test-{os.getpid()}-{time.time_ns():x}")
    write_bytes(test, b"x")
    remove_file(test)


def _check_writable_scheme(url: str) -> None:
    if url.startswith(("http://", "https://")):
        raise InputError(
            f"found {redact_url(url)} as output, expected a place that can be written: HTTP is "
            "read-only; try a path or s3://"
        )
