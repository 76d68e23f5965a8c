"""Files in a `.tar.gz`, read as a stream and never unpacked to disk.

Only what data sets are packed with is understood: plain files and folders under plain names, with or without pax
attributes, which are skipped. Links, devices, sparse files, names that leave the archive and two members of one name
are refused, and no more than a stated number of bytes is ever inflated.
"""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from harness.core.errors import InputError
from harness.core.text import brief
from harness.datasets.member_names import check_member

BLOCK = 512
MAX_INFLATED = 256 << 20
"""Bytes of a whole archive; those of CIFAR have 186 million."""

PLAIN, FOLDER, ATTRIBUTES = b"0\0", b"5", b"xg"


TOO_MUCH = "inflates to more than any archive of CIFAR; refused"


class Tar(NamedTuple):
    """The names of all files in an archive, folders aside, and the contents of those that were wanted."""

    names: set[str]
    contents: dict[str, bytes]


class _Header(NamedTuple):
    name: str
    kind: bytes
    size: int


def read_tar(path: Path, wanted: Callable[[str], bool], largest: int = MAX_INFLATED) -> Tar:
    """The names of the files in a `.tar.gz`, and the contents of some.

    Args:
        path: the archive.
        wanted: says of a name whether the file is.
        largest: bytes that the whole archive may inflate to.

    Raises:
        InputError: not such an archive, damaged, or with a member that is refused.
    """
    try:
        with gzip.open(path, "rb") as stream:
            return _read(_Limited(stream, largest, str(path)), wanted, str(path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be inflated ({error}); truncated or damaged, download it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None


class _Limited:
    """A stream that gives whole pieces, and only so many bytes altogether."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, left: int, where: str) -> None:
        self.stream, self.left, self.where = stream, left, where

    def read(self, count: int) -> bytes:
        self.left -= count
        if self.left < 0:
            raise InputError(f"{self.where}: {TOO_MUCH}")
        found = self.stream.read(count)
        if len(found) != count:
            raise InputError(f"{self.where}: ends in the middle of a member; truncated, download it again")
        return found

    def finish(self) -> None:
        """Read what is left, so that the checksum at the end is compared."""
        while found := self.stream.read(1 << 16):
            self.left -= len(found)
            if self.left < 0:
                raise InputError(f"{self.where}: {TOO_MUCH}")


def _read(stream: _Limited, wanted: Callable[[str], bool], where: str) -> Tar:
    contents: dict[str, bytes] = {}
    names: set[str] = set()
    files: set[str] = set()
    while any(block := stream.read(BLOCK)):  # a block of zeros ends the archive
        head = _header(block, where)
        content = stream.read(head.size)
        stream.read(-head.size % BLOCK)
        if head.kind in ATTRIBUTES:
            continue
        check_member(head.name, where)
        if head.kind not in PLAIN and head.kind != FOLDER:
            raise InputError(f"{where}: member '{brief(head.name)}' is a link, or no plain file; refused")
        if head.name in names:
            raise InputError(f"{where}: two members have the name '{brief(head.name)}'; refused")
        names.add(head.name)
        if head.kind in PLAIN:
            files.add(head.name)
            if wanted(head.name):
                contents[head.name] = content
    stream.finish()
    return Tar(files, contents)


def _header(block: bytes, where: str) -> _Header:
    """A member's header: POSIX.1-1988 (ustar), which all later formats start from."""
    stated = _octal(block[148:156])
    if stated is None or stated != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise InputError(f"{where}: a member's header has another checksum than it says; not a tar file, or damaged")
    size = _octal(block[124:136])
    if size is None:
        raise InputError(f"{where}: a member without a size; not a tar file that is understood here")
    prefix = block[345:500] if block[257:263] == b"ustar\0" else b""
    parts = [part.split(b"\0")[0].decode("latin1") for part in (prefix, block[:100])]
    return _Header("/".join(part for part in parts if part), block[156:157], size)


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and all(digit in b"01234567" for digit in digits) else None
