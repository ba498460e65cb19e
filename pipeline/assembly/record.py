"""What a run remembers about itself, in the plan beside its output: command, speed, versions."""

from __future__ import annotations

import platform
import shlex
from pathlib import Path

from deploy.distribution import DISTRIBUTION, installed_versions
from deploy.protocol import EngineInfo
from pipeline.ledger.durable import write_atomically
from pipeline.schema.plan import Plan, RunRecord
from pipeline.schema.plan_file import plan_lines
from pipeline.schema.settings import RunSettings

PACKAGES = (  # their versions can change a result or its speed
    DISTRIBUTION,
    "torch",
    "av",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "ray",
)


def command_of(settings: RunSettings) -> str:
    """Return the command line that asks for `settings`."""
    words = ["pipeline", "run", settings.input]
    for name in sorted(settings.model_fields_set - {"input"}):
        value = getattr(settings, name)
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, tuple):
            separator = "x" if name in ("grid", "crop_grid") else ","
            words += [option, separator.join(str(part) for part in value)]
        elif value is not None:
            words += [option, str(value)]
    return shlex.join(words)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that matter."""
    return {"python": platform.python_version(), **installed_versions(PACKAGES)}


def machine() -> str:
    """Return the system and processor in a few words."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def save_record(
    settings: RunSettings,
    plan: Plan,
    file: Path,
    info: EngineInfo,
    busy: dict[str, float],
    *,
    runner: str,
    frames: int,
    seconds: float,
) -> str | None:
    """Add the record to the plan in `file`; returns why it could not be, in one line.

    A finished output is not given up for want of its record.
    """
    record = RunRecord(
        command=command_of(settings),
        seconds=round(seconds, 3),
        frames=frames,
        engine=info.name,
        device=info.device,
        reason=info.reason,
        runner=runner,
        busy={stage: round(value, 3) for stage, value in busy.items()},
        versions=package_versions(),
        machine=machine(),
    )
    try:
        write_atomically(file, plan_lines(plan.model_copy(update={"record": record})))
    except OSError as error:
        return f"the run's record was not written: {error.strerror}"
    return None
