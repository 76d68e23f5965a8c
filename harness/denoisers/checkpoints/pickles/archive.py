"""The layout of `torch.save` since version 1.6: a zip file of uncompressed members, read in place.

    NAME/data.pkl     the object; its tensors refer to storages by ('storage', type, key, device, numel)
    NAME/data/KEY     the numbers of a storage
    NAME/byteorder    little or big; missing means little

torch never compresses, so a compressed member is refused, and with it every zip bomb; so are encrypted members, links,
absolute names, names with `..`, and members that overlap or lie outside the file.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.legacy import storage_of
from harness.denoisers.checkpoints.pickles.machine import Allowed, PickleBudget, unpickle
from harness.denoisers.checkpoints.pickles.stored import Storage

HEAD = b"PK\x03\x04"
MAX_MEMBERS = 50_000
MAX_DIRECTORY = 8 << 20


class Member(NamedTuple):
    """A member's bytes in the file, and their checksum."""

    start: int
    length: int
    crc: int


class Claims(NamedTuple):
    """What the end of a zip file says of its directory: number of members, and bytes."""

    members: int
    size: int


class Archive:
    """The members of a zip file by name, checked before anything is read.

    Args:
        path: the file.
        data: its bytes.

    Raises:
        InputError: not a zip file, or one that torch does not write.
    """

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path, self.data = path, data
        _check_directory(path, data)
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, struct.error, ValueError, RuntimeError, EOFError, OSError) as error:
            # RuntimeError: what zipfile raises for a version of the format that it does not read
            raise InputError(f"{path}: not a whole zip file ({error}); copy or download it again") from None
        if len(entries) > MAX_MEMBERS:
            raise InputError(
                f"{path}: {len(entries):,} members, where a checkpoint has at most {MAX_MEMBERS:,}; refused"
            )
        self.intact: set[str] = set()
        self.members = {entry.filename: self._member(entry) for entry in entries}
        if len(self.members) != len(entries):
            raise InputError(f"{path}: two members have one name; not a file of torch.save, or damaged")
        end = 0
        for name, member in sorted(self.members.items(), key=lambda item: item[1].start):
            if member.start < end:
                raise InputError(f"{path}: member '{name[:100]}' overlaps another; refused")
            end = member.start + member.length

    def read(self, name: str) -> memoryview:
        """A member's bytes, in place, after comparing their checksum.

        Raises:
            InputError: there is no such member, or it was altered.
        """
        if name not in self.members:
            raise InputError(f"{self.path}: member '{name[:100]}' is missing; truncated or damaged")
        start, length, crc = self.members[name]
        content = self.data[start : start + length]
        if name not in self.intact and zlib.crc32(content) != crc:
            raise InputError(f"{self.path}: member '{name[:100]}' has another checksum than the archive says; damaged")
        self.intact.add(name)
        return content

    def _member(self, entry: zipfile.ZipInfo) -> Member:
        name = entry.filename
        said = f"{self.path}: member '{name[:100]}'"
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in name or name != entry.orig_filename:
            raise InputError(f"{said} has a name that leaves the archive; refused")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{said} is a symbolic link; refused")
        if entry.flag_bits & 1:
            raise InputError(f"{said} is encrypted; refused")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise InputError(
                f"{said} is compressed ({entry.file_size:,} bytes from {entry.compress_size:,}); torch.save does not "
                "compress, so this is not its file; unpack it yourself if you trust it"
            )
        head = self.data[entry.header_offset : entry.header_offset + 30] if entry.header_offset >= 0 else b""
        if len(head) < 30 or bytes(head[:4]) != HEAD:
            raise InputError(f"{said} is not where the archive says; damaged")
        start = entry.header_offset + 30 + sum(struct.unpack("<HH", head[26:30]))
        if start + entry.file_size > len(self.data):
            raise InputError(f"{said} claims {entry.file_size:,} bytes, more than the file has; truncated or damaged")
        return Member(start, entry.file_size, entry.CRC)


def directory_claims(path: Path, data: memoryview) -> Claims:
    """What a zip file says of its directory, so that too large a one can be refused before it is read.

    Raises:
        InputError: the file has no end of a zip file.
    """
    tail = bytes(data[-(65_557 + 76) :])
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise InputError(f"{path}: a zip file without its end; truncated, copy or download it again")
    if at >= 76 and tail[at - 20 : at - 16] == b"PK\x06\x07" and tail[at - 76 : at - 72] == b"PK\x06\x06":  # zip64
        return Claims(*struct.unpack("<QQ", tail[at - 44 : at - 28]))
    return Claims(*struct.unpack("<HI", tail[at + 10 : at + 16]))


def _check_directory(path: Path, data: memoryview) -> None:
    """Refuse an archive whose directory claims more members than any checkpoint has, before it is read."""
    count, size = directory_claims(path, data)
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise InputError(
            f"{path}: an archive of {count:,} members with {size:,} bytes of names; a checkpoint has at most "
            f"{MAX_MEMBERS:,}; refused"
        )


def read_archive(path: Path, data: memoryview, allowed: Allowed, budget: PickleBudget) -> Any:
    """The object in a zip file of torch.save; its storages are views of `data`, read and checked when asked for.

    Raises:
        InputError: not such a file, damaged, or not allowed.
    """
    archive = Archive(path, data)
    name = _pickle_in(archive.members, path)
    folder = name.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.members and bytes(archive.read(order)).strip() != b"little":
        raise InputError(f"{path}: written on a big-endian machine, which is not read here; write it anew elsewhere")
    storages: dict[str, Storage] = {}

    def refer(identity: Any) -> Storage:
        storage = storage_of(identity, storages)
        member = f"{folder}data/{identity[2]}"
        if storage.data is None:
            length = archive.members[member].length if member in archive.members else -1
            if length != storage.numel * storage.type.size:
                raise ValueError(
                    f"storage '{identity[2][:40]}' claims {storage.numel * storage.type.size:,} bytes, and the archive "
                    f"has {'none' if length < 0 else format(length, ',')}; damaged"
                )
            storage.data = lambda: archive.read(member)
        return storage

    pickled = archive.read(name)
    return unpickle(pickled, str(path), allowed, budget, base=archive.members[name].start, persistent=refer).value


def _pickle_in(members: Mapping[str, Member], path: Path) -> str:
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") for name in members):
        raise InputError(f"{path}: TorchScript, which is code; it is not read as a checkpoint")
    if len(pickles) != 1:
        raise InputError(f"{path}: a zip file without a data.pkl; not a file of torch.save")
    return pickles[0]
