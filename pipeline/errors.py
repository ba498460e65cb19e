"""Errors a user can meet, and the exit status each one ends with.

    PipelineError            1   the run failed
    ├── InputError           2   what the user gave is wrong; nothing was written
    │   ├── AlreadyThere     2   the output exists
    │   ├── MediaError       2   a file cannot be used as it is
    │   └── PairingError     2   input and reference do not belong together
    ├── StageError           1   decode, infer, encode or assemble broke on good input
    ├── VerificationError    1   the finished file differs from what was promised
    └── Interrupted        130   stopped by the user; run again to resume

A message is one line: what was found, what was expected, one thing to try.
"""

from __future__ import annotations


class PipelineError(Exception):
    """Base of every error that is reported to the user in one line."""

    exit_status = 1


class InputError(PipelineError):
    """Report that an argument or a given file is wrong."""

    exit_status = 2


class AlreadyThere(InputError):  # noqa: N818 - said of the output, as FileExistsError
    """Report an output that exists and is not to be replaced."""


class MediaError(InputError):
    """Report a file that cannot be used as video, image or reference."""


class PairingError(InputError):
    """Report an input and a reference that do not belong together."""


class StageError(PipelineError):
    """Report a stage of the run that broke on input which had been accepted."""


class VerificationError(PipelineError):
    """Report a finished file that differs from what the plan promised."""


class Interrupted(PipelineError):  # noqa: N818 - it is not an error
    """Report a run stopped by the user; what is committed stays."""

    exit_status = 130
