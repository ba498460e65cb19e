"""Logs for machines: PIPELINE_LOG=json writes one JSON object a line on stderr, =text plain lines.

What a line is about (run, segment, attempt, node) are keys of its own.
"""

from __future__ import annotations

import json
import logging
import os
import time

KEYS = ("run", "segment", "attempt", "node")


class JsonLines(logging.Formatter):
    """One JSON object for every record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: getattr(record, key) for key in KEYS if hasattr(record, key)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(wished: str | None = None) -> None:
    """Send this package's log lines to stderr as PIPELINE_LOG says; without it, nothing changes."""
    wished = wished or os.environ.get("PIPELINE_LOG")
    if not wished:
        return
    logger = logging.getLogger("pipeline")
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if wished == "json" else plain)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
