"""What a checkpoint or a program is, without loading its weights: for people, and for scripts as JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.core.text import printable
from harness.denoisers.checkpoints.build import build_on_meta, compare_shapes, from_json, to_json
from harness.denoisers.checkpoints.convert import skeleton
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.checkpoints.formats.base import plain
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.exported import FORMATS, read_program
from harness.denoisers.preconditioning import Preconditioned
from harness.denoisers.preconditioning.base import Formulas
from harness.denoisers.programs.torchscript import is_torchscript
from harness.hub.header import Layout, is_ours, read_header

WIDEST = 40
"""Letters of a key that the values of others are moved to the right for."""


def inspect(path: Path, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Facts about a checkpoint, ready for JSON; keys in the order in which people want them.

    Args:
        path: a checkpoint of ours or of another program, or a program of torch.export, TorchScript or ONNX.
        options: what the file does not say; see `read_checkpoint`.

    Raises:
        InputError: not a checkpoint known here, or damaged.
    """
    if path.suffix == ".safetensors" and is_ours(path):
        return _ours(path)
    if _is_program(path):
        return _program(path)
    source = read_checkpoint(path, options)
    numbers = sum(tensor.numel for tensor in source.tensors.values())
    facts = _file(path, source.format) | {"weights": f"{_weights(source.tensors)}, {numbers:,} numbers"}
    rest = {"training": source.facts, "assumed": source.assumed, "ignored": source.ignored}
    rest = {key: value for key, value in rest.items() if value}
    try:
        if source.not_yet:
            raise InputError(source.not_yet)
        net = skeleton(source, str(path)).net
    except InputError as error:
        return facts | {"arguments": plain(source.arguments), **rest, "usable": f"no: {error}"}
    low = net.sigma_min if source.sigma_min is None else source.sigma_min
    high = net.sigma_max if source.sigma_max is None else source.sigma_max
    return facts | _network(net, low, high) | rest | {"usable": "yes"}


def _ours(path: Path) -> dict[str, Any]:
    config, provenance, tensors = read_header(path)
    net = build_on_meta(config.preconditioning, from_json(config.arguments), str(path))
    compare_shapes(tensors, net.state_dict(), str(path))
    facts = _file(path, "harness checkpoint") | {"weights": _weights(tensors)}
    return facts | _network(net, config.sigma_min, config.sigma_max) | {"training": plain(provenance), "usable": "yes"}


def _is_program(path: Path) -> bool:
    """Whether a file holds a network whole; .pt is also what checkpoints are called."""
    return path.suffix.lower() in FORMATS and (path.suffix.lower() != ".pt" or is_torchscript(path))


def _program(path: Path) -> dict[str, Any]:
    """What a program takes and gives, and what in it is code; nothing is run."""
    program = read_program(path)
    facts = _file(path, program.format) | program.signature.as_facts()
    if any(value.shape is None for value in program.signature.inputs):
        facts["shapes"] = "not told: a TorchScript file does not hold them, nor the types of numbers"
    if program.payload:
        return facts | {"usable": f"only with --allow-code, because of {program.payload.rstrip(',')}"}
    return facts | {"usable": "yes, as a denoiser of kind exported, with what it predicts"}


def _file(path: Path, format: str) -> dict[str, Any]:
    size = {"bytes": path.stat().st_size, "sha256": sha256_of(path)} if path.is_file() else {}
    return {"file": str(path), **size, "format": format}


def _weights(tensors: Mapping[str, LazyTensor | Layout]) -> str:
    counts = Counter(tensor.dtype for tensor in tensors.values())
    return f"{len(tensors)} tensors, {' and '.join(f'{count} {dtype}' for dtype, count in counts.items())}"


def _network(net: Preconditioned, low: float, high: float) -> dict[str, Any]:
    """What the network is; it has no storage."""
    steps = getattr(net, "levels", None)
    arguments = {name: value for name, value in to_json(net.config).items() if name not in Formulas._fields}
    return {
        "architecture": arguments.pop("model_type"),
        "preconditioning": net.kind,
        "coefficients": net.formulas._asdict(),
        "images": list(net.shape),
        "classes": net.label_dim,
        "sigma_min": low,
        "sigma_max": "inf" if high == float("inf") else high,
        **({"noise levels": len(steps)} if steps is not None else {}),
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "arguments": arguments,
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
