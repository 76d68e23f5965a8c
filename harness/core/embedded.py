"""Where the files that come with the package are, and what identifies a file."""

import hashlib
import os
import time
from pathlib import Path
from typing import Literal, NamedTuple

from harness.core.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]

SETTLED = 2_000_000_000
"""Nanoseconds between a file's last change and its hashing from which on the time of change tells a later one."""


def data_dir(name: Literal["grids", "pretrained"]) -> Path:
    """The folder `name`: inside an installed package (`harness/data/<name>`), else at the root of the repository.

    Raises:
        InputError: there is neither.
    """
    places = (PACKAGE / "data" / name, PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise InputError(f"cannot find the folder '{name}'; it should be {places[0]} or {places[1]}; install again")


class FileState(NamedTuple):
    """What tells whether a file is as it was: size, inode, and time of change in nanoseconds.

    The time is that of the inode (ctime). Programs that unpack or copy files set that of the content, and cannot set
    this one.
    """

    size: int
    inode: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileState":
        """From what `stat` says."""
        return cls(status.st_size, status.st_ino, status.st_ctime_ns)


def is_settled(changed: int, begun: int) -> bool:
    """Whether what was read from `begun` on is known by its time of change.

    A file that is written again at once, within the resolution of a file system's clock, keeps its time.

    Args:
        changed, begun: times in nanoseconds.
    """
    return begun - changed >= SETTLED


class _Hashed(NamedTuple):
    state: FileState
    sha256: str


_hashed: dict[Path, _Hashed] = {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; remembered in this process for a file that is as it was, see `FileState`.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            begun, state = time.time_ns(), FileState.of(os.fstat(file.fileno()))
            known = _hashed.get(path.absolute())
            if known is not None and known.state == state:
                return known.sha256
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    if is_settled(state.changed, begun):
        _hashed[path.absolute()] = _Hashed(state, sha256)
    return sha256
