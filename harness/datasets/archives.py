"""Archives of data sets, `.tar.gz` and `.zip`, read in memory and never unpacked to disk.

`tarfile` and `zipfile` read the formats; the limits are ours. Refused are names that leave the archive (absolute, `..`,
a drive), links and other special files, encryption, two members of one name, members that overlap, and more members or
bytes than a data set has. This is stricter than tarfile's `data` filter, which protects only what is unpacked.
"""

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from harness.core.errors import InputError
from harness.core.text import brief
from harness.denoisers.checkpoints.pickles.archive import HEAD, directory_claims
from harness.denoisers.checkpoints.pickles.torch_file import mapped

MAX_TAR_BYTES = 256 << 20
"""Bytes of an inflated tar file; CIFAR's have 186 million."""

MAX_TAR_MEMBERS = 10_000
MAX_ZIP_MEMBERS = 8_000_000
MAX_ZIP_DIRECTORY = 1 << 30
"""Bytes of the directory at the end of a zip file."""

_DRIVE = re.compile(r"[A-Za-z]:")
_LOCAL = 30
"""Bytes of a member's own header in a zip file, before its name."""


def _check_name(name: str, where: str) -> None:
    """Raises InputError if a member's name is absolute or climbs out with `..`."""
    parts = name.replace("\\", "/").split("/")
    if not name or "\0" in name or parts[0] == "" or ".." in parts or _DRIVE.match(name):
        raise InputError(f"{where}: member '{brief(name)}' has a name that leaves the archive; refused")


class TarContents(NamedTuple):
    """Names of all files in a tar archive, folders aside, and the contents of those that were asked for."""

    names: set[str]
    contents: dict[str, bytes]


def read_tar(path: Path, wanted: Callable[[str], bool], largest: int = MAX_TAR_BYTES) -> TarContents:
    """Read the names of the files in a `.tar.gz`, and the contents of some, in one pass.

    Args:
        path: the archive.
        wanted: tells of a file's name whether its content is read.
        largest: bytes that the whole archive may inflate to.

    Raises:
        InputError: not such an archive, damaged, or a member that is refused.
    """
    try:
        with gzip.open(path, "rb") as inflated:
            stream = _Limited(inflated, largest, path)
            with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
                tar = _read_members(archive, wanted, path)
            while stream.read(1 << 16):  # to the end, where gzip compares its checksum
                pass
            return tar
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: not a whole tar file ({brief(str(error))}); damaged, download it again") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: cannot be inflated ({error}); truncated or damaged, download it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None


class _Limited:
    """A stream that fails after too many bytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, left: int, path: Path) -> None:
        self.stream, self.left, self.path = stream, left, path

    def read(self, count: int) -> bytes:
        content = self.stream.read(count)
        self.left -= len(content)
        if self.left < 0:
            raise InputError(f"{self.path}: inflates to more than any archive of CIFAR; refused")
        return content


def _read_members(archive: tarfile.TarFile, wanted: Callable[[str], bool], path: Path) -> TarContents:
    contents: dict[str, bytes] = {}
    names: set[str] = set()
    files: set[str] = set()
    for member in archive:
        name = member.name
        _check_name(name, str(path))
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
        if not (plain or member.isdir()):
            raise InputError(f"{path}: member '{brief(name)}' is a link, or no plain file; refused")
        if name in names:
            raise InputError(f"{path}: two members have the name '{brief(name)}'; refused")
        if len(names) == MAX_TAR_MEMBERS:
            raise InputError(f"{path}: more than {MAX_TAR_MEMBERS:,} members; refused")
        names.add(name)
        if plain:
            files.add(name)
            if wanted(name) and (content := archive.extractfile(member)):
                contents[name] = content.read()
    return TarContents(files, contents)


class ZipMembers:
    """The members of a zip file by name, folders aside, stored or deflated.

    Args:
        path: the file.

    Attributes:
        members: entries of the directory by name, with `/` between folders.

    Raises:
        InputError: not a whole zip file, or a member that is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, mapped(path)
        claims = directory_claims(path, self.data)
        if claims.members > MAX_ZIP_MEMBERS or claims.size > MAX_ZIP_DIRECTORY:  # zipfile reads the directory whole
            raise InputError(
                f"{path}: claims {claims.members:,} members in a directory of {claims.size:,} bytes, more than "
                f"{MAX_ZIP_MEMBERS:,} or {MAX_ZIP_DIRECTORY:,}; refused"
            )
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, struct.error, ValueError, RuntimeError, EOFError, OSError) as error:
            # RuntimeError: what zipfile raises for a version of the format that it does not read
            raise InputError(f"{path}: not a whole zip file ({error}); copy or download it again") from None
        self.members: dict[str, zipfile.ZipInfo] = {}
        self.ends: dict[str, int] = {}
        end = self.archive.start_dir
        for entry in sorted(self.archive.infolist(), key=lambda entry: entry.header_offset, reverse=True):
            name = self._checked_name(entry)
            begin = entry.header_offset
            if begin < 0 or begin + _LOCAL + len(entry.orig_filename) + entry.compress_size > end:
                raise InputError(f"{path}: member '{brief(name)}' overlaps another or the directory; refused")
            if name in self.members:
                raise InputError(f"{path}: two members have the name '{brief(name)}'; refused")
            if not entry.is_dir():
                self.members[name], self.ends[name] = entry, end
            end = begin

    def _checked_name(self, entry: zipfile.ZipInfo) -> str:
        _check_name(entry.orig_filename, str(self.path))
        name = entry.filename.replace("\\", "/")
        said = f"{self.path}: member '{brief(name)}'"
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{said} is a symbolic link; refused")
        if entry.flag_bits & 1:
            raise InputError(f"{said} is encrypted; unpack it yourself")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{said} is compressed in a way that is not read; store or deflate it")
        if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
            raise InputError(f"{said} has two lengths; damaged")
        return name

    def read(self, name: str, largest: int) -> bytes:
        """A member's content, compared with its checksum.

        Raises:
            InputError: damaged, or of more than `largest` bytes.
        """
        size = self.members[name].file_size
        if size > largest:
            raise InputError(
                f"{self.path}: member '{brief(name)}' claims {size:,} bytes, more than {largest:,}; refused"
            )
        content = self._read(name, size)
        if len(content) != size:
            raise InputError(f"{self.path}: member '{brief(name)}' has {len(content):,} bytes, not {size:,}; damaged")
        return content

    def head(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a member's content, or fewer; not compared with the checksum.

        Raises:
            InputError: damaged.
        """
        in_place = self.stored(name)  # three times as fast as zipfile, and asked of every image of a set
        return self._read(name, count) if in_place is None else bytes(in_place[:count])

    def _read(self, name: str, count: int) -> bytes:
        try:
            with self.archive.open(self.members[name]) as file:
                return file.read(count)  # inflates no more than this, whatever the member claims
        except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, EOFError, OSError) as error:
            raise InputError(
                f"{self.path}: member '{brief(name)}' cannot be read ({brief(str(error))}); damaged"
            ) from None

    def stored(self, name: str) -> memoryview | None:
        """The bytes of a stored member in place, not compared with the checksum; None if it is deflated.

        Raises:
            InputError: it is not where the directory says.
        """
        entry = self.members[name]
        if entry.compress_type != zipfile.ZIP_STORED:
            return None
        head = self.data[entry.header_offset : entry.header_offset + _LOCAL]
        if len(head) < _LOCAL or bytes(head[:4]) != HEAD:
            raise InputError(f"{self.path}: member '{brief(name)}' is not where the archive says; damaged")
        start = entry.header_offset + _LOCAL + sum(struct.unpack("<HH", head[26:30]))
        if start + entry.file_size > self.ends[name]:
            raise InputError(f"{self.path}: member '{brief(name)}' overlaps another or the directory; refused")
        return self.data[start : start + entry.file_size]
