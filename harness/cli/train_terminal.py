"""Training on a terminal: networks done, images seen, images per second, time left."""

from rich.console import Console
from rich.progress import BarColumn, Task, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

from harness.cli.console import LiveBar
from harness.execution.trainings import TrainingListener


class _Rate(TransferSpeedColumn):
    """Images per second, of all that train."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "", style="progress.data.speed")


class TrainingBar(LiveBar, TrainingListener):
    """The progress of a queue of trainings."""

    def __init__(self, console: Console) -> None:
        percent = TextColumn("{task.percentage:>3.0f} %")
        networks = TextColumn("{task.fields[networks]}", markup=False)
        super().__init__(console, networks, BarColumn(), percent, _Rate(), TimeRemainingColumn())
        self.count = 0
        self.bar = self.progress.add_task("", total=None, networks="planning")

    def started(self, networks: int, images: int) -> None:
        self.count = networks
        self.progress.update(self.bar, total=images, networks=f"0/{networks} networks")

    def at(self, networks: int, images: int) -> None:
        self.progress.update(self.bar, completed=images, networks=f"{networks}/{self.count} networks")
