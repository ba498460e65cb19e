"""Write log lines to stderr: JSON objects with PIPELINE_LOG=json, text with PIPELINE_LOG=text.

A JSON object also contains the run, segment, attempt and node of the event if they are known.
"""

from __future__ import annotations

import json
import logging
import os
import time

from crossnetpp.printable import PrintableFormatter
from pipeline.errors import InputError

KEYS = ("run", "segment", "attempt", "node")


class JsonLines(logging.Formatter):
    """A formatter that writes each record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: getattr(record, key) for key in KEYS if hasattr(record, key)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(form: str | None = None) -> None:
    """Write the package's log lines to stderr in `form`, "json" or "text"; default: PIPELINE_LOG.

    If neither `form` nor PIPELINE_LOG is set, do nothing. Raises InputError for any other form.
    """
    form = form or os.environ.get("PIPELINE_LOG")
    if not form:
        return

    if form not in ("json", "text"):
        raise InputError(f"PIPELINE_LOG is {form}, but must be json or text")

    plain = PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else plain)

    logger = logging.getLogger("pipeline")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
