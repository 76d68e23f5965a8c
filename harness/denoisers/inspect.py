"""What a checkpoint is, without loading its weights: for people, and for scripts as JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.core.text import printable
from harness.denoisers.checkpoints.build import compare, empty, from_json, to_json
from harness.denoisers.checkpoints.formats import read_foreign
from harness.denoisers.checkpoints.formats.base import Found, plain
from harness.denoisers.preconditioning import Preconditioned
from harness.hub.header import read_header

WIDEST = 40
"""Letters of a key that the values of others are moved to the right for."""


def inspect(path: Path, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Facts about a checkpoint, ready for JSON; keys in the order in which people want them.

    Args:
        path: a checkpoint of ours or of another program.
        options: what the file does not say; see `read_foreign`.

    Raises:
        InputError: not a checkpoint known here, or damaged.
    """
    if path.suffix == ".safetensors":
        return _ours(path)
    found = read_foreign(path, options)
    facts: dict[str, Any] = {"file": str(path), **_size(path), "format": found.format}
    facts |= {"weights": _weights(found)}
    if found.not_yet:
        return facts | {"arguments": plain(found.arguments), **_rest(found), "usable": f"no: {found.not_yet}"}
    try:
        net = empty(found.preconditioning, found.arguments, str(path))
        expected = net.state_dict()
        fixed = {name: tensor for name, tensor in expected.items() if name.endswith("resample_filter")}
        compare({**fixed, **found.tensors}, expected, str(path))
    except InputError as error:
        return facts | {"arguments": plain(found.arguments), **_rest(found), "usable": f"no: {error}"}
    low = net.sigma_min if found.sigma_min is None else found.sigma_min
    high = net.sigma_max if found.sigma_max is None else found.sigma_max
    return facts | _network(net, low, high) | _rest(found) | {"usable": "yes"}


def _ours(path: Path) -> dict[str, Any]:
    config, provenance, tensors = read_header(path)
    net = empty(config.preconditioning, from_json(config.arguments), str(path))
    compare(tensors, net.state_dict(), str(path))
    kinds = Counter(layout.dtype for layout in tensors.values())
    facts: dict[str, Any] = {"file": str(path), **_size(path), "format": "harness checkpoint"}
    facts |= {"weights": f"{len(tensors)} tensors, {_list(kinds)}"}
    return facts | _network(net, config.sigma_min, config.sigma_max) | {"training": plain(provenance), "usable": "yes"}


def _size(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)} if path.is_file() else {}


def _weights(found: Found) -> str:
    kinds = Counter(tensor.dtype for tensor in found.tensors.values())
    return f"{len(found.tensors)} tensors, {_list(kinds)}, {sum(t.numel for t in found.tensors.values()):,} numbers"


def _list(kinds: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {kind}" for kind, count in kinds.items())


def _network(net: Preconditioned, low: float, high: float) -> dict[str, Any]:
    """What the network is; it has no storage."""
    steps = getattr(net, "levels", None)
    arguments = to_json(net.config)
    return {
        "architecture": arguments.pop("model_type"),
        "preconditioning": net.kind,
        "images": list(net.shape),
        "classes": net.label_dim,
        "sigma_min": low,
        "sigma_max": "inf" if high == float("inf") else high,
        **({"noise levels": len(steps)} if steps is not None else {}),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "arguments": arguments,
    }


def _rest(found: Found) -> dict[str, Any]:
    return {
        **({"training": found.facts} if found.facts else {}),
        **({"assumed": found.assumed} if found.assumed else {}),
        **({"ignored": found.ignored} if found.ignored else {}),
    }


def as_lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """The facts as lines for a terminal: a key and its value, what is nested below it and further in."""
    width = min(max((len(str(key)) for key in facts), default=0), WIDEST) + 2
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{printable(str(key))}"
            yield from as_lines(value, indent + "    ")
        else:
            yield f"{indent}{printable(str(key)):<{width}}{printable(_text(value))}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) if len(value) <= 20 else f"{len(value)} values"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
