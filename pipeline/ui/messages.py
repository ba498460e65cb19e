"""What the server passes to its handlers, and what they return; independent of the web library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

# The page loads everything from this server. The report is a self-contained page with inline
# scripts, which must not have access to the page that links to it.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)


@dataclass(frozen=True)
class Call:
    """A request that has passed the guard."""

    place: Mapping[str, str]
    """The variable parts of the path, such as a job ID."""
    query: Mapping[str, str]
    read_json: Callable[[], Awaitable[Any]]
    read_pieces: Callable[[], AsyncIterator[bytes]]
    size: int | None
    """Size of the body in bytes; None if unknown."""

    async def read_object(self) -> dict[str, Any]:
        """Return the body, parsed as JSON; raises InputError if it is not a JSON object."""
        try:
            found = await self.read_json()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError("the request contains no JSON object; reload the page")
        return found


@dataclass(frozen=True)
class Answer:
    """An answer to a request: bytes, a file, or pieces that are produced while they are sent."""

    body: bytes = b""
    kind: str = "application/json"
    file: Path | None = None
    pieces: Iterator[bytes] | None = None
    status: int = 200
    save_as: str = ""
    """Name of the file in which a browser saves the answer; "" if the browser displays it."""
    policy: str = PAGE_POLICY
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer]]


def answer_json(value: Any, status: int = 200) -> Answer:
    """Return an answer whose body is `value` as JSON."""
    return Answer(json.dumps(value).encode(), status=status)


def answer_error(text: str, status: int = 400) -> Answer:
    """Return an answer that reports an error, with `text` joined into one line."""
    return answer_json({"error": " ".join(text.split())}, status)
