"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def render_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table with the column titles `head` and the cells of each row in `rows`."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
