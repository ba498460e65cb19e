"""Python environments that hold chosen packages of this one, without a download."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def find_closure(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return name -> distribution of those that meet the requirements, and of all they need.

    Those that are not installed here are left out.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [("", requirement) for requirement in requirements]
    while waiting:
        extra, requirement = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        needed = [Requirement(line) for line in found[name].requires or ()]
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(wanted, other) for other in needed]
    return found


class Environment:
    """An environment in `folder` with links to distributions of this one."""

    def __init__(self, folder: Path, distributions: Iterable[Distribution]) -> None:
        venv.create(folder, symlinks=True)
        self.programs = folder / "bin"
        (self.packages,) = folder.glob("lib/python*/site-packages")
        for each in distributions:
            for part in list_parts(each):
                link = self.packages / part
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(each.locate_file(part))

    def install(self, wheel: Path) -> None:
        """Install a wheel without what it needs, and without a network."""
        python = ("--python", str(self.programs / "python"))
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
        command = [sys.executable, "-m", "pip", *python, "install", *options, str(wheel)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, folder: Path, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in `folder`, with no variables but HOME and PATH."""
        return subprocess.run(
            [str(self.programs / command[0]), *command[1:]],
            cwd=folder,
            env={"HOME": str(home), "PATH": os.pathsep.join((str(self.programs), "/usr/bin"))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def list_parts(of: Distribution) -> Iterator[PurePath]:
    """Yield the files and folders that a distribution has for itself, relative to its place.

    Of a folder that several share, such as `google`, these are the folders in it.
    """
    parts: set[PurePath] = set()
    for file in of.files or ():
        names = file.parts
        if ".." in names or "__pycache__" in names or file.suffix == ".pth":
            continue
        length = 1
        while length < len(names) and is_shared(of, PurePath(*names[:length])):
            length += 1
        parts.add(PurePath(*names[:length]))
    yield from parts


def is_shared(of: Distribution, folder: PurePath) -> bool:
    """Return whether a folder is a namespace, in which other distributions have folders, too."""
    place = Path(str(of.locate_file(folder)))
    return folder.suffix not in (".dist-info", ".libs", ".data") and not any(
        place.glob("__init__.*")
    )
