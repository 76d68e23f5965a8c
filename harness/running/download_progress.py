"""Bars for downloads on a terminal; nothing where there is none."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from harness.download import Listener


class Downloads:
    """A bar a file.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()

    def listener(self, name: str) -> Listener:
        """Who is told of the progress of a file."""
        bar = self.progress.add_task(name, total=None)

        def listen(done: int, total: int | None) -> None:
            self.progress.update(bar, completed=done, total=total)

        return listen
