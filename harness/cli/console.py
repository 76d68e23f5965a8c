"""What all commands share: consoles, options, errors as messages, and progress bars that load nothing heavy."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, ParamSpec, Self, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from typer.core import TyperGroup

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
SearchOption = Annotated[bool, typer.Option("--search", help="The name is a search's, whatever grids there are.")]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=2, help="Samples per trial, in place of the grid's.")
]


RUN, LOOK, MODELS, DATA, HOUSE = "Run", "Look at results", "Models", "Images and data", "Keep the store in order"
"""The groups of commands in `harness --help`, by what a person is doing."""


class Grouped(TyperGroup):
    """The program: its help lists commands under the headings above."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        width = formatter.width - 6 - max(map(len, self.commands))
        for name, command in self.commands.items():
            panels.setdefault(str(getattr(command, "rich_help_panel", "")), []).append(
                (name, command.get_short_help_str(width))
            )
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


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


class LiveBar:
    """A progress bar on a terminal, gone when the command ends; nothing is drawn elsewhere.

    Args:
        console: where to draw.
        columns: what the bar shows.
    """

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self.console = console
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()


class CountBar(LiveBar):
    """Shows how many of how many things are done.

    Args:
        console: where to draw.
        what: what is counted.
    """

    def __init__(self, console: Console, what: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        super().__init__(console, *columns)
        self.bar = self.progress.add_task(what, total=None)

    def at(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        self.progress.update(self.bar, completed=done, total=total)


class DownloadBar(LiveBar):
    """A listener of downloads that draws a bar for each file. What is tried again is printed without a terminal too."""

    def __init__(self, console: Console) -> None:
        name = TextColumn("{task.description}", markup=False)
        super().__init__(console, name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self.bar = self.progress.add_task("", total=None, visible=False)

    def started(self, name: str, done: int, total: int | None) -> None:
        self.progress.remove_task(self.bar)  # rich cannot take the total of a bar back
        self.bar = self.progress.add_task(name, completed=done, total=total)

    def received(self, count: int) -> None:
        self.progress.advance(self.bar, count)

    def waiting(self, reason: str, seconds: float) -> None:
        text = f"{reason}; trying again in {seconds:g} s"
        self.progress.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
