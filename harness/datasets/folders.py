"""What identifies a folder: the names and bytes of its files, never its place, sizes or times.

Hashing a folder reads all of it. `FolderState` says whether that has to be done again: sizes, inodes and times of
change of all its files.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.core.embedded import FileState
from harness.core.errors import InputError
from harness.core.text import brief

MAX_DEPTH = 100
"""Levels of folders."""


class FolderState(NamedTuple):
    """What tells whether the files of a folder are as they were.

    Args:
        listing: hash of the names of its files and of the state of each, see `FileState`.
        changed: when the last of them was changed, in nanoseconds; 0 without files.
    """

    listing: str
    changed: int


def folder_state(folder: Path) -> FolderState:
    """The state of a folder's files, hidden ones left aside; no file is read.

    Raises:
        InputError: a folder or a file that cannot be looked at.
    """
    digest, changed = hashlib.sha256(), 0
    for name, path in _files(folder):
        try:
            state = FileState.of(path.stat())
        except OSError as error:
            raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
        digest.update(f"{name}\0{state.size} {state.inode} {state.changed}\n".encode())
        changed = max(changed, state.changed)
    return FolderState(digest.hexdigest(), changed)


def folder_digest(folder: Path) -> str:
    """SHA-256, in hex, of the names and bytes of a folder's files, hidden ones left aside.

    Raises:
        InputError: a folder or a file that cannot be read.
    """
    digest = hashlib.sha256()
    for name, path in _files(folder):
        try:
            with path.open("rb") as file:
                digest.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        except OSError as error:
            raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    return digest.hexdigest()


def _files(folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of all files that are not hidden, sorted by name."""
    return sorted((name, path) for name, path in walk(folder) if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, is one of those that systems leave behind: .DS_Store, ._a.png, ..."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def walk(folder: Path, prefix: str = "", above: tuple[str, ...] = (), where: str = "") -> Iterator[tuple[str, Path]]:
    """Yield (name, path) of the files below a folder; links are followed.

    Args:
        folder: the folder.
        prefix: before the names, with `/` between folders.
        above: real paths of the folders that it is in.
        where: what to call the topmost folder in errors.

    Raises:
        InputError: a folder that cannot be read, or a link back to a folder above.
    """
    real, where = os.path.realpath(folder), where or str(folder)
    if real in above or len(above) > MAX_DEPTH:
        reason = "a link to one that it is in" if real in above else f"more than {MAX_DEPTH} folders deep"
        raise InputError(f"{where}: the folder '{brief(prefix)}' is {reason}; remove it")
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({error.strerror}); check the path") from None
    for entry in entries:
        if entry.is_dir():
            yield from walk(Path(entry.path), f"{prefix}{entry.name}/", (*above, real), where)
        elif entry.is_file():
            yield f"{prefix}{entry.name}", Path(entry.path)
