"""The registry of files made for this machine, in a folder that only its owner can access.

    <root>/key                     32 random bytes that sign the sidecars
    <root>/<digest>.<kind>         for example an exported graph or an engine's plan
    <root>/<digest>.json           its sidecar: key, facts, SHA-256 and signature
    <root>/<digest>.lock           locked while a process makes the file, so that others wait

A plan is executable code. Therefore, the folder has mode 0700, and a file is used only if it
belongs to the user and matches a sidecar that was signed with the key. This rules out files that
were made elsewhere or changed later. On Windows, where files have no such modes, the folder is as
private as the user's profile.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from deploy.cache import cache_root
from deploy.protocol import EngineError

JsonObject = Mapping[str, Any]  # maps names to JSON values: a key, facts or a sidecar


class RegistryError(EngineError):
    """Raised if the registry is unsafe or not writable, or if an entry is quarantined."""


@dataclass(frozen=True)
class Entry:
    """A file in the registry; its owner and content are verified whenever it is looked up."""

    path: Path
    key: JsonObject
    facts: JsonObject
    """What is known about the file, such as self-test figures, or the build time and driver."""

    def read(self) -> bytes:
        """Return the content of the file."""
        return self.path.read_bytes()


def default_root() -> Path:
    """Return the registry's default folder, inside the program's cache."""
    return cache_root() / "engines"


def digest_key(key: JsonObject) -> str:
    """Return the digest of `key`, which is the first part of the names of its files."""
    return hashlib.sha256(_canonical(key)).hexdigest()[:32]


def _canonical(facts: JsonObject) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


class Registry:
    """A folder of signed files, each with a key that states what it was made from."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_folder()
            self._secret = self._local_key()
        except OSError as error:
            raise RegistryError(
                f"cannot use {self.root} as the folder for engines: {error.strerror}; "
                "set PIPELINE_CACHE to a folder that you own and can write to"
            ) from error

    def _check_folder(self) -> None:
        found = self.root.lstat()
        if not stat.S_ISDIR(found.st_mode) or not _is_own(found):
            what = f"belongs to user {found.st_uid}" if not _is_own(found) else "is a link"
            raise RegistryError(
                f"{self.root} {what}, but must be a folder that you own; set PIPELINE_CACHE to one "
                "that you can write to"
            )
        if _permissions(found) & 0o077:
            # it is enough to restrict access now, because only signed files are used
            self.root.chmod(0o700)

    def _local_key(self) -> bytes:
        """Return the key that signs sidecars, creating it on first use."""
        path = self.root / "key"
        if not path.exists():
            with FileLock(self.root / "key.lock", mode=0o600):
                # another process may have created the key while this one waited for the lock
                if not path.exists():
                    self._write_atomically(path, secrets.token_bytes(32))

        found = path.lstat()
        is_ours = stat.S_ISREG(found.st_mode) and _is_own(found)
        if not is_ours or _permissions(found) & 0o077:
            raise RegistryError(
                f"{path} is not a file that only you can access, so it may have been tampered "
                f"with; delete {self.root}"
            )
        return path.read_bytes()

    def _signature(self, sidecar: JsonObject) -> str:
        unsigned = {name: value for name, value in sidecar.items() if name != "hmac"}
        return hmac.new(self._secret, _canonical(unsigned), hashlib.sha256).hexdigest()

    def _sidecar_path(self, digest: str) -> Path:
        return self.root / f"{digest}.json"

    def _read_sidecar(self, digest: str) -> dict[str, Any] | None:
        """Return the sidecar for `digest`, or None if it is missing, unsafe or altered."""
        path = self._sidecar_path(digest)
        if not path.exists() or not _is_safe(path):
            return None
        try:
            sidecar = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return None
        if not isinstance(sidecar, dict) or not isinstance(sidecar.get("hmac"), str):
            return None

        # compare bytes, because compare_digest rejects text that is not ASCII
        found = sidecar["hmac"].encode(errors="replace")
        is_signed = hmac.compare_digest(found, self._signature(sidecar).encode())
        return sidecar if is_signed and digest_key(sidecar["key"]) == digest else None

    def get(self, key: JsonObject) -> Entry | None:
        """Return the entry for `key`, or None if it is missing, unsafe, damaged or quarantined."""
        sidecar = self._read_sidecar(digest_key(key))
        if sidecar is None or sidecar.get("quarantined"):
            return None

        path = self.root / sidecar["file"]
        if not path.exists() or not _is_safe(path):
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != sidecar["sha256"]:
            return None
        return Entry(path, sidecar["key"], sidecar["facts"])

    def quarantine_reason(self, key: JsonObject) -> str:
        """Return why the entry for `key` must not be used, or "" if it may."""
        sidecar = self._read_sidecar(digest_key(key))
        return str(sidecar.get("quarantined", "")) if sidecar is not None else ""

    def quarantine(self, key: JsonObject, reason: str) -> None:
        """Quarantine the entry for `key`, until it is replaced or made again with `force`."""
        self._write_sidecar(key, "", "", {}, quarantined=reason)

    def put(self, key: JsonObject, content: bytes, kind: str, facts: JsonObject) -> Entry:
        """Store `content` atomically as the entry for `key`.

        Raises RegistryError if it cannot be written, for example because the disk is full.
        """
        name = f"{digest_key(key)}.{kind}"
        try:
            self._write_atomically(self.root / name, content)
            self._write_sidecar(key, name, hashlib.sha256(content).hexdigest(), facts)
        except OSError as error:
            raise RegistryError(
                f"cannot write {self.root / name} ({len(content) / 1e6:.0f} MB): "
                f"{error.strerror}; free some space, or set PIPELINE_CACHE to another folder"
            ) from error
        return Entry(self.root / name, key, facts)

    def _write_sidecar(
        self, key: JsonObject, name: str, sha256: str, facts: JsonObject, quarantined: str = ""
    ) -> None:
        sidecar: dict[str, Any] = {
            "key": dict(key),
            "file": name,
            "sha256": sha256,
            "facts": dict(facts),
            "quarantined": quarantined,
            "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        sidecar["hmac"] = self._signature(sidecar)
        text = json.dumps(sidecar, indent=1, sort_keys=True).encode()
        self._write_atomically(self._sidecar_path(digest_key(key)), text)

    def _write_atomically(self, path: Path, content: bytes) -> None:
        handle, partial = tempfile.mkstemp(dir=self.root, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def get_or_make(
        self,
        key: JsonObject,
        kind: str,
        make: Callable[[], tuple[bytes, JsonObject]],
        *,
        force: bool = False,
        is_usable: Callable[[JsonObject], bool] = lambda _: True,
    ) -> Entry:
        """Return the entry for `key`; if it is missing, call `make` and store what it returns.

        `make` returns the content and the facts of the entry. While one process makes an entry,
        others wait for it. An existing entry is made again if `is_usable` returns False for its
        facts, or if `force` is True.

        Raises RegistryError if the entry cannot be written, or if it is quarantined and `force` is
        False.
        """
        found = None if force else self.get(key)
        if found is not None and is_usable(found.facts):
            return found

        with FileLock(self.root / f"{digest_key(key)}.lock", mode=0o600):
            # another process may have made the entry while this one waited for the lock
            found = None if force else self.get(key)
            if found is not None and is_usable(found.facts):
                return found
            if (reason := self.quarantine_reason(key)) and not force:
                raise RegistryError(
                    f"this engine is quarantined on this machine: {reason}; try `pipeline engines "
                    "verify` or `pipeline engines build`"
                )

            content, facts = make()
            return self.put(key, content, kind, facts)

    def remove(self, key: JsonObject) -> None:
        """Delete the entry for `key`, if there is one."""
        digest = digest_key(key)
        for path in self.root.glob(f"{digest}.*"):
            path.unlink(missing_ok=True)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield every sidecar, with a `state` added.

        The state is "ok", "quarantined: REASON", "damaged" if the file cannot be used, or "not ours
        or changed" if the sidecar cannot be used. In the last case, `key` and `facts` are empty.
        """
        for path in sorted(self.root.glob("*.json")):
            sidecar = self._read_sidecar(path.stem)
            if sidecar is None:
                yield {"key": {}, "file": path.name, "facts": {}, "state": "not ours or changed"}
            elif sidecar["quarantined"]:
                yield {**sidecar, "state": f"quarantined: {sidecar['quarantined']}"}
            else:
                is_whole = self.get(sidecar["key"]) is not None
                yield {**sidecar, "state": "ok" if is_whole else "damaged"}


def _is_safe(path: Path) -> bool:
    """Return whether `path` is a regular file that this user owns and nobody else can write to."""
    found = path.lstat()
    return stat.S_ISREG(found.st_mode) and _is_own(found) and not _permissions(found) & 0o022


def _is_own(found: os.stat_result) -> bool:
    """Return whether a file belongs to this user; always True on systems without owner IDs."""
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()


def _permissions(found: os.stat_result) -> int:
    """Return a file's permission bits, or 0 on systems that protect files in other ways."""
    return stat.S_IMODE(found.st_mode) if hasattr(os, "getuid") else 0
