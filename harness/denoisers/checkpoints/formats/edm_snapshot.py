"""Snapshots of EDM and its kin (`.pkl`): networks kept as "persistent objects".

The pickle's root is a dict; `ema` is the network. Every part of the network is a persistent object: the name of its
class, the source text of its module, and its attributes. The original loader executes the source; this one never reads
it. Each tensor's storage is a bytes object that holds a small file of torch.save, parsed by the same machine as the
rest. Every other global is refused.

Source: Karras et al. 2022 (arXiv 2206.00364) and the layout of its published snapshots.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings, plain
from harness.denoisers.checkpoints.pickles.legacy import read_legacy
from harness.denoisers.checkpoints.pickles.machine import Allowed, Instance, PickleBudget, unpickle
from harness.denoisers.checkpoints.pickles.numpy_arrays import NUMPY_ARRAYS
from harness.denoisers.checkpoints.pickles.stored import LazyTensor, Storage
from harness.denoisers.checkpoints.pickles.torch_names import STORAGE_TYPES, TENSORS, ordered_dict

PRECONDITIONERS = {"VPPrecond": "vp", "VEPrecond": "ve", "iDDPMPrecond": "iddpm", "EDMPrecond": "edm"}
"""Classes of published networks, and our kinds."""

NETWORKS = ("SongUNet", "DhariwalUNet")
POSITIONAL = ("img_resolution", "img_channels", "label_dim", "use_fp16")
VERSIONS = range(1, 7)
LONGEST_NAME = 400
MAX_TENSORS = 20_000

EDM2 = "the magnitude-preserving network of EDM2 (Karras et al. 2024, arXiv 2312.02696) is not built here yet"

SURROUNDINGS = ("loss_fn", "augment_pipe", "dataset_kwargs", "encoder", "training_options")
"""What a snapshot keeps beside the network; facts for people."""


class EDMSnapshot(CheckpointFormat):
    """A snapshot of EDM, or of a program that keeps its layout."""

    kind: Literal["edm-snapshot"] = "edm-snapshot"
    title: ClassVar[str] = "EDM snapshots (.pkl)"

    def recognise(self, file: CheckpointFile) -> bool:
        begins = bytes(file.data[:1]) == b"\x80"  # a pickle of protocol 2 or later
        return begins and not file.is_torch_file and not file.is_safetensors

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        data, where = file.data, str(file.path)
        budget = PickleBudget()
        root, end = unpickle(data, where, _allowed(data, where, budget), budget)
        if not isinstance(root, dict):
            raise InputError(f"{where}: not a snapshot: its pickle holds no dict; check the path")
        name = next((key for key in ("ema", "net") if isinstance(root.get(key), Instance)), None)
        if name is None:
            keys = ", ".join(str(key)[:40] for key in list(root)[:10]) or "nothing"
            raise InputError(f"{where}: not a snapshot: no network is kept as 'ema'; it has: {keys}")
        net = root[name]
        arguments = _arguments(net, where)
        facts = {key: plain(root[key]) for key in SURROUNDINGS if root.get(key) is not None}
        ignored = [str(key) for key in root if key not in (name, *SURROUNDINGS)]
        if end < len(data):
            ignored.append(f"{len(data) - end:,} bytes after the pickle")
        modules = _table(_attributes(net, where), "_modules", where)
        if modules.get("unet") is not None:
            return ReadCheckpoint(
                format="EDM2 snapshot",
                preconditioning="edm",
                arguments=arguments,
                tensors=dict(_flatten(net, where)),
                facts=facts,
                ignored=ignored,
                not_yet=EDM2,
            )
        if net.of not in PRECONDITIONERS:
            raise InputError(
                f"{where}: its network is a '{net.of[:100]}', which is not known here; "
                f"known: {', '.join(PRECONDITIONERS)}"
            )
        inner = modules.get("model")
        if not isinstance(inner, Instance):
            raise InputError(f"{where}: the network's part 'model' is missing; damaged, or not known here")
        if inner.of not in NETWORKS:
            raise InputError(
                f"{where}: inside its '{net.of}' is a '{inner.of[:100]}', which is not known here; "
                f"known: {', '.join(NETWORKS)}"
            )
        low, high = (_attributes(net, where).get(edge) for edge in ("sigma_min", "sigma_max"))
        return ReadCheckpoint(
            format="EDM snapshot",
            preconditioning=PRECONDITIONERS[net.of],
            arguments=arguments | {"model_type": inner.of},
            tensors=dict(_flatten(net, where)),
            sigma_min=float(low) if isinstance(low, int | float) else None,
            sigma_max=float(high) if isinstance(high, int | float) else None,
            facts=facts,
            ignored=[*ignored, "source code embedded in the file"],
        )


def _allowed(data: memoryview, where: str, budget: PickleBudget) -> Allowed:
    """Exactly the globals of snapshots; those of EDM2 keep arrays and a dict with attributes beside the network."""

    def load_storage(raw: Any) -> Storage:
        if not isinstance(raw, memoryview):
            raise ValueError("a storage that is not bytes; damaged")
        storage = read_legacy(raw, where, STORAGE_TYPES, budget, base=_offset(raw, data)).root
        if not isinstance(storage, Storage):
            raise ValueError("bytes of a storage that hold something else; damaged")
        return storage

    return {
        **TENSORS,
        "torch.storage._load_from_bytes": load_storage,
        "torch.nn.modules.container.ModuleDict": lambda: Instance("ModuleDict"),
        "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
        "dnnlib.util.EasyDict": lambda items=(): ordered_dict(items),
        **NUMPY_ARRAYS,  # nothing here looks at them
    }


def _offset(part: memoryview, whole: memoryview) -> int:
    """Where in the file a view of it begins."""
    import numpy as np

    addresses = [np.frombuffer(view, np.uint8).__array_interface__["data"][0] for view in (part, whole)]
    return int(addresses[0] - addresses[1]) if len(part) else 0


def _persistent(meta: Any = None) -> Instance:
    """`_reconstruct_persistent_obj`: the class's name and the attributes; the source text is not looked at."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise ValueError("a persistent object that is no class; not known here")
    version = meta.get("version")
    if type(version) is not int or version not in VERSIONS:
        said = version if type(version) is int else f"({type(version).__name__})"
        raise ValueError(f"a persistent object of version {said}; known: 1 to {VERSIONS[-1]}")
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise ValueError("a persistent object without a class's name or state; damaged")
    return Instance(name, state)


def _attributes(part: Instance, where: str) -> dict[str, Any]:
    if not isinstance(part.state, dict):
        raise InputError(f"{where}: a '{part.of[:100]}' without attributes; damaged")
    return part.state


def _arguments(net: Instance, where: str) -> dict[str, Any]:
    """What the constructor was called with."""
    state = _attributes(net, where)
    positional, keyword = state.get("_init_args", ()), state.get("_init_kwargs", {})
    if not isinstance(positional, tuple) or not isinstance(keyword, dict) or len(positional) > len(POSITIONAL):
        raise InputError(f"{where}: the network does not say how it was built; damaged, or not known here")
    return {**dict(zip(POSITIONAL, positional, strict=False)), **keyword}


def _flatten(part: Instance, where: str) -> Iterator[tuple[str, LazyTensor]]:
    """Names and tensors in the order of a state dict: parameters, then buffers, then the parts."""
    count = 0
    waiting: list[tuple[str, Instance]] = [("", part)]
    while waiting:
        prefix, here = waiting.pop()
        count += 1
        if len(prefix) > LONGEST_NAME or count > MAX_TENSORS:
            raise InputError(f"{where}: a network of more parts than any checkpoint has; refused")
        state = _attributes(here, where)
        for table in ("_parameters", "_buffers"):
            for name, tensor in _table(state, table, where).items():
                if len(str(name)) > LONGEST_NAME:
                    raise InputError(f"{where}: a tensor's name of {len(str(name)):,} letters; refused")
                if isinstance(tensor, LazyTensor):
                    count += 1
                    yield f"{prefix}{name}", tensor
                elif tensor is not None:
                    raise InputError(f"{where}: '{prefix}{name}' is no tensor; damaged")
        parts = _table(state, "_modules", where)
        below = [(f"{prefix}{name}.", inner) for name, inner in parts.items() if inner is not None]
        if not all(isinstance(inner, Instance) for _, inner in below):
            raise InputError(f"{where}: a part of '{prefix}' is no network; damaged")
        waiting.extend(reversed(below))


def _table(state: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = state.get(name, {})
    if not isinstance(table, dict):
        raise InputError(f"{where}: '{name}' is not a table; damaged")
    return table
