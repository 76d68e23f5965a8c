"""The members of a program's zip file, read by Python's zipfile alone."""

import io
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from harness.core.errors import InputError

EXPANSION = 20
"""Times its size that a file may hold: source of TorchScript is compressed, weights are not."""


UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
"""What `zipfile` raises at a member that it cannot read: damaged, cut off, or encrypted or compressed in a way
that it does not know, both of which are a RuntimeError."""


class Zipped:
    """Members by their place below the archive's one folder, such as `models/model.json`.

    Args:
        path: what to call the file in errors.
        content: its bytes.

    Raises:
        InputError: not a zip file, or one that torch does not write: two members of one name, a folder more, too large.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, EOFError) as error:
            raise InputError(f"{path}: not a whole zip file ({error}); copy or export it again") from None
        entries = self._zip.infolist()
        self._full = {entry.filename.partition("/")[2] or entry.filename: entry.filename for entry in entries}
        folders = {entry.filename.partition("/")[0] for entry in entries if "/" in entry.filename}
        self.is_flat = len(folders) != 1 or any("/" not in entry.filename for entry in entries)
        if len({name.casefold() for name in self._full}) != len(entries) and not self.is_flat:
            raise InputError(f"{path}: two members have one name; damaged, export it again")
        if sum(entry.file_size for entry in entries) > EXPANSION * len(content):
            raise InputError(f"{path}: its members claim far more bytes than the file has; refused")

    @property
    def names(self) -> list[str]:
        return list(self._full)

    def require(self, name: str) -> None:
        """See that there is a member of a name.

        Raises:
            InputError: there is none.
        """
        if name not in self._full:
            raise InputError(f"{self.path}: '{name}' is missing in it; damaged, export it again")

    def read(self, name: str) -> bytes:
        """A member's bytes, with its checksum compared.

        Raises:
            InputError: there is none, or it is damaged.
        """
        self.require(name)
        try:
            return self._zip.read(self._full[name])
        except UNREADABLE as error:
            raise InputError(f"{self.path}: '{name[:100]}' cannot be read ({error}); copy or export it again") from None


def zipped_anew(members: Iterable[tuple[str, bytes]]) -> io.BytesIO:
    """A file that holds just these members, uncompressed, in one folder, as torch reads it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(f"archive/{name}", content)
    file.seek(0)
    return file
