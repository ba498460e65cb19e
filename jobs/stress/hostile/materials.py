"""Small recordings, light fields, key frames and plans that the attacks use."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from jobs.stress.hostile.process import PIPELINE, ROOT

FRAMES = 24
RATE = 24


class Materials:
    """Files in one folder, each of which is created when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()  # concurrent cases share the files
        self._makers: dict[str, Callable[[Path], None]] = {
            "lr.mkv": lambda path: self._make_video(path, "64x48"),
            "hr.mkv": lambda path: self._make_video(path, "128x96"),
            "lr.mp4": lambda path: self._make_video(path, "64x48"),
            "small.png": lambda path: self._make_picture(path, 32, 24),
            "large.png": lambda path: self._make_picture(path, 64, 48),
            "views": self._make_views,
            "m.png": self._make_mosaic,
            "m.lightfield.json": self._make_mosaic,
            "frames": self._make_frames,
            "keys": self._make_keys,
            "plan.json": self._make_plan,
            "m.plan.json": self._make_view_plan,
        }

    def get(self, name: str) -> Path:
        """Return the path of the named file or folder, creating it if it does not exist."""
        path = self.folder / name
        with self._lock:
            if not path.exists():
                self._makers[name](path)
        return path

    def _pipeline(self, *arguments: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["PIPELINE_CACHE"] = str(self.folder / "cache")
        command = [*PIPELINE, *arguments]
        subprocess.run(command, cwd=self.folder, env=environment, check=True, capture_output=True)

    def _make_video(self, path: Path, size: str) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            raise SystemExit("the ffmpeg program is not on the PATH; try `make tools`")
        source = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r={RATE}", "-frames:v", str(FRAMES))
        coding = ("-c:v", "libx264", "-g", "8", "-crf", "10", "-pix_fmt", "yuv420p")
        command = [program, "-y", "-v", "error", *source, *coding, "-threads", "1", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def _make_picture(self, path: Path, width: int, height: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        y, x = np.mgrid[:height, :width]
        rgb = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1)
        Image.fromarray(rgb.astype(np.uint8)).save(path)

    def _make_views(self, path: Path) -> None:
        for row in range(2):
            for col in range(2):
                self._make_picture(path / f"view_{row:02}_{col:02}.png", 32, 24)

    def _make_mosaic(self, path: Path) -> None:
        self.get("views")
        self._pipeline("convert", "views", "--to", "mosaic", "-o", "m.png", "--force", "-q")

    def _make_frames(self, path: Path) -> None:
        for number in range(3):
            self._make_picture(path / f"{number:03}.png", 32, 24)

    def _make_keys(self, path: Path) -> None:
        self.get("lr.mkv")
        self._pipeline("keyframes", "lr.mkv", "-o", "keys", "--at", "0,0.5", "-q")
        for picture in path.glob("*.png"):
            small = Image.open(picture)
            small.resize((2 * small.width, 2 * small.height)).save(picture)

    def _make_plan(self, path: Path) -> None:
        for name in ("lr.mkv", "hr.mkv"):
            self.get(name)
        given = ("lr.mkv", "--ref-stream", "hr.mkv", "--scale", "2", "--engine", "bicubic")
        more = ("--preset", "ultrafast", "--segment", "0.4", "-o", "out.mkv")
        self._pipeline("plan", *given, *more, "--save", path.name)

    def _make_view_plan(self, path: Path) -> None:
        for name in ("views", "large.png"):
            self.get(name)
        given = ("views", "--ref-stream", "large.png", "--ref-view", "0,0", "--scale", "2")
        self._pipeline("plan", *given, "--engine", "bicubic", "-o", "out", "--save", path.name)
