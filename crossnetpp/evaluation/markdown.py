"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def render_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table with the columns `head`."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
