"""Curves for TensorBoard, where it is installed; `stats.jsonl` has the same numbers."""

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol


class Events(Protocol):
    """Takes the numbers of a report."""

    def __call__(self, images: int, /, **values: float) -> None: ...


@contextlib.contextmanager
def event_writer(folder: Path | None, images: int = 0) -> Iterator[Events]:
    """A function that writes scalars to event files in the folder; it does nothing without TensorBoard or a folder.

    Args:
        folder: of the run; None in processes that write nothing.
        images: where the run goes on; what earlier files say from there on is hidden.
    """
    if folder is None or find_spec("tensorboard") is None:
        yield lambda images, /, **values: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=images) as writer:

        def write(images: int, /, **values: float) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, images)

        yield write
