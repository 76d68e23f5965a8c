"""What all commands share: consoles, options, errors as messages, and progress bars that load nothing heavy.

Words of users stand in everything that is printed, so the consoles take no text for markup or emoji. In tables the
cells with such words are `plain`.
"""

import contextlib
import errno
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, ParamSpec, Self, TypeVar

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text
from typer.core import TyperGroup

from harness.core.errors import InputError, RunError, SamplingError
from harness.core.text import clock, printable

WIDE = 160
"""Width of what is written where there is no terminal."""

_LITERAL: Any = {"markup": False, "emoji": False, "highlight": False}
out = Console(width=None if sys.stdout is not None and sys.stdout.isatty() else WIDE, **_LITERAL)
err = Console(stderr=True, **_LITERAL)

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
AllowCodeOption = Annotated[
    bool, typer.Option("--allow-code", help="Run the Python code that denoisers or metrics name.")
]
ConditionsOption = Annotated[
    Path | None,
    typer.Option("--conditions", help="Prompts or embeddings, one a seed: .jsonl, .txt, .npy or .npz."),
]
BatchOption = Annotated[int | None, typer.Option("--batch", min=1, help="Rows per network call.")]
MaxHoursOption = Annotated[
    float | None,
    typer.Option("--max-hours", help="Begin no chunk that would end later than so many hours from now."),
]
MaxEvaluationsOption = Annotated[
    float | None,
    typer.Option("--max-evaluations", help="Begin no chunk that would pass so many network evaluations of this run."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="What the file does not say, KEY=VALUE; may be given again.")
]
SearchOption = Annotated[bool, typer.Option("--search", help="The name is a search's, whatever grids there are.")]
SamplesOption = Annotated[
    int | None, typer.Option("--samples", min=2, help="Samples per trial, in place of the grid's.")
]


RUN, LOOK, TOOLS, MODELS, DATA = "Run", "Look at results", "Other tools", "Models", "Images and data"
HOUSE = "Keep the store in order"
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


LIMIT_REACHED = 3
"""Exit code of a command that has come to one of its limits and left something to do."""

INTERRUPTED = "interrupted; what was finished is stored, and the same command goes on from there"


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """A command whose errors are messages: exit code 2 for the user's, 1 for a run's, 130 for Ctrl-C.

    An argument `allow_code` permits code of the user as long as the command runs.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _permission(bool(kwargs.get("allow_code"))):
                result = function(*args, **kwargs)
            sys.stdout.flush()
            return result
        except InputError as error:
            raise exit_with(f"{error}", 2) from None
        except (RunError, SamplingError) as error:
            raise exit_with(f"{error}", 1) from None
        except KeyboardInterrupt:
            raise exit_with(INTERRUPTED, 130) from None
        except BrokenPipeError:
            _leave_stdout()
            raise typer.Exit(1) from None
        except OSError as error:
            raise exit_with(_told(error), 1) from None
        except typer.Exit:
            raise
        except Exception:
            if not Interruption.was_asked:
                raise
            raise exit_with(INTERRUPTED, 130) from None

    return wrapped


def _permission(allow_code: bool) -> contextlib.AbstractContextManager[None]:
    if not allow_code:
        return contextlib.nullcontext()
    from harness.core.code import code_allowed

    return code_allowed()


class Interruption:
    """Whether a signal asked this process to end.

    A library that calls back into Python may turn the KeyboardInterrupt that it meets there into an error of its own.
    """

    was_asked = False

    @classmethod
    def ask(cls, number: int, frame: FrameType | None) -> None:
        """The handler of such a signal."""
        cls.was_asked = True
        raise KeyboardInterrupt


def exit_with(message: str, code: int) -> typer.Exit:
    """Say what is wrong, and how to end."""
    try:
        err.print("error: ", style="bold red", end="")
        err.print(printable(message, keep="\n"), soft_wrap=True)
    except OSError:  # the terminal is gone, or the disk is full
        pass
    return typer.Exit(code)


def _told(error: OSError) -> str:
    """An error of the system, with the file; one of writing has none, and is mostly of standard output."""
    reason = error.strerror or str(error)
    if error.filename is not None:
        return f"{error.filename}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
        _leave_stdout()
        return f"the output cannot be written: {reason}"
    return reason


def _leave_stdout() -> None:
    """Write no more to standard output, which takes nothing: the interpreter would try once more when it ends."""
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def plain(text: str) -> Text:
    """Words of a user as a table's cell."""
    return Text(printable(text))


FOLDED = 20
"""Width below which a column that may be folded anywhere is not pressed."""


def print_table(table: Table) -> None:
    """Print a table in which no word is cut and no column is lost; where it is too narrow, a line a field.

    A column with `overflow="fold"` may be broken within a word.
    """
    unlimited = out.options.update(max_width=100_000)
    words = [_longest(column) for column in table.columns]
    least = [
        min(word, FOLDED) if column.overflow == "fold" else word
        for word, column in zip(words, table.columns, strict=True)
    ]
    needed = Measurement.get(out, unlimited, table).minimum - sum(words) + sum(least)
    for column, width in zip(table.columns, least, strict=True):
        column.min_width = width
    if needed <= out.width or not out.is_terminal:
        out.print(table, width=max(needed, out.width))
        return
    if table.title:
        out.print(table.title, style="italic")
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, row, strict=True):
            if str(cell):
                out.print(Text(f"{column.header}: ", style="bold"), cell, sep="")
        out.print()


def _longest(column: Column) -> int:
    """The width of a column's longest word, or of its longest line if it may not be wrapped."""
    cells = [str(cell) for cell in (column.header, *column.cells)]
    parts = [part for cell in cells for part in (cell.splitlines() if column.no_wrap else cell.split())]
    return max(map(cell_len, parts), default=0)


def planning() -> contextlib.AbstractContextManager[Any]:
    """Something that moves on a terminal while a grid is read: ten thousand trials take a while."""
    return err.status("planning") if err.is_terminal else contextlib.nullcontext()


LOOK_SECONDS, LINE_SECONDS = 1.0, 60.0
"""Without a terminal: how often a bar is looked at, and after how long there is a line whatever was done."""


class LiveBar:
    """A progress bar on a terminal, gone when the command ends; elsewhere a line every tenth of the work or minute.

    Args:
        console: where to draw.
        columns: what the bar shows.
        name: of the work, at the start of every line.
    """

    def __init__(self, console: Console, *columns: ProgressColumn, name: str = "") -> None:
        self.console, self.columns, self.name = console, columns, name
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.progress.start()
        if not self.console.is_terminal:
            self._thread = threading.Thread(target=self._print_lines, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self.progress.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line, above the bar if there is one."""
        self.progress.console.print(Text(printable(text), style), soft_wrap=True)

    def _print_lines(self) -> None:
        """Look at the bar once a second; what is done before its length is known says nothing of the speed."""
        started = printed = time.monotonic()
        first, tenth = None, -1  # the first line is that of the first progress
        while not self._ended.wait(LOOK_SECONDS):
            task, now = self.progress.tasks[-1], time.monotonic()
            if not task.total or task.completed >= task.total:
                started = printed = now
                continue
            first = task.completed if first is None else first
            done, at = task.completed - first, int(10 * task.completed / task.total)
            if (done > 0 and at > tenth) or now - printed >= LINE_SECONDS:
                left = (now - started) * (task.total - task.completed) / done if done > 0 else None
                self._print_line(task, left)
                tenth, printed = at if done > 0 else tenth, now

    def _print_line(self, task: Task, left: float | None) -> None:
        moving = (BarColumn, TimeRemainingColumn, TransferSpeedColumn)  # say nothing, or that of the last moment
        parts = [str(column(task)).strip() for column in self.columns if not isinstance(column, moving)]
        parts += [f"about {clock(left)} left"] if left is not None else []
        try:
            self.say(" · ".join(part for part in (self.name, *parts) if part))
        except OSError:  # nobody reads it
            self._ended.set()


class CountBar(LiveBar):
    """Shows how many of how many things are done.

    Args:
        console: where to draw.
        what: what is counted.
    """

    def __init__(self, console: Console, what: str) -> None:
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
        self.say(f"{reason}; trying again in {seconds:g} s", "yellow")
