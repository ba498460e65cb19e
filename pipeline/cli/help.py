"""Write help pages: grouped commands, options in sections, examples, and hints for typos."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click

# Heading -> commands. Commands in no group are listed under the last heading.
GROUPS = {
    "Enhance": ("run", "plan", "ui", "submit", "status"),
    "Inspect": ("report", "compare", "look", "evaluate", "verify", "probe"),
    "Prepare": ("keyframes", "degrade", "convert", "adapt", "engines", "train"),
    "Get started": ("demo", "doctor", "completion"),
}

# Command -> command lines that are shown below its options.
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
    "keyframes": (
        "pipeline keyframes input.mp4 -o keys/",
        "pipeline run input.mp4 --ref-stream keys/",
    ),
    "degrade": (
        "pipeline degrade original.mp4 --scale 4 -o lr.mp4",
        "pipeline degrade original.mp4 --scale 1 --every 15 -o keys.mp4",
    ),
    "adapt": (
        "pipeline adapt input.mp4 --ref-stream keys.mp4 -o camera.safetensors",
        "pipeline run other.mp4 --ref-stream keys.mp4 --adapt camera.safetensors",
    ),
    "ui": ("pipeline ui", "pipeline ui --host 0.0.0.0 --port 8080 --no-open"),
    "probe": ("pipeline probe input.mp4 --json",),
    "doctor": ("pipeline doctor", "pipeline doctor --json"),
    "completion": ('eval "$(pipeline completion bash)"',),
}

# Largest number of options that a help page shows without dividing them into sections.
FEW_OPTIONS = 12

# Parameters to list under "Output and logging" although they are not settings of a run.
REPORTING = frozenset(
    {
        *("report", "stream", "as_json", "json_progress", "quiet", "verbose", "debug", "dry_run"),
        *("help", "command", "preview"),
    }
)


def group_commands(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the commands under each heading; each command in `names` appears once."""
    names = list(names)
    groups = {heading: [n for n in wanted if n in names] for heading, wanted in GROUPS.items()}

    grouped = {name for members in groups.values() for name in members}
    groups[list(GROUPS)[-1]] += [name for name in names if name not in grouped]

    return {heading: members for heading, members in groups.items() if members}


def sections_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the parameters under each heading, in the order of `SECTIONS`."""
    from pipeline.schema.options import SECTIONS, list_options
    from pipeline.schema.settings import OPTION_GROUPS

    section_of = {field.name: field.option.section for field in list_options(*OPTION_GROUPS)}
    section_of |= dict.fromkeys(REPORTING, "Output and logging")

    sections: dict[str, list[str]] = {heading: [] for heading in SECTIONS}
    for name in names:
        sections[section_of.get(name, SECTIONS[0])].append(name)
    return {heading: members for heading, members in sections.items() if members}


class CommandWithSections(click.Command):
    """A command whose help shows its options in sections, followed by examples."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, under several headings if there are many."""
        records = {
            parameter.name or "": record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }

        sections = {"Options": list(records)}
        if len(records) > FEW_OPTIONS:
            sections = sections_of(records)

        for heading, names in sections.items():
            with formatter.section(heading):
                formatter.write_dl([records[name] for name in names])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        examples = EXAMPLES.get(self.name or "")
        if examples:
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{example}\n")


def with_sections(command: click.Command) -> click.Command:
    """Return a command whose help has sections and examples; a group is returned unchanged."""
    if type(command) is not click.Command:
        return command
    return CommandWithSections(
        command.name,
        context_settings=command.context_settings,
        callback=command.callback,
        params=command.params,
        help=command.help,
        no_args_is_help=command.no_args_is_help,
    )


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" if a known name is similar to `word`, else ""."""
    similar = difflib.get_close_matches(word, list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""
