"""`pipeline completion`: print a completion script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from pipeline.cli.words import print_text

SHELLS = ("bash", "zsh", "fish")

# Shell -> the line that installs its script.
INSTALL = {
    "bash": 'eval "$(pipeline completion bash)"     # in ~/.bashrc',
    "zsh": 'eval "$(pipeline completion zsh)"      # in ~/.zshrc',
    "fish": "pipeline completion fish | source       # in ~/.config/fish/config.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and files in SHELL."""
    script_class = get_completion_class(shell)
    assert script_class is not None

    root = context.find_root().command
    script = script_class(root, {}, "pipeline", "_PIPELINE_COMPLETE").source()
    print_text(f"# {INSTALL[shell]}\n{script}")
