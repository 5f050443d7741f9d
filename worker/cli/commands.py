"""How commands are added, all alike."""

import inspect
import re
from collections.abc import Callable, Mapping

import typer

Command = Callable[..., None]


def add_commands(app: typer.Typer, commands: Mapping[str, Command], *, panel: str | None = None) -> None:
    """Adds commands by name; their docstrings are their help texts."""
    for name, command in commands.items():
        app.command(name, help=_flowing(command.__doc__ or ""), rich_help_panel=panel)(command)


def add_group(app: typer.Typer, name: str, about: str, *, panel: str) -> typer.Typer:
    """Adds a command that only has commands below it, and returns it."""
    group = typer.Typer(help=about, no_args_is_help=True)
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


def _flowing(text: str) -> str:
    """The paragraphs of a text without their line breaks: terminals have other widths than files."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text))
