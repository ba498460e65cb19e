"""Make the record of a run (command, speed, versions) for the plan beside its output."""

from __future__ import annotations

import platform
import shlex
from operator import attrgetter

from deploy.distribution import DISTRIBUTION, installed_versions
from deploy.protocol import EngineInfo
from pipeline.schema.options import list_options
from pipeline.schema.plan import RunRecord
from pipeline.schema.settings import OPTION_GROUPS, InputSettings

# Packages whose versions can affect the result or the speed.
PACKAGES = (
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


def format_command(settings: InputSettings) -> str:
    """Return a `pipeline run` command line with all explicitly set options of `settings`."""
    values = settings.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    words = ["pipeline", "run", settings.input]
    for field in sorted(list_options(*OPTION_GROUPS), key=attrgetter("name")):
        if field.name not in values:
            continue

        value = values[field.name]
        on, *off = field.flags[-1].split("/")
        if value is True:
            words.append(on)
        elif value is False:
            words += off
        else:
            words += [on, str(value)]
    return shlex.join(words)


def read_command(command: str) -> dict[str, str]:
    """Return the settings in a command line from `format_command`, as a map from name to text.

    The value of a flag is "True" or "False".
    """
    spellings = {
        spelling: field
        for field in list_options(*OPTION_GROUPS)
        for spelling in field.flags[-1].split("/")
    }
    found = {}
    words = iter(shlex.split(command)[3:])
    for word in words:
        option = spellings.get(word)
        if option is None:
            continue
        if option.kind is bool:
            found[option.name] = str(word == option.flags[-1].split("/")[0])
        else:
            found[option.name] = next(words, "")
    return found


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of those PACKAGES that are installed, by name."""
    return {"python": platform.python_version(), **installed_versions(PACKAGES)}


def describe_machine() -> str:
    """Return the operating system and the processor's architecture."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def make_record(
    command: str,
    engine: EngineInfo,
    busy: dict[str, float],
    *,
    runner: str,
    frames: int,
    seconds: float,
) -> RunRecord:
    """Return the record of a run that enhanced `frames` frames in `seconds` seconds.

    `busy` contains the busy seconds of each stage.
    """
    return RunRecord(
        command=command,
        seconds=round(seconds, 3),
        frames=frames,
        engine=engine.name,
        device=engine.device,
        reason=engine.reason,
        runner=runner,
        busy={stage: round(value, 3) for stage, value in busy.items()},
        versions=package_versions(),
        machine=describe_machine(),
    )
