"""Tensors to a safetensors file: whole or not at all, and equal contents give equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save as serialise
from torch import Tensor

from harness.atomic import write_bytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts; the library leaves the order of the header's keys to chance, so it is sorted here."""
    raw = serialise({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, dict(metadata))
    length = int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors start at a multiple of 8
    write_bytes(path, len(header).to_bytes(8, "little") + header + raw[8 + length :])
