"""Run the pipeline with `--engine bicubic` at scale 2, which uses everything but the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.runs.result import RunResult
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings

SCALE = 2


def run_bicubic(source: Path, reference: Path, output: Path, **options: Any) -> RunResult:
    """Enhance `source` to `output` in this process; `options` are further fields of RunSettings.

    Raises PipelineError if the run is refused or fails.
    """
    settings = RunSettings(
        input=str(source),
        ref_stream=str(reference),
        output=str(output),
        scale=str(SCALE),  # type: ignore[arg-type]
        engine="bicubic",
        runner="inline",
        **options,
    )
    return run(settings)
