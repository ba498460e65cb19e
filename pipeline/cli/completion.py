"""`pipeline completion`, and the facts of `pipeline --version`."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from deploy.distribution import installed_version

SHELLS = ("bash", "zsh", "fish")
INSTALL = {
    "bash": 'eval "$(pipeline completion bash)"     # in ~/.bashrc',
    "zsh": 'eval "$(pipeline completion zsh)"      # in ~/.zshrc',
    "fish": "pipeline completion fish | source       # in ~/.config/fish/config.fish",
}


def build_facts() -> str:
    """Return version, revision where this is a checkout, and versions of what decides results."""
    version = installed_version() or "not installed"
    revision = _revision()
    lines = [f"pipeline {version}" + (f" ({revision})" if revision else "")]
    lines.append(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("torch", "av", "ray", "onnxruntime", "openvino", "tensorrt"):
        found = installed_version(name)
        lines.append(f"{name} {found}" if found else f"{name}: not installed")
    return "\n".join(lines)


def _revision() -> str:
    """Return the git revision of a checkout, "" elsewhere."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and files."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root().command
    script = kind(root, {}, "pipeline", "_PIPELINE_COMPLETE").source()
    click.echo(f"# {INSTALL[shell]}\n{script}")
