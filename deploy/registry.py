"""What was made for this machine, kept in a folder that only its owner may write to.

    <root>/key                     32 random bytes; the signatures below are made with it
    <root>/<digest>.<kind>         an exported graph or an engine's plan
    <root>/<digest>.json           its sidecar: what it was made from, sha256, figures, signature
    <root>/<digest>.lock           held while one process makes it and others wait

A plan is executable code. So the folder is 0700, files of others and files that were changed since
we wrote them are never read, and there is no way to hand one in.
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

Facts = Mapping[str, Any]
"""Names to values that JSON holds."""


class RegistryError(EngineError):
    """Report a folder or file that cannot be trusted or written."""


@dataclass(frozen=True)
class Entry:
    """A file of the registry that was just found to be ours and whole."""

    path: Path
    key: Facts
    facts: Facts
    """Figures of self-tests, time it took to build, driver."""

    def read(self) -> bytes:
        """Return the content."""
        return self.path.read_bytes()


def default_root() -> Path:
    """Return the folder of engines in the program's cache."""
    return cache_root() / "engines"


def digest_key(key: Facts) -> str:
    """Return the name of what was made from `key`."""
    return hashlib.sha256(_canonical(key)).hexdigest()[:32]


def _canonical(facts: Facts) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


class Registry:
    """Find, make and distrust files that were made for this machine."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_folder()
            self._secret = self._local_key()
        except OSError as error:
            raise RegistryError(
                f"cannot use the folder of engines {self.root}: {error.strerror}; "
                "set PIPELINE_CACHE to a folder of yours"
            ) from error

    def _check_folder(self) -> None:
        found = self.root.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise RegistryError(
                f"found {self.root} owned by user {found.st_uid}, expected a folder of yours; "
                "set PIPELINE_CACHE to a folder of yours"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            # made by someone's umask; nothing in it is trusted without its signature
            self.root.chmod(0o700)

    def _local_key(self) -> bytes:
        path = self.root / "key"
        if not path.exists():
            handle, partial = tempfile.mkstemp(dir=self.root)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                # a link, not a rename: of two processes the first one's key stays
                os.link(partial, path)
            except FileExistsError:
                pass
            finally:
                Path(partial).unlink()
        found = path.lstat()
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
        if not ours or stat.S_IMODE(found.st_mode) & 0o077:
            raise RegistryError(
                f"found {path} readable or owned by others, expected a file of yours alone; "
                f"delete {self.root}"
            )
        return path.read_bytes()

    def _signature(self, sidecar: Facts) -> str:
        unsigned = {name: value for name, value in sidecar.items() if name != "hmac"}
        return hmac.new(self._secret, _canonical(unsigned), hashlib.sha256).hexdigest()

    def _sidecar(self, digest: str) -> Path:
        return self.root / f"{digest}.json"

    def _trusted_sidecar(self, digest: str) -> dict[str, Any] | None:
        """Return the sidecar if it is ours and unchanged."""
        path = self._sidecar(digest)
        if not path.exists() or not _is_ours(path):
            return None
        try:
            sidecar = json.loads(path.read_bytes())
        except ValueError:
            return None
        if not isinstance(sidecar, dict) or not isinstance(sidecar.get("hmac"), str):
            return None
        same = hmac.compare_digest(sidecar["hmac"], self._signature(sidecar))
        return sidecar if same and digest_key(sidecar["key"]) == digest else None

    def get(self, key: Facts) -> Entry | None:
        """Return what was made from `key` if it is there, ours, whole and not quarantined."""
        sidecar = self._trusted_sidecar(digest_key(key))
        if sidecar is None or sidecar.get("quarantined"):
            return None
        path = self.root / sidecar["file"]
        if not path.exists() or not _is_ours(path):
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != sidecar["sha256"]:
            return None
        return Entry(path, sidecar["key"], sidecar["facts"])

    def quarantined(self, key: Facts) -> str:
        """Return why what was made from `key` is not to be used, or ""."""
        sidecar = self._trusted_sidecar(digest_key(key))
        return str(sidecar.get("quarantined", "")) if sidecar is not None else ""

    def quarantine(self, key: Facts, reason: str) -> None:
        """Let nobody use what was made from `key`, until it is built anew by force."""
        self._write_sidecar(key, "", "", {}, quarantined=reason)

    def put(self, key: Facts, content: bytes, kind: str, facts: Facts) -> Entry:
        """Publish `content` as what was made from `key`: whole, or not at all.

        Raises RegistryError when the disk is full.
        """
        name = f"{digest_key(key)}.{kind}"
        try:
            self._replace(self.root / name, content)
            self._write_sidecar(key, name, hashlib.sha256(content).hexdigest(), facts)
        except OSError as error:
            raise RegistryError(
                f"cannot write {self.root / name} ({len(content) / 1e6:.0f} MB): "
                f"{error.strerror}; make room, or set PIPELINE_CACHE to another folder"
            ) from error
        return Entry(self.root / name, key, facts)

    def _write_sidecar(
        self, key: Facts, name: str, sha256: str, facts: Facts, quarantined: str = ""
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
        self._replace(self._sidecar(digest_key(key)), text)

    def _replace(self, path: Path, content: bytes) -> None:
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
        self, key: Facts, kind: str, make: Callable[[], tuple[bytes, Facts]], *, anew: bool = False
    ) -> Entry:
        """Return what was made from `key`; one process makes it while others wait for it.

        Raises RegistryError for what is quarantined, unless `anew`.
        """
        found = None if anew else self.get(key)
        if found is not None:
            return found
        with FileLock(self.root / f"{digest_key(key)}.lock", mode=0o600):
            # somebody else may have made it while this process waited for the lock
            found = None if anew else self.get(key)
            if found is not None:
                return found
            if (reason := self.quarantined(key)) and not anew:
                raise RegistryError(f"is quarantined here: {reason}; try pipeline engines build")
            content, facts = make()
            return self.put(key, content, kind, facts)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the trusted sidecars, each with `state`: ok, quarantined or damaged."""
        for path in sorted(self.root.glob("*.json")):
            sidecar = self._trusted_sidecar(path.stem)
            if sidecar is None:
                yield {"key": {}, "file": path.name, "facts": {}, "state": "not ours or changed"}
            elif sidecar["quarantined"]:
                yield {**sidecar, "state": f"quarantined: {sidecar['quarantined']}"}
            else:
                whole = self.get(sidecar["key"]) is not None
                yield {**sidecar, "state": "ok" if whole else "damaged"}


def _is_ours(path: Path) -> bool:
    """Return whether `path` is a plain file of this user that others cannot write to."""
    found = path.lstat()
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_uid == os.getuid()
        and not stat.S_IMODE(found.st_mode) & 0o022
    )
