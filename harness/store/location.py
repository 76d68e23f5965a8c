"""Where a store is. Loads no SQLAlchemy, so that a command in a folder without a store answers at once."""

from pathlib import Path

from harness.core.errors import InputError

DEFAULT_STORE = "results/harness.sqlite"


class NoStoreError(InputError):
    """There is no store at a place.

    Args:
        message: what is there.
        can_be_made: whether a run would make one without anybody's asking why.
    """

    def __init__(self, message: str, can_be_made: bool = True) -> None:
        super().__init__(message)
        self.can_be_made = can_be_made


def is_url(place: str) -> bool:
    """Whether a place is an SQLAlchemy URL; otherwise it is the path of an SQLite file."""
    return "://" in place


def check_is_there(path: Path) -> None:
    """Refuse an SQLite file that does not exist.

    Raises:
        NoStoreError: it does not.
    """
    if not path.exists():
        raise NoStoreError(f"{path}: there is no store yet; `harness run GRID` makes one, or give --store")
