"""Files that are whole or not there: written under a temporary name beside their place, flushed to disk, renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; it gets its name when the block ends, and is gone if the block fails.

    Raises:
        OSError: the place cannot be written, or the disk is full; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or none, making its folder if need be.

    Raises:
        OSError: the place cannot be written, or the disk is full; nothing is left behind then.
    """
    with writing(path) as file:
        file.write(content)


def is_full(error: BaseException) -> bool:
    """Whether an error of a database or a file system says that the disk is full."""
    text = str(error).lower()
    return "disk is full" in text or "no space left" in text or "disk quota" in text
