"""Where the files that come with the package are, and what identifies a file."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

from harness.core.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]


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


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; remembered for as long as its size and time of change stay the same.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    try:
        status = path.stat()
        return _hash(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None


@lru_cache(maxsize=1024)
def _hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
