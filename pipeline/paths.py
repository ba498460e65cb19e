"""Split paths and URLs into parts, and refuse those that a plan cannot store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pipeline.errors import REPLACE_OUTPUT, InputError, already_there, no_folder

_LONGEST_NAME_BYTES = 255  # on all common file systems


def check_encodable(words: Iterable[str]) -> None:
    """Raise InputError for names that are not UTF-8, which a plan's JSON cannot store."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise InputError(
                f"found the name {shown}, which is not UTF-8, expected UTF-8, as a plan cannot "
                "store other names; rename the file, or pass a link to it"
            ) from None


def check_paths(paths: Iterable[str | None]) -> None:
    """Raise InputError for paths with a name that is too long for any file system."""
    for path in paths:
        longest = max(map(len, os.fsencode(path or "").split(b"/")))
        if longest > _LONGEST_NAME_BYTES and path and "://" not in path:
            raise InputError(
                f"found {path[:40]}..., a name of {longest} bytes, expected at most "
                f"{_LONGEST_NAME_BYTES}; check the path"
            )


def check_new_file(path: Path, *, force: bool = False, advice: str = REPLACE_OUTPUT) -> None:
    """Raise InputError if the file's folder is missing, or if it exists and `force` is false."""
    if not path.absolute().parent.is_dir():
        raise no_folder(path.parent)
    if path.exists() and not force:
        raise already_there(path, advice)


def is_url(path: str) -> bool:
    """Return whether `path` is a URL outside this file system."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str) -> str:
    """Return the path of a file:// URL, or any other path or URL unchanged."""
    return urlsplit(path).path if path.startswith("file://") else path


def join_url(url: str, name: str) -> str:
    """Return the URL of `name` in the folder `url`."""
    return f"{url.rstrip('/')}/{name}"


def url_name(url: str) -> str:
    """Return the last part of a URL's path."""
    return PurePosixPath(urlsplit(url).path).name or urlsplit(url).netloc


def redact_url(url: str) -> str:
    """Return a URL without user, password and query, to show or log it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def redact_text(text: str) -> str:
    """Return a text with every URL redacted; see `redact_url`."""
    return re.sub(r"""\b\w+://[^\s"'\\]+""", lambda found: redact_url(found[0]), text)
