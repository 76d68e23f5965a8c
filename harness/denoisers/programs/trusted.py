"""The content of a program's file, if it is the one that was named."""

import hashlib
from pathlib import Path

from harness.core.errors import InputError


def read_trusted(path: Path, sha256: str) -> bytes:
    """A file's content, if it is the one with this hash.

    Raises:
        InputError: it cannot be read, or is another one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise InputError(
            f"{path}: SHA-256 is {actual}, not {sha256}; a program is run only if it is the one that was named"
        )
    return content


def last_line(error: BaseException) -> str:
    """What a foreign library's error says, shortened: the last line, where torch puts the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
