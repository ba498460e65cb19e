"""What the server hands to its handlers, and what they return; independent of the web library."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

# Everything comes from this server. The report is one page with inline scripts, and gets no access
# to the page that shows it.
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
    """The parts of the address that vary, such as the id of a job."""
    query: Mapping[str, str]
    read_json: Callable[[], Awaitable[Any]]
    read_pieces: Callable[[], AsyncIterator[bytes]]
    size: int | None
    """Bytes of the body, if they are known."""

    async def read_object(self) -> dict[str, Any]:
        """Return the body as an object; raises InputError if it is none."""
        try:
            found = await self.read_json()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InputError("found no JSON object in the request, expected one; reload the page")
        return found


@dataclass(frozen=True)
class Answer:
    """A text or bytes, a file, or pieces that are made while they are sent."""

    body: bytes = b""
    kind: str = "application/json"
    file: Path | None = None
    pieces: Iterator[bytes] | None = None
    status: int = 200
    save_as: str = ""
    """Name under which a browser saves the answer; "" to show it."""
    policy: str = PAGE_POLICY
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer]]


def answer_json(value: Any, status: int = 200) -> Answer:
    """Return an answer with a value as JSON."""
    return Answer(json.dumps(value).encode(), status=status)


def answer_error(text: str, status: int = 400) -> Answer:
    """Return an answer with an error in one line."""
    return answer_json({"error": " ".join(text.split())}, status)
