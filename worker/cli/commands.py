"""Adds commands to the Typer app in a uniform way."""

import inspect
import re
from collections.abc import Callable, Mapping

import typer

Command = Callable[..., None]


def add_commands(app: typer.Typer, commands: Mapping[str, Command], *, panel: str | None = None) -> None:
    """Adds commands by name. Their docstrings are the help texts."""
    for name, command in commands.items():
        app.command(name, help=unwrapped(command.__doc__ or ""), rich_help_panel=panel)(command)


def add_group(app: typer.Typer, name: str, about: str, *, panel: str) -> typer.Typer:
    """Adds a command that only has subcommands, and returns it."""
    group = typer.Typer(help=about, no_args_is_help=True)
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


def unwrapped(text: str) -> str:
    """Joins the lines of each paragraph, because the terminal's width is not that of the source file."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text))
