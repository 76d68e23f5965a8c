"""Stores of the command line: opened for what a command does to them, with what opening changed said."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.console import err

if TYPE_CHECKING:
    from harness.store.database import Store


def open_store(store: str | None, files: Path | None, *, create: bool = False, read_only: bool = False) -> "Store":
    """The store of `--store` and `--files`.

    Args:
        store, files: the options.
        create: make it if there is none.
        read_only: for commands that only look: nothing is made or changed.

    Raises:
        InputError: there is none, or it cannot be opened.
    """
    from harness.store.location import DEFAULT_STORE, check_is_there, is_url

    place = store or DEFAULT_STORE
    if not create and not is_url(place):
        check_is_there(Path(place))  # before SQLAlchemy is loaded, which takes longer than the answer

    from harness.store.database import Store

    opened = Store(store, files, create=create, read_only=read_only)
    for note in opened.notes:
        say_note(note)
    return opened


def open_if_there(store: str | None, files: Path | None) -> "Store | None":
    """The store, to be read; None where a run would make it, which is said of a place that somebody named.

    Raises:
        InputError: it cannot be opened, or something else is there.
    """
    from harness.store.location import NoStoreError

    try:
        return open_store(store, files, read_only=True)
    except NoStoreError as error:
        if not error.can_be_made:
            raise
        if store is not None:
            say_note(str(error))
        return None


def say_note(text: str) -> None:
    """Say what a person should know, beside the output."""
    err.print(f"note: {text}", soft_wrap=True)
