"""The errors that users see, and the exit status of the command line for each of them.

    PipelineError               1   the run failed
    ├── InputError              2   an argument or a file is wrong; no output was published
    │   ├── OutputExistsError   2   the output exists
    │   ├── ChangedInputError   2   an input or a reference changed after it was planned
    │   ├── MediaError          2   a file cannot be used as it is
    │   └── PairingError        2   two recordings do not belong together
    ├── StageError              1   decode, infer, encode or assemble failed on good input
    ├── VerificationError       1   the finished file differs from its plan
    └── Interrupted           130   stopped by the user; the same command resumes the run

A message is one line that states what is wrong, what was expected, and one thing to try.
"""

from __future__ import annotations

import errno
import re

_ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
_MEDIA_PATH = re.compile(r": 'file:.*?'(?: returned \d+)?(?=;|$)")

# Advice in messages about an output that already exists.
REPLACE_OUTPUT = "try another -o, or --force to replace it"


# Operating-system errors that another path or other permissions would avoid.
_WRONG_PATH = frozenset(
    {
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        *(errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.ENXIO),
    }
)


class PipelineError(Exception):
    """Base class of all errors that users see as one line."""

    exit_status = 1


class InputError(PipelineError):
    """An argument or a file that the user provided is wrong."""

    exit_status = 2


class OutputExistsError(InputError):
    """The output already exists and must not be replaced."""

    path: str = ""
    """The path or URL of the output."""


class ChangedInputError(InputError):
    """A recording changed after it was planned, so the output would mix old and new frames."""


class MediaError(InputError):
    """A file cannot be used as a video, a picture or a reference."""


class PairingError(InputError):
    """An input and its reference, or a result and its ground truth, do not belong together."""


class StageError(PipelineError):
    """A stage of the run failed on input that had been accepted."""


class VerificationError(PipelineError):
    """A finished file differs from what its plan promises."""


class Interrupted(PipelineError):  # noqa: N818 - like KeyboardInterrupt, not an error
    """The user stopped the run; committed segments are kept."""

    exit_status = 130


def count_items(count: int, noun: str) -> str:
    """Return a number with its noun for a message, such as "1 frame" or "2 frames"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name if the message is empty.

    Error numbers, and the paths that PyAV adds to its messages, are left out.
    """
    line = next(iter(_message_lines(error)), type(error).__name__)
    return _MEDIA_PATH.sub("", _ERROR_NUMBER.sub("", line))


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, or its type's name if the message is empty."""
    return next(reversed(_message_lines(error)), type(error).__name__)


def _message_lines(error: BaseException) -> list[str]:
    """Return the non-blank lines of an error's message, without surrounding whitespace."""
    return [line.strip() for line in str(error).splitlines() if line.strip()]


def describe_os_error(error: OSError) -> PipelineError:
    """Return a PipelineError that describes an operating-system error to users.

    The result is an InputError if another path or other permissions would help.
    """
    place = f" at {error.filename}" if error.filename else ""
    reason = error.strerror or type(error).__name__
    if error.errno in _WRONG_PATH:
        return InputError(
            f"the operating system reported '{reason}'{place}; check the path and its permissions"
        )
    return PipelineError(
        f"the operating system reported '{reason}'{place}; check the disk, then run the same "
        "command again"
    )


def as_pipeline_error(error: Exception) -> PipelineError:
    """Return an error as a PipelineError, so that a batch can report it and continue.

    A PipelineError is returned unchanged; any other error is described in one line.
    """
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return describe_os_error(error)
    return PipelineError(
        f"an unexpected error occurred ({type(error).__name__}: {first_line(error)}); report it "
        "with the traceback, which appears if this input is run alone"
    )


def already_there(path: object, advice: str = REPLACE_OUTPUT) -> OutputExistsError:
    """Return the error for an output that already exists and must not be replaced."""
    error = OutputExistsError(f"{path} already exists; {advice}")
    error.path = str(path)
    return error


def no_default_output(source: object) -> InputError:
    """Return the error for an input, such as a pipe, that has no folder for a default output."""
    return InputError(
        f"the input {source} needs -o OUT, because no output can be written beside it"
    )


def no_folder(folder: object) -> InputError:
    """Return the error for an output whose folder does not exist."""
    return InputError(f"the folder {folder} does not exist; create it first")
