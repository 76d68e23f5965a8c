"""The progress bar of `harness fetch`. Without a terminal only failures that are tried again are printed."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn


class DownloadBar:
    """A download listener that draws one bar per file on `console`."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("", total=None, visible=False)

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.progress.stop()

    def started(self, name: str, done: int, total: int | None) -> None:
        self.progress.remove_task(self.bar)  # rich cannot take the total of a bar back
        self.bar = self.progress.add_task(name, completed=done, total=total)

    def received(self, count: int) -> None:
        self.progress.advance(self.bar, count)

    def waiting(self, reason: str, seconds: float) -> None:
        text = f"{reason}; trying again in {seconds:g} s"
        self.progress.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
