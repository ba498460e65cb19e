"""Check and parse paths and URLs, hide the secrets in URLs, and read and hash files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from pipeline.errors import REPLACE_OUTPUT, InputError, already_there, no_folder

_LONGEST_NAME_BYTES = 255  # limit of common file systems
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT on Windows
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\]')  # characters that file names cannot contain there
_STDIN = frozenset({"-", "/dev/stdin"})
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})")


def check_encodable(words: Iterable[str]) -> None:
    """Raise InputError if a word is not valid UTF-8, because a plan's JSON could not store it."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(word).decode(errors="backslashreplace")
            raise InputError(
                f"the name {shown} is not UTF-8, so a plan cannot store it; rename the file, or "
                "pass a link to it"
            ) from None


def check_paths(paths: Iterable[str | None]) -> None:
    """Raise InputError if a part of a path is longer than common file systems allow."""
    for path in paths:
        longest = max((len(os.fsencode(part)) for part in Path(path or "").parts), default=0)
        if longest > _LONGEST_NAME_BYTES and path and "://" not in path:
            raise InputError(
                f"the path {path[:40]}... contains a name of {longest} bytes, but the limit is "
                f"{_LONGEST_NAME_BYTES}; check the path"
            )


def check_new_file(path: Path, *, force: bool = False, advice: str = REPLACE_OUTPUT) -> None:
    """Raise InputError if the file's folder is missing or, without `force`, if the file exists.

    A link counts as a file, even if it points to nothing, because writing would follow it.
    """
    if not path.absolute().parent.is_dir():
        raise no_folder(path.parent)
    if os.path.lexists(path) and not force:
        raise already_there(path, advice)


def check_not_read(output: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise InputError if writing `output` would destroy a file or folder that the command reads.

    Files are recognised even through symbolic links, hard links or other spellings of their paths.
    """
    place = Path(os.path.realpath(output))
    for path in inputs:
        if path is None or is_url(str(path)) or not Path(path).exists():
            continue
        read = Path(os.path.realpath(path))
        if read == place or (place.exists() and place.samefile(read)):
            raise InputError(
                f"the output {output} is also the input {path}, which is never replaced; try "
                "another name"
            )
        if place.is_dir() and place in read.parents:
            raise InputError(
                f"the input {path} is in the folder {output}, which would be replaced; try another "
                "name"
            )


Special = Literal["pipe", "socket", "terminal", "device", "file"]


def find_descriptor(path: str) -> int | None:
    """Return this process's file descriptor that `path` denotes, such as 0 for `-`, or None."""
    if path in _STDIN:
        return 0
    match = _DESCRIPTOR.fullmatch(path)
    return int(match[1]) if match else None


def describe_special(path: str) -> Special | None:
    """Return the kind of file at `path` if it cannot be opened twice or by another process.

    "file" means a regular file that `path` denotes by a file descriptor, which child processes may
    not inherit. The result is None for other files, for folders and for missing paths.
    """
    if path == "-" and Path(path).exists():
        return None
    descriptor = find_descriptor(path)
    try:
        status = Path(path).stat() if descriptor is None else os.fstat(descriptor)
    except (OSError, ValueError):
        return None

    mode = status.st_mode
    if stat.S_ISFIFO(mode):
        return "pipe"
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "terminal" if descriptor is not None and os.isatty(descriptor) else "device"
    return "file" if descriptor is not None and stat.S_ISREG(mode) else None


def refuse_special(path: str | Path) -> None:
    """Raise InputError if `path` is a pipe, a socket, a terminal or another device."""
    kind = describe_special(str(path))
    if kind not in (None, "file"):
        raise InputError(
            f"{path} is a {kind}, but must be a file or a folder; save the data to a file first, "
            "and pass that file"
        )


def own_folder(folder: Path) -> None:
    """Create a folder that only this user can access, or make this user's existing folder private.

    The folder's contents will be trusted and later deleted, so links are never followed. Raises
    InputError if the path is a link, a file, another user's folder, or a folder to which other
    users may have added files. Raises OSError if the folder cannot be created.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        return

    if not hasattr(os, "geteuid"):
        _check_is_folder(folder)
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise _not_a_folder(folder, error.strerror or str(error)) from error

    try:
        owner = os.fstat(handle).st_uid
        if owner != os.geteuid() and owner != _find_owner_of_new_files(folder):
            raise InputError(
                f"the folder {folder} belongs to user {owner}, but must be your own; move it "
                "elsewhere"
            )
        mode = os.fstat(handle).st_mode
        if mode & _OTHERS_WRITE and any(folder.iterdir()) and _keeps_modes(folder):
            raise InputError(
                f"other users can write to the folder {folder} (mode {stat.S_IMODE(mode):04o}), "
                "which only you should be able to change; if you trust its contents, run chmod "
                "go-w on it, or else move it elsewhere"
            )
        with suppress(OSError):  # some file systems do not support modes
            os.fchmod(handle, stat.S_IRWXU)
    finally:
        os.close(handle)


def _check_is_folder(folder: Path) -> None:
    """Raise InputError if `folder` is a file or a link.

    On Windows, which has no file modes or user IDs, this is the only check. A junction counts as a
    link, although its mode marks it as a folder.
    """
    found: Any = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION:
        raise _not_a_folder(folder, "a file or a link")


def _not_a_folder(folder: Path, what: str) -> InputError:
    return InputError(
        f"{folder} cannot be used as a folder ({what}); it must be a folder that you own, or not "
        "exist; move it elsewhere"
    )


def _keeps_modes(folder: Path) -> bool:
    """Return whether a folder's file system stores file modes; some network drives do not.

    If nothing can be created in the folder, the result is True.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder) as made:
            return not Path(made).stat().st_mode & _OTHERS_WRITE
    except OSError:
        return True


def _find_owner_of_new_files(folder: Path) -> int:
    """Return the ID of the user who owns new files in `folder`, or -1 if none can be created.

    This may not be the current user, because some network drives map all users to one.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_uid
    except OSError:
        return -1


def is_url(path: str) -> bool:
    """Return whether `path` is a URL, other than a file:// URL on this file system."""
    return "://" in path and not path.startswith("file://")


def local_path(path: str) -> str:
    """Return the path in a file:// URL; any other path or URL is returned unchanged."""
    if not path.startswith("file://"):
        return path
    place = urlsplit(path).path
    # in file:///C:/folder, the drive follows a slash
    return place[1:] if re.match("/[A-Za-z]:", place) and sys.platform == "win32" else place


def join_url(url: str, name: str) -> str:
    """Return the URL of `name` in the folder `url`."""
    return f"{url.rstrip('/')}/{name}"


def url_name(url: str) -> str:
    """Return the last part of a URL's path as a file name that is valid on this platform.

    If the path is empty, the network location is used instead.
    """
    path = urlsplit(url).path.partition(";")[0]  # parameters may contain a signature
    name = PurePosixPath(path).name or urlsplit(url).netloc
    return _NOT_ON_WINDOWS.sub("_", name) if sys.platform == "win32" else name


# A user name may contain anything except a slash, even quotes and spaces.
_URL = re.compile(r"""\b(\w{2,}:)/(/?)((?:[^/\n]*@)?[^\s"'\\]+)""")


def redact_url(url: str) -> str:
    """Return a URL for display, without its user, password, parameters, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:  # such as http://[host, no part of which is safe to show
        return f"{url.partition('://')[0]}://..."
    path = parts.path.partition(";")[0]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"


def redact_text(text: str) -> str:
    """Return `text` with `redact_url` applied to each URL that may contain a secret."""
    shown = re.sub(_URL, _redact_match, text)
    # also redact the query of a URL that contains a space
    return re.sub(r"([?&][\w.~-]+=)[^\s\"'&]+", r"\1...", shown) if "://" in shown else shown


def _redact_match(found: re.Match[str]) -> str:
    """Return a matched URL redacted, or unchanged if it contains no secret.

    A URL such as http:/host, which lost a slash because it was handled as a path, is redacted too.
    """
    rest = found[3].rstrip(";")  # a semicolon at the end belongs to the sentence
    if not re.search(r"[@?;]|#[^/\s]*=", rest):
        return found[0]
    url = redact_url(f"{found[1]}//{rest}")
    return (url if found[2] else url.replace("//", "/", 1)) + found[3][len(rest) :]


def read_limited(path: Path, most: int) -> bytes:
    """Return the content of a file; raises OSError if it has more than `most` bytes.

    A device counts as too large. The limit is needed because an untrusted file can be sparse: huge,
    without taking up disk space.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        endless = stat.S_ISCHR(status.st_mode) or status.st_size > most
        content = b"" if endless else file.read(most + 1)
    if endless or len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most // 1_000_000} MB", str(path))
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
