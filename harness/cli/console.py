"""What all commands share: consoles, options, and errors as messages."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console

from harness.core.errors import InputError, RunError, SamplingError
from harness.core.text import printable

out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)

P = ParamSpec("P")
R = TypeVar("R")

StoreOption = Annotated[
    str | None, typer.Option("--store", help="SQLite file or SQLAlchemy URL.  [default: results/harness.sqlite]")
]
FilesOption = Annotated[
    Path | None, typer.Option("--files", help="Folder of arrays.  [default: beside the SQLite file]")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda or cuda:N.  [default: all GPUs, else the CPU's cores]")
]
ExecutorOption = Annotated[
    str, typer.Option("--executor", help="processes (one a device), inline (this process), or a plugin's.")
]
BatchOption = Annotated[int | None, typer.Option("--batch", min=1, help="Rows per network call.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="What the file does not say, KEY=VALUE; may be given again.")
]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=2, help="Samples per trial, in place of the grid's.")
]


RUN, LOOK, MODELS, DATA, HOUSE = "Run", "Look at results", "Models", "Images and data", "Keep the store in order"
"""The groups of commands in `harness --help`, by what a person is doing."""


def on(
    app: typer.Typer, panel: str | None = None, name: str | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a command of an app; see `guarded`.

    Args:
        app: the program, or a group such as `harness data`.
        panel: the heading of `harness --help` under which it stands; none inside a group.
        name: what users type, where it is not the function's name.
    """
    return lambda function: app.command(name, rich_help_panel=panel)(guarded(function))


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors are messages: exit code 2 for the user's, 1 for a run's, 130 for Ctrl-C."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except InputError as error:
            raise exit_with(f"{error}", 2) from None
        except (RunError, SamplingError) as error:
            raise exit_with(f"{error}", 1) from None
        except KeyboardInterrupt:
            raise exit_with(
                "interrupted; what was finished is stored, and the same command goes on from there", 130
            ) from None
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(1) from None

    return wrapped


def exit_with(message: str, code: int) -> typer.Exit:
    """Say what is wrong, and how to end."""
    err.print("[bold red]error:[/] ", end="")
    err.print(printable(message, keep="\n"), markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(code)
