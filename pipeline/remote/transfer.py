"""Read and write files at URLs: s3:// and gs:// (pyarrow), http(s):// (read only), others (fsspec).

After a transient error, every request is retried with growing pauses. Credentials come from
the usual sources of each store (Amazon's SDK for S3 reads AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, for example), and never appear in a message.
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
from urllib.parse import SplitResult, urlsplit

from deploy.distribution import describe_install
from pipeline.errors import InputError, PipelineError, first_line
from pipeline.paths import join_url, redact_url, url_name
from pipeline.schema.parsing import read_number_variable

logger = logging.getLogger(__name__)

ATTEMPTS = 5
PAUSE = 0.25  # seconds before the second attempt; each further pause is twice as long
TIMEOUT = read_number_variable("PIPELINE_REMOTE_TIMEOUT", 20.0, "seconds")  # of requests to S3
_CHUNK_BYTES = 8 << 20
_DENIED = re.compile(
    r"ACCESS_DENIED|AccessDenied|Forbidden|\b403\b|\b401\b|InvalidAccessKeyId", re.I
)
_MISSING = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|does not exist|NO_SUCH_KEY|\b404\b", re.I)

# Schemes of stores that need only a URL and environment variables. Through fsspec's other
# schemes, such as zip, local and github, a manifest or plan from a stranger could make this program
# read any file; ftp and sftp need a password.
_SCHEMES = frozenset(
    {
        *("s3", "gs", "http", "https", "memory"),
        *("abfs", "abfss", "az", "adl", "oss", "oci", "ocilake", "hf"),
    }
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL."""

    url: str
    size: int | None
    """Size in bytes; None if the server does not report it."""
    version: str
    """Entity tag or time of the last change, to detect changes; "" if there is neither."""


@lru_cache(maxsize=16)
def _filesystem(scheme: str, endpoint: str) -> Any:
    """Return fsspec's file system for a scheme; `endpoint` is the URL of an S3 server, or "".

    Raises InputError if the scheme is not supported, or if a package for it is missing.
    """
    import fsspec

    if scheme not in _SCHEMES:
        raise InputError(
            f"{scheme}:// URLs are not supported; use s3, gs, http, https or file, or copy the "
            "file to this machine, and pass its path"
        )
    if scheme not in ("s3", "gs"):
        try:
            return fsspec.filesystem(scheme)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"{scheme}:// URLs need a package that is not installed ({error}); install it, or "
                "copy the file to this machine, and pass its path"
            ) from error

    try:
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow import fs
    except ImportError as error:
        raise InputError(
            f"{scheme}:// URLs need the package pyarrow, which is not installed; "
            f"try {describe_install('s3')}"
        ) from error
    if scheme == "gs":
        return ArrowFSWrapper(fs.GcsFileSystem())

    options = {}
    if endpoint:
        parts = urlsplit(endpoint)
        options = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # the SDK makes only one attempt, because `retry_request` counts and logs the attempts
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


def _resolve(url: str) -> tuple[Any, str]:
    """Return the file system for a URL, and the file's path in it.

    Raises InputError if the URL is not valid.
    """
    parts = _split_url(url)
    scheme = {"s3a": "s3", "gcs": "gs"}.get(parts.scheme, parts.scheme)
    endpoint = ""
    if scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    filesystem = _filesystem(scheme, endpoint)
    if scheme in ("s3", "gs", "memory"):
        return filesystem, f"{parts.netloc}{parts.path}"
    return filesystem, url


def _split_url(url: str) -> SplitResult:
    """Return the parts of a URL; raises InputError, with secrets redacted, if it is not valid."""
    try:
        parts = urlsplit(url)
        is_valid = "\\" not in url and (parts.port is None or parts.port >= 0)
    except ValueError:
        is_valid = False
    if not is_valid or not (parts.netloc.isascii() or "@" not in parts.netloc):
        raise InputError(
            f"{redact_url(url)} is not a valid URL; expected SCHEME://HOST/PATH, with special "
            "characters percent-encoded"
        )
    if parts.scheme in ("s3", "s3a", "gs", "gcs") and "@" in parts.netloc:
        raise InputError(
            f"{redact_url(url)} contains a user name, but only BUCKET/FILE may follow "
            f"{parts.scheme}://; pass credentials in the environment"
        )
    return parts


def retry_request(verb: str, url: str, request: Callable[[], Answer]) -> Answer:
    """Return the answer to `request`, which is repeated after transient errors.

    `verb` names the request in messages, such as "read". Raises InputError if the file is missing
    or access is denied, and PipelineError if all `ATTEMPTS` attempts fail.
    """
    shown = redact_url(url)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request()
        except FileNotFoundError as error:
            raise InputError(f"there is nothing at {shown}, so check the URL") from error
        except (OSError, TimeoutError, EOFError, _client_error()) as error:
            message = first_line(error).replace(url, shown)
            reason = _redact_reason(message)
            if isinstance(error, PermissionError) or _DENIED.search(message):
                raise InputError(
                    f"no permission to {verb} {shown} ({reason}); check the credentials"
                ) from error
            if _MISSING.search(message):
                raise InputError(
                    f"there is nothing at {shown} ({reason}); check the bucket and the file in the "
                    "URL"
                ) from error
            if attempt == ATTEMPTS:
                raise PipelineError(
                    f"cannot {verb} {shown} after {ATTEMPTS} attempts: {reason}; "
                    "run the same command again to resume"
                ) from error

            pause = PAUSE * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            logger.info("cannot %s %s: %s; next attempt in %.1f s", verb, shown, reason, pause)
            time.sleep(pause)
    raise AssertionError("unreachable")


def _client_error() -> type[Exception]:
    from aiohttp import ClientError

    return ClientError


def _redact_reason(message: str) -> str:
    """Return the start of a message, up to 160 characters, without values that may be secret."""
    secret = r"(?i)\w*(key|token|secret|signature|credential)\w*\s*[=:]\s*\S+"
    return re.sub(secret, "...", message)[:160]


def find_file(url: str) -> RemoteFile | None:
    """Return the file at a URL, or None if there is none."""
    filesystem, path = _resolve(url)

    def get_info() -> RemoteFile | None:
        filesystem.invalidate_cache()
        try:
            info = filesystem.info(path)
        except FileNotFoundError:
            return None
        if info.get("type") == "directory":
            return None
        return RemoteFile(url, info.get("size"), _read_version(info))

    return retry_request("access", url, get_info)


def _read_version(info: dict[str, Any]) -> str:
    """Return a file's entity tag or modification time, or "" if the store reports neither."""
    keys = ("ETag", "etag", "mtime", "last_modified", "created")
    return next((str(info[key]) for key in keys if info.get(key)), "")


def list_files(url: str) -> list[RemoteFile]:
    """Return the files directly in a folder, sorted by name; an empty list if it does not exist."""
    root = url.rstrip("/")
    filesystem, path = _resolve(root)

    def list_folder() -> list[RemoteFile]:
        filesystem.invalidate_cache()
        try:
            entries = filesystem.ls(path, detail=True)
        except FileNotFoundError:
            return []
        files = sorted((e for e in entries if e["type"] == "file"), key=lambda e: str(e["name"]))
        return [
            RemoteFile(
                join_url(root, url_name("x://" + str(file["name"]))),
                file["size"],
                _read_version(file),
            )
            for file in files
        ]

    return retry_request("list", url, list_folder)


def glob_urls(pattern: str) -> list[str]:
    """Return the URLs that match a glob pattern, sorted."""
    filesystem, path = _resolve(pattern)
    scheme = pattern.partition("://")[0]
    found = retry_request("list", pattern, lambda: sorted(filesystem.glob(path)))
    return [f"{scheme}://{str(name).lstrip('/')}" for name in found]


def download_file(found: RemoteFile, target: Path) -> None:
    """Download a file to `target` and check its size; each attempt resumes the previous one.

    Raises the errors of `retry_request`, and InputError if a file of unreported size is empty.
    """
    filesystem, path = _resolve(found.url)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(b"")

    def copy() -> None:
        with part.open("ab") as out, filesystem.open(path, "rb") as source:
            if out.tell():
                source.seek(out.tell())
            while chunk := source.read(_CHUNK_BYTES):
                out.write(chunk)
        size = part.stat().st_size
        if found.size is not None and size != found.size:
            if size > found.size:
                part.write_bytes(b"")
            raise EOFError(f"got {size} of {found.size} bytes")

    try:
        retry_request("read", found.url, copy)
        if found.size is None and part.stat().st_size == 0:
            raise InputError(
                f"the file at {redact_url(found.url)} is empty; check the file and the URL"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def upload_file(source: Path, url: str) -> None:
    """Upload a file with one PUT or multipart upload, so that it appears whole or not at all."""
    filesystem, path = _resolve(url)
    _check_writable_scheme(url)

    def copy() -> None:
        with source.open("rb") as file, filesystem.open(path, "wb") as out:
            while chunk := file.read(_CHUNK_BYTES):
                out.write(chunk)
        size = filesystem.info(path).get("size")
        if size != source.stat().st_size:
            raise EOFError(f"{size} of {source.stat().st_size} bytes arrived")

    retry_request("write", url, copy)


def write_bytes(url: str, content: bytes) -> None:
    """Write a small file in one request."""
    filesystem, path = _resolve(url)
    _check_writable_scheme(url)

    def put() -> None:
        with filesystem.open(path, "wb") as out:
            out.write(content)

    retry_request("write", url, put)


def read_bytes(url: str) -> bytes | None:
    """Return the content of a small file, or None if it does not exist."""
    filesystem, path = _resolve(url)

    def get() -> bytes | None:
        try:
            with filesystem.open(path, "rb") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None

    return retry_request("read", url, get)


def sha256(url: str) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None if it does not exist."""
    filesystem, path = _resolve(url)

    def digest() -> str | None:
        try:
            with filesystem.open(path, "rb") as file:
                total = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    total.update(chunk)
                return total.hexdigest()
        except FileNotFoundError:
            return None

    return retry_request("read", url, digest)


def remove_file(url: str) -> None:
    """Delete a file if it exists."""
    filesystem, path = _resolve(url)

    def delete() -> None:
        try:
            filesystem.rm_file(path)
        except FileNotFoundError:
            return

    retry_request("delete", url, delete)


def remove_folder(url: str) -> None:
    """Delete an empty folder, or an object store's marker for it, if it exists."""
    filesystem, path = _resolve(url)

    def delete() -> None:
        try:
            filesystem.rmdir(path)
        except FileNotFoundError:
            return

    retry_request("delete", url, delete)


def check_writable(folder: str) -> None:
    """Write and delete a small file, so that a read-only location fails now and not hours later.

    Raises InputError if access is denied, or if the scheme is read-only, and PipelineError if all
    attempts fail.
    """
    _check_writable_scheme(folder)
    test = join_url(folder, f".pipeline-write-test-{os.getpid()}-{time.time_ns():x}")
    write_bytes(test, b"x")
    remove_file(test)


def _check_writable_scheme(url: str) -> None:
    if url.startswith(("http://", "https://")):
        raise InputError(
            f"the output {redact_url(url)} cannot be written, because HTTP is read-only; try "
            "a local path or s3://"
        )
