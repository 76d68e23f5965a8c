"""The layout of `torch.save` before zip files; also how a snapshot keeps each of its storages.

One after the other: a pickle of the number MAGIC; one of the version, 1001; one of a dict about the writer's machine;
the object, whose tensors refer to storages by persistent ids ('storage', type, key, device, numel, view); the list of
keys; then for every key in that order its count, int64, and its numbers, both little-endian.
"""

from typing import Any, NamedTuple

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.machine import Allowed, PickleBudget, unpickle
from harness.denoisers.checkpoints.pickles.stored import Storage, StorageType

MAGIC = 0x1950A86A20F9469CFC6C
HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How such a file begins: MAGIC, pickled in protocol 2."""

VERSION = 1001


class Legacy(NamedTuple):
    """What was read: the object, and the byte after the last storage."""

    root: Any
    end: int


def read_legacy(data: memoryview, where: str, allowed: Allowed, budget: PickleBudget, base: int = 0) -> Legacy:
    """Read an object in this layout; storages are views of `data`.

    Args:
        data: the buffer, from MAGIC on.
        where: what to call the file in errors.
        allowed: the globals that the object may name, storage types among them.
        budget: of all pickles in the file.
        base: byte of the file where `data` begins, for errors.

    Raises:
        InputError: damaged, of another version, or not allowed.
    """
    storages: dict[str, Storage] = {}

    def refer(identity: Any) -> Storage:
        return storage_of(identity, storages)

    at = 0
    head = []
    for _ in range(3):
        value, at = unpickle(data, where, {}, budget, at, base)
        head.append(value)
    magic, version, system = head
    if magic != MAGIC or version != VERSION or not isinstance(system, dict):
        raise InputError(f"{where}: byte {base:,}: not a file of torch.save in its old layout; check the path")
    if system.get("little_endian") is not True:
        raise InputError(f"{where}: written on a big-endian machine, which is not read here; write it anew elsewhere")
    root, at = unpickle(data, where, allowed, budget, at, base, refer)
    keys, at = unpickle(data, where, {}, budget, at, base)
    named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not named or set(keys) != storages.keys() or len(keys) != len(storages):
        raise InputError(f"{where}: byte {base + at:,}: the list of storages is not that of the tensors; damaged")
    for key in keys:
        at = _place(data, at, storages[key], where, base)
    return Legacy(root, at)


def _place(data: memoryview, at: int, storage: Storage, where: str, base: int) -> int:
    """Find a storage's numbers; returns the byte after them."""
    count = int.from_bytes(data[at : at + 8], "little", signed=True)
    start, length = at + 8, storage.numel * storage.type.size
    if count != storage.numel or start + length > len(data):
        raise InputError(
            f"{where}: byte {base + at:,}: a storage of {storage.numel:,} numbers ({length:,} bytes) where "
            f"{max(0, len(data) - start):,} bytes are left; truncated or damaged"
        )
    storage.data = lambda: data[start : start + length]
    return start + length


def storage_of(identity: Any, known: dict[str, Storage]) -> Storage:
    """The storage that a persistent id means; made when it is first met, and kept in `known` by its key.

    Raises:
        ValueError: the id is not one of a storage, or contradicts an earlier one.
    """
    if not (isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"):
        raise ValueError("a reference that is not one to a storage; damaged")
    _, kind, key, _, numel = identity[:5]
    if not (isinstance(kind, StorageType) and isinstance(key, str) and type(numel) is int and numel >= 0):
        raise ValueError("a reference to a storage without type, key or count; damaged")
    if len(identity) == 6 and identity[5] is not None:
        raise ValueError("a view into another storage, as only the oldest versions of torch wrote; save it anew")
    storage = known.setdefault(key, Storage(kind, numel))
    if (storage.type, storage.numel) != (kind, numel):
        raise ValueError(f"storage '{key[:40]}' has two types or lengths; damaged")
    return storage
