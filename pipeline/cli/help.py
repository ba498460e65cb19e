"""How the command line explains itself: groups of commands, sections of options, examples."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click

GROUPS = {
    "Enhance": ("run", "plan", "submit", "status"),
    "Look at": ("report", "compare", "look", "evaluate", "verify", "probe"),
    "Prepare": ("degrade", "convert", "engines", "train"),
    "Begin": ("demo", "doctor", "completion"),
}
"""Heading -> commands; what no group names is listed under the last heading."""

SECTIONS = {
    "References": (
        "ref_stream",
        "select",
        "ref_offset",
        "max_ref_distance",
        "ref_view",
        "ref_position",
        "ref_count",
        "consistent",
    ),
    "Light fields": ("layout", "grid", "crop_grid", "order", "template", "dataset", "axes", "to"),
    "Encoder": ("codec", "quality", "crf", "preset", "pix_fmt", "audio"),
    "Where and how it runs": (
        "engine",
        "model",
        "runner",
        "address",
        "workers",
        "accelerator",
        "batch",
        "segment",
        "placement",
    ),
    "What is said": (
        "report",
        "ground_truth",
        "as_json",
        "quiet",
        "verbose",
        "debug",
        "dry_run",
        "help",
    ),
}
"""Heading -> parameters of `run` and its kin; others stand under "Options"."""

EXAMPLES = {
    "run": (
        "pipeline run input.mp4 --ref-stream keys.mp4",
        "pipeline run input.mp4 --ref-stream stills/ --scale 4 -o out.mkv --report out.html",
        "pipeline run input.mp4 --ref-stream second-camera.mp4 --ref-offset auto",
    ),
    "plan": ("pipeline plan input.mp4 --ref-stream keys.mp4 --save plan.json",),
    "report": ("pipeline report out.mkv --ground-truth original.mp4",),
    "compare": (
        "pipeline compare input.mp4 out.mkv -o side.mp4",
        "pipeline compare out.mkv original.mp4 --mode difference -o difference.png --at 2.5",
    ),
    "evaluate": ("pipeline evaluate out.mkv --ground-truth hr.mp4 --plan out.plan.json",),
    "degrade": (
        "pipeline degrade original.mp4 --scale 4 -o lr.mp4",
        "pipeline degrade original.mp4 --scale 1 --every 15 -o keys.mp4",
    ),
    "probe": ("pipeline probe input.mp4 --json",),
    "doctor": ("pipeline doctor", "pipeline doctor --json"),
    "completion": ('eval "$(pipeline completion bash)"',),
}
"""Command -> lines shown below its options."""

FEW_OPTIONS = 12
"""Commands with fewer are not divided into sections."""


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Return heading -> commands, each of `names` once."""
    names = list(names)
    groups = {heading: [n for n in wanted if n in names] for heading, wanted in GROUPS.items()}
    named = {name for members in groups.values() for name in members}
    groups[list(GROUPS)[-1]] += [name for name in names if name not in named]
    return {heading: members for heading, members in groups.items() if members}


class ExplainedCommand(click.Command):
    """A command whose help has sections and examples."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, many of them under headings."""
        records = [
            (parameter.name, record)
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        ]
        divided = len(records) > FEW_OPTIONS
        heading = {name: title for title, names in SECTIONS.items() for name in names}
        for title in ("Options", *SECTIONS):
            chosen = [
                record
                for name, record in records
                if (heading.get(name or "", "Options") if divided else "Options") == title
            ]
            if chosen:
                with formatter.section(title):
                    formatter.write_dl(chosen)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        examples = EXAMPLES.get(self.name or "")
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def explained(command: click.Command) -> click.Command:
    """Return the command with sections and examples; groups of commands stay as they are."""
    if type(command) is not click.Command:
        return command
    return ExplainedCommand(
        command.name,
        context_settings=command.context_settings,
        callback=command.callback,
        params=command.params,
        help=command.help,
        no_args_is_help=command.no_args_is_help,
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" for what looks like `word`, "" for nothing alike."""
    alike = difflib.get_close_matches(word, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(alike)}?" if alike else ""
