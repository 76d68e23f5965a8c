"""Small networks in files, and files that would run code."""

import hashlib
import io
import json
import struct
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

VARIANCE = 0.25


class Eps(nn.Module):
    """The noise in x = y + sigma n, exactly, for y from N(0, VARIANCE): sigma x / (VARIANCE + sigma^2)."""

    def __init__(self) -> None:
        super().__init__()
        self.variance = nn.Parameter(torch.tensor([VARIANCE]))

    def forward(self, x, t):
        t = t.reshape([-1] + [1] * (x.ndim - 1))
        return t * x / (self.variance + t * t)


class Shifted(nn.Module):
    """The image is the class."""

    def forward(self, x, t, c):
        return x * 0 + c[:, None].to(x.dtype) + 0 * t[:, None]


class Embedded(nn.Module):
    """The image is the mean of the condition, [B, 4]."""

    def forward(self, x, t, c):
        return x * 0 + c.mean(1, keepdim=True) + 0 * t[:, None]


class Three(nn.Module):
    def forward(self, x, t, c, d):
        return x + t[:, None] + c[:, None] + d[:, None]


class Pair(nn.Module):
    def forward(self, x, t):
        return x + t[:, None], x


class Wide(nn.Module):
    def forward(self, x, t):
        return torch.cat([x, t[:, None]], 1)


def export(module, path, *inputs, dynamic=True, largest=4096):
    """Write a module as a program of torch.export; returns the file."""
    batch = {0: torch.export.Dim("batch", max=largest)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = tuple(batch for _ in inputs) if dynamic else None
        torch.export.save(torch.export.export(module.eval(), inputs, dynamic_shapes=shapes), path)
    return path


def script(module, path):
    """Write a module as TorchScript; returns the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.eval()), path)
    return path


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, trace) -> None:
        self.trace = str(trace)

    def __reduce__(self):
        return exec, (f"open({self.trace!r}, 'w').close()",)


def bomb_bytes(trace):
    """A pickle that writes a file, as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(Bomb(trace), buffer)
    return buffer.getvalue()


def changed(source, target, change):
    """A copy of a zip file whose members, by their place below its folder, `change` edits in place."""
    with zipfile.ZipFile(source) as archive:
        folder = archive.namelist()[0].partition("/")[0]
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{folder}/{name}", content)
    return target


def in_json(name, change):
    """A change of a member that is JSON."""

    def edit(members):
        value = json.loads(members[name])
        change(value)
        members[name] = json.dumps(value).encode()

    return edit


def in_graph(change):
    """A change of a program's graph."""
    return in_json("models/model.json", lambda program: change(program["graph_module"]["graph"]))


def onnx(path, fixed=None):
    """Write `Eps` on vectors of 3 numbers as an ONNX model, byte by byte; returns the file.

    Source: onnx.proto3 of the ONNX project; field numbers stand beside the names.
    """
    floating, whole = 1, 7

    def axis(side):
        return field(1, field(1, side) if isinstance(side, int) else field(2, side))  # dim: dim_value, dim_param

    def value(name, *sides):  # ValueInfoProto: name 1, type 2; tensor_type 1: elem_type 1, shape 2
        shape = b"".join(axis(side) for side in sides)
        return field(1, name) + field(2, field(1, field(1, floating) + field(2, shape)))

    def node(operator, inputs, output):  # NodeProto: input 1, output 2, op_type 4
        return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)

    def constant(name, sides, kind, numbers):  # TensorProto: dims 1, data_type 2, name 8, raw_data 9
        return b"".join(field(1, side) for side in sides) + field(2, kind) + field(8, name) + field(9, numbers)

    batch = fixed or "batch"
    nodes = [
        node("Unsqueeze", ["t", "one"], "column"),
        node("Mul", ["column", "column"], "square"),
        node("Add", ["square", "variance"], "total"),
        node("Mul", ["column", "x"], "product"),
        node("Div", ["product", "total"], "eps"),
    ]
    graph = b"".join(field(1, each) for each in nodes) + field(2, "net")
    graph += field(5, constant("one", [1], whole, struct.pack("<q", 1)))
    graph += field(5, constant("variance", [1], floating, struct.pack("<f", VARIANCE)))
    graph += field(11, value("x", batch, 3)) + field(11, value("t", batch)) + field(12, value("eps", batch, 3))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(2, 13)))  # ir_version, graph, opset_import
    return path


def field(number, value):
    """A field of a protobuf message: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])
