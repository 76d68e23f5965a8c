"""Arrays on disk: one file a key, written whole or not at all, and checked when read."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import InputError
from harness.core.files import write_bytes

if TYPE_CHECKING:
    import numpy as np


class StoreFileError(OSError):
    """A file of the store cannot be written or removed."""


class ArrayFiles:
    """A folder of `.npz` files, each named by a key and checked against the SHA-256 that the store's row holds.

    Args:
        folder: where the files lie; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, key: str, arrays: "Mapping[str, np.ndarray]") -> str:
        """Store arrays under a key (hexadecimal) and return the file's SHA-256.

        Raises:
            StoreFileError: the file cannot be written.
        """
        import numpy as np

        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(arrays))
        content = buffer.getvalue()
        try:
            write_bytes(self._path(key), content)
        except OSError as error:
            raise StoreFileError(error.errno, error.strerror, error.filename) from error
        return hashlib.sha256(content).hexdigest()

    def read(self, key: str, sha256: str) -> "dict[str, np.ndarray]":
        """The arrays of a key.

        Raises:
            InputError: the file is missing, or is not the one that was written.
        """
        import numpy as np

        with np.load(io.BytesIO(self.content(key, sha256)), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def content(self, key: str, sha256: str) -> bytes:
        """The bytes of a key's file.

        Raises:
            InputError: the file is missing, or is not the one that was written.
        """
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: a stored result cannot be read ({error.strerror}); point --files at the store's folder, or "
                "run with --force to compute it again"
            ) from None
        if hashlib.sha256(content).hexdigest() != sha256:
            raise InputError(f"{path}: the file was changed since it was written; run with --force to compute it again")
        return content

    def copy(self, other: "ArrayFiles", key: str, sha256: str) -> None:
        """Bring a key's file from another folder.

        Raises:
            InputError: it is missing there, or was changed.
        """
        write_bytes(self._path(key), other.content(key, sha256))

    def has(self, key: str) -> bool:
        """Whether a file is there."""
        return self._path(key).is_file()

    def size(self, key: str) -> int:
        """Bytes of a key's file; 0 if it is not there."""
        return self._path(key).stat().st_size if self.has(key) else 0

    def remove(self, key: str) -> None:
        """Delete a key's file, if there.

        Raises:
            StoreFileError: it cannot be deleted.
        """
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreFileError(error.errno, error.strerror, error.filename) from error

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.npz"
