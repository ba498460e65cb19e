"""VapourSynth for the Python that runs the tests; `make tools` builds it under build/.

Its wheels need Python 3.12, and its source package has no core library. But the C interface of the
core is stable, so the module for Python is compiled from the source and uses the wheel's library.
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import ROOT
from tests.support.programs import ON_CI

MODULE, CORE = "vapoursynth==73", "vapoursynth==81"
FOLDER = ROOT / "build" / f"vapoursynth-{sys.version_info.major}.{sys.version_info.minor}"


def build_vapoursynth(folder: Path) -> None:
    """Install VapourSynth into a folder, with pip and a C compiler; this takes about 30 s."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as temporary:
        wheel = f"manylinux_2_28_{platform.machine()}"
        only_binary = ["--only-binary", ":all:", "--python-version", "3.12", "--platform", wheel]
        subprocess.run(
            [*pip, "download", "--no-deps", *only_binary, "-d", temporary, CORE], check=True
        )
        (path,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                base = Path(name).name
                if base.startswith(("libvapoursynth.", "libvapoursynthfilters")):
                    (folder / base).write_bytes(archive.read(name))
        link = Path(temporary) / "libvapoursynth.so"
        link.symlink_to(folder / "libvapoursynth.so.4")

        # the linker finds the library in the first folder, and the module in the second, its own
        found = {"LDFLAGS": f"-L{temporary} -Wl,-rpath,$ORIGIN", "CFLAGS": "-O0 -w"}
        source = ["--no-deps", "--no-binary", "vapoursynth", "--no-cache-dir", "--upgrade"]
        subprocess.run(
            [*pip, "install", *source, "--target", str(folder), MODULE],
            env=os.environ | found,
            check=True,
        )


def import_vapoursynth() -> ModuleType:
    """Return the module, installed or built; skip the test without one, except on CI."""
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    try:
        return importlib.import_module("vapoursynth")
    except ImportError as error:
        if ON_CI:
            raise
        pytest.skip(f"no VapourSynth ({error}): `make tools` builds it")


if __name__ == "__main__":
    if not list(FOLDER.glob("vapoursynth*.so")):
        build_vapoursynth(FOLDER)
