"""How a job reports input that it cannot use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from crossnetpp.checkpoint import WeightsError
from crossnetpp.data.sample import DataError
from crossnetpp.evaluation.scenes import EvaluationError
from crossnetpp.printable import make_printable
from crossnetpp.training.config import ConfigError
from pipeline.errors import PipelineError


@contextmanager
def report_bad_input() -> Iterator[None]:
    """Print an error about the input in one line, and exit with status 2.

    The status is 1 for errors of the pipeline that the input does not explain.
    """
    try:
        yield
    except (ConfigError, DataError, EvaluationError, PipelineError, WeightsError) as error:
        sys.stderr.write(f"{make_printable(str(error))}\n")
        sys.exit(error.exit_status if isinstance(error, PipelineError) else 2)
