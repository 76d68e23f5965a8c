"""The members of a zip file, read in place and never unpacked to disk.

Members may be stored or deflated. Refused, before anything is read: names that leave the archive, links, encryption,
two members of one name, members that overlap, and archives that claim more members than a data set has. A deflated
member is inflated to the size that the archive states and not a byte further.
"""

import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from harness.core.errors import InputError
from harness.core.text import brief
from harness.datasets.member_names import check_member
from harness.denoisers.checkpoints.pickles.archive import HEAD, directory_claims
from harness.denoisers.checkpoints.pickles.torch_file import mapped

MAX_MEMBERS = 8_000_000
HEADER = 30
"""Bytes of a member's own header, before its name."""


class Member(NamedTuple):
    """A member as the directory has it: where it begins and must end, sizes in bytes, checksum."""

    begin: int
    limit: int
    packed: int
    size: int
    crc: int
    deflated: bool


class ZipMembers:
    """The members of a zip file by name, folders aside, checked before anything is read.

    Args:
        path: the file.

    Attributes:
        members: by name, with `/` between folders.

    Raises:
        InputError: not a whole zip file, or one with a member that is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, mapped(path)
        claims = directory_claims(path, self.data)
        if claims.members > MAX_MEMBERS:
            raise InputError(f"{path}: claims {claims.members:,} members, more than {MAX_MEMBERS:,}; refused")
        try:
            with zipfile.ZipFile(path) as archive:
                entries, limit = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, struct.error, ValueError, RuntimeError, EOFError, OSError) as error:
            # RuntimeError: what zipfile raises for a version of the format that it does not read
            raise InputError(f"{path}: not a whole zip file ({error}); copy or download it again") from None
        self.members: dict[str, Member] = {}
        for entry in sorted(entries, key=lambda entry: entry.header_offset, reverse=True):
            name = self._checked_name(entry)
            begin = entry.header_offset
            if begin < 0 or begin + HEADER + len(entry.orig_filename) + entry.compress_size > limit:
                raise InputError(f"{path}: member '{brief(name)}' overlaps another or the directory; refused")
            if name in self.members:
                raise InputError(f"{path}: two members have the name '{brief(name)}'; refused")
            if not entry.is_dir():
                deflated = entry.compress_type == zipfile.ZIP_DEFLATED
                self.members[name] = Member(begin, limit, entry.compress_size, entry.file_size, entry.CRC, deflated)
            limit = begin

    def raw(self, name: str) -> memoryview:
        """A member's bytes as they lie in the file, packed or not; not compared with the checksum.

        Raises:
            InputError: it is not where the archive says.
        """
        begin, limit, packed = self.members[name][:3]
        head = self.data[begin : begin + HEADER]
        if len(head) < HEADER or bytes(head[:4]) != HEAD:
            raise InputError(f"{self.path}: member '{brief(name)}' is not where the archive says; damaged")
        start = begin + HEADER + sum(struct.unpack("<HH", head[26:30]))
        if start + packed > limit:
            raise InputError(f"{self.path}: member '{brief(name)}' overlaps another or the directory; refused")
        return self.data[start : start + packed]

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a member's content, at most `count`; not compared with the checksum.

        Raises:
            InputError: damaged.
        """
        if not self.members[name].deflated:
            return bytes(self.raw(name)[:count])
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.raw(name)[: 2 * count], count)
        except zlib.error as error:
            raise InputError(f"{self.path}: member '{brief(name)}' cannot be inflated ({error}); damaged") from None

    def read(self, name: str, largest: int) -> bytes:
        """A member's content, compared with its checksum.

        Raises:
            InputError: damaged, or of more than `largest` bytes.
        """
        member = self.members[name]
        said = f"{self.path}: member '{brief(name)}'"
        if member.size > largest:
            raise InputError(f"{said} claims {member.size:,} bytes, more than {largest:,}; refused")
        content = self._inflated(name) if member.deflated else bytes(self.raw(name))
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            raise InputError(f"{said} has another length or checksum than the archive says; damaged")
        return content

    def _inflated(self, name: str) -> bytes:
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.raw(name), self.members[name].size + 1)
        except zlib.error as error:
            raise InputError(f"{self.path}: member '{brief(name)}' cannot be inflated ({error}); damaged") from None

    def _checked_name(self, entry: zipfile.ZipInfo) -> str:
        check_member(entry.orig_filename, str(self.path))
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
