"""Names of files that a plan cannot hold, refused early."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.errors import InputError

if TYPE_CHECKING:
    pass  # the command line looks at its words before all imports

_LONGEST = 255
"""Bytes of a name."""


def check_encodable(words: Iterable[str]) -> None:
    """Raise InputError for words whose bytes are no UTF-8: JSON cannot name such files."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise InputError(
                f"found the name {shown}, which is not UTF-8, expected one that is: plans could "
                "not name it; rename it, or give a link to it"
            ) from None


def check_paths(paths: Iterable[str | None]) -> None:
    """Raise InputError for paths that no file system can have, as long texts given for one."""
    for path in paths:
        longest = max(map(len, os.fsencode(path or "").split(b"/")))
        if longest > _LONGEST and path and "://" not in path:
            raise InputError(
                f"found {path[:40]}..., a name of {longest} bytes, expected at most {_LONGEST}; "
                "check the path"
            )


def is_url(path: str) -> bool:
    """Return whether `path` is a URL of another place than this file system."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str) -> str:
    """Return the path that a file:// URL means; anything else as it is."""
    return urlsplit(path).path if path.startswith("file://") else path


def join_url(url: str, name: str) -> str:
    """Return the URL of `name` in the folder `url`."""
    return f"{url.rstrip('/')}/{name}"


def url_name(url: str) -> str:
    """Return the last part of a URL's path."""
    return PurePosixPath(urlsplit(url).path).name or urlsplit(url).netloc


def redact_url(url: str) -> str:
    """Return a URL as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def redact_text(text: str) -> str:
    """Return a text whose URLs are as they may be shown."""
    return re.sub(r"""\b\w+://[^\s"'\\]+""", lambda found: redact_url(found[0]), text)
