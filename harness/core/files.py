"""Files that are whole or not there: written under a temporary name beside their place, flushed to disk, renamed."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from harness.core.errors import InputError


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


def write_output(path: Path, content: bytes, option: str = "--output", what: str = "there") -> None:
    """Write a file that a user asked for, like `write_bytes`.

    Args:
        path: where; its folder is made if need be.
        content: all of it.
        option: by which the user gave the place.
        what: what the file is, for the message.

    Raises:
        InputError: the place cannot be written.
    """
    try:
        write_bytes(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot write {what} ({error.strerror}); give another {option}") from None


@contextlib.contextmanager
def writing_text(path: Path, option: str = "--output", what: str = "there") -> Iterator[TextIO]:
    """A text file that a user asked for, to be written a line at a time; arguments as for `write_output`.

    Raises:
        InputError: the place cannot be written.
    """
    try:
        with writing(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            yield text
            text.flush()
            text.detach()  # the file below stays open, and is flushed to disk
    except OSError as error:
        raise InputError(f"{path}: cannot write {what} ({error.strerror}); give another {option}") from None


def read_head(path: Path, count: int) -> bytes:
    """The first bytes of a file that a user named, at most so many.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None


def is_full(error: BaseException) -> bool:
    """Whether an error of a database or a file system says that the disk is full."""
    text = str(error).lower()
    return "disk is full" in text or "no space left" in text or "disk quota" in text
