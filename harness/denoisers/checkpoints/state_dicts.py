"""State dicts, tables of tensors by name, in whatever a file wraps them.

{name: tensor}                              what a network's `state_dict()` is, by torch.save or as safetensors
{"module.NAME": tensor}                     of a network inside DataParallel, torch.compile or a trainer
{"ema": {name: tensor}, "epoch": 3}         one level down, beside counters and optimisers
INDEX.json and several files                shards: `weight_map` says which tensor lies in which file
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.stored import LazyTensor, Storage, StorageType, whole
from harness.denoisers.checkpoints.pickles.torch_file import mapped, read_torch_file
from harness.hub.header import Layout, read_contents

StateDict = dict[str, LazyTensor]

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and trainers write before the name of every tensor."""

MOST_PREFIXES = 4
MAX_JSON = 1_000_000
MAX_SHARDS = 1000


def is_safetensors(data: memoryview) -> bool:
    """Whether bytes begin as a safetensors file does: the length of a header, and the header's brace."""
    return len(data) > 8 and int.from_bytes(data[:8], "little") <= len(data) - 8 and bytes(data[8:9]) == b"{"


def read_safetensors(path: Path) -> StateDict:
    """The tensors of a safetensors file, where they lie.

    Raises:
        InputError: missing, truncated or not a safetensors file.
    """
    contents, data = read_contents(path), mapped(path)
    start = 8 + int.from_bytes(data[:8], "little")

    def stored(layout: Layout) -> LazyTensor:
        kind, at = StorageType(layout.dtype), start + layout.offset
        return whole(Storage(kind, layout.numel, lambda: data[at : at + layout.numel * kind.size]), layout.shape)

    return {name: stored(layout) for name, layout in contents.tensors.items()}


def state_dicts(root: Any) -> dict[str, StateDict]:
    """The state dicts in an object that was read, by the key that holds each; "" is the object itself.

    A prefix of PREFIXES that all names of a state dict have is left out.
    """
    if not isinstance(root, dict):
        return {}
    tables = {"": root, **{str(key): value for key, value in root.items() if isinstance(value, dict)}}
    tensors = {key: _tensors(table) for key, table in tables.items()}
    return {key: _without_prefix(found) for key, found in tensors.items() if found}


def read_weights(path: Path) -> StateDict:
    """The state dict of a file that holds one network, or of shards, given their index.

    Raises:
        InputError: not such a file, or a shard that is missing.
    """
    if path.suffix == ".json":
        return _read_shards(path)
    if is_safetensors(mapped(path)):
        return read_safetensors(path)
    found = list(state_dicts(read_torch_file(path).root).values())
    if len(found) != 1:
        raise InputError(f"{path}: holds {len(found) or 'no'} state dicts, and should be one; damaged")
    return found[0]


def files_of(path: Path) -> list[Path]:
    """The files that `read_weights` reads tensors from.

    Raises:
        InputError: an index that is none.
    """
    return [path] if path.suffix != ".json" else sorted({path.parent / name for name in _weight_map(path).values()})


def read_json(path: Path, largest: int = MAX_JSON) -> dict[str, Any]:
    """A table of keys in a JSON file of another program.

    Raises:
        InputError: missing, too large or not such a file.
    """
    try:
        if path.stat().st_size > largest:
            raise InputError(f"{path}: far larger than a configuration is; refused")
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not JSON; damaged") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a configuration: it holds no table of keys")
    return content


def _tensors(table: Mapping[Any, Any]) -> StateDict:
    return {str(name): value for name, value in table.items() if isinstance(value, LazyTensor)}


def _without_prefix(tensors: StateDict) -> StateDict:
    for _ in range(MOST_PREFIXES):
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in tensors)), "")
        if not prefix:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    """The file of every tensor, from an index of shards."""
    names = read_json(index, 10 * MAX_JSON).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{index}: no 'weight_map' that says where tensors lie; damaged")
    files = set(names.values())
    if len(files) > MAX_SHARDS or any(Path(name).name != name for name in files):
        raise InputError(f"{index}: shards are files in the same folder, and not more than {MAX_SHARDS}; refused")
    return names


def _read_shards(index: Path) -> StateDict:
    names = _weight_map(index)
    shards = {}
    for path in files_of(index):
        if not path.is_file():
            raise InputError(f"{path}: missing, and {index.name} names it; copy or download the other files too")
        shards[path.name] = read_weights(path)
    for name, file in names.items():
        if name not in shards[file]:
            raise InputError(f"{index.parent / file}: tensor '{name[:200]}' is not in it, and {index.name} says it is")
    return {name: shards[file][name] for name, file in names.items()}
