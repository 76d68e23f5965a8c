"""TorchScript modules: what they take, and how they are opened.

TorchScript is a language of its own, and its interpreter knows tensor operators, not Python. Two of its operators touch
files, `torch.save` and `torch.from_file`, and some reach other processes; a module that names one needs permission.
What a module takes is read from its source, which is in the file.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.code import require_permission
from harness.core.errors import InputError
from harness.denoisers.programs.signature import Signature, Value
from harness.denoisers.programs.trusted import last_line, read_trusted
from harness.denoisers.programs.zipped import Zipped, zipped_anew

if TYPE_CHECKING:
    import torch

MARK = "constants.pkl"
"""The member that TorchScript has, and a checkpoint of torch.save has not."""

REACHING = re.compile(
    r"\btorch\.(save|from_file)\b|\bops\.(aten\.(save|from_file)|prim\.(PythonOp|rpc_\w+)|c10d\w*|_c10d\w*|debugprims"
    r"|rpc|symm_mem|inductor|profiler)\b|\brpc_\w+\(|\btorch\.classes\.dist_\w+"
)
"""Operators that reach beyond tensors: files, processes, other programs."""

FORWARD = re.compile(r"def forward\(\w+: __torch__\.([\w.]+),?\s*(.*?)\) -> (.+?):\s", re.DOTALL)
ROOT = re.compile(rb"c__torch__(?:\.([\w.]+))?\n(\w+)\n")
"""The first global of a module's pickle: the class of the module itself."""


def load_torchscript(path: Path, sha256: str, device: "str | torch.device") -> Any:
    """A TorchScript module, in evaluation mode. From torch 2.13 on loading one warns; that is kept quiet here alone.

    Raises:
        InputError: another file than the one with this hash, no TorchScript, or one that touches files, without
            permission.
    """
    import torch

    content = read_trusted(path, sha256)
    archive = _opened(path, content)
    for name in archive.names:
        if name.startswith("code/") and (found := REACHING.search(archive.read(name).decode(errors="replace"))):
            require_permission(f"{path}: '{found[0]}', which reaches beyond tensors,")
    # torch reads what was read here: a zip file can be made so that two readers see two contents
    given = zipped_anew({name: archive.read(name) for name in archive.names})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")
            return torch.jit.load(given, map_location=device).eval()
    except RuntimeError as error:
        raise InputError(f"{path}: not a TorchScript module ({last_line(error)})") from None


def is_torchscript(path: Path) -> bool:
    """Whether a file is TorchScript, and no checkpoint of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/{MARK}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def signature_of(path: Path, content: bytes) -> Signature:
    """What a module takes and gives, as far as its source says: names and kinds, no shapes. Runs nothing.

    Raises:
        InputError: no TorchScript, or a module without `forward`.
    """
    archive = _opened(path, content)
    found = ROOT.search(archive.read("data.pkl"))
    root = ".".join(part.decode() for part in found.groups() if part) if found else ""
    for name in archive.names:
        if name.startswith("code/") and name.endswith(".py"):
            for match in FORWARD.finditer(archive.read(name).decode(errors="replace")):
                if match[1] == root:
                    return Signature(tuple(map(_input, _arguments(match[2]))), (_output(match[3]),))
    raise InputError(f"{path}: its source has no `forward` for '{root}'; save a module that has one")


def _opened(path: Path, content: bytes) -> Zipped:
    try:
        archive = Zipped(path, content)
    except InputError:
        raise InputError(f"{path}: not a TorchScript module (no whole zip file); check the path") from None
    if archive.is_flat or MARK not in archive.names:
        raise InputError(
            f"{path}: not a TorchScript module; a checkpoint of weights alone has no network in it: give its program, "
            "or a Python factory"
        )
    return archive


def _arguments(text: str) -> list[str]:
    """Arguments of a function's source, split at the commas outside brackets."""
    parts, depth = [""], 0
    for letter in " ".join(text.split()):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _input(text: str) -> Value:
    name, _, kind = text.partition(":")
    return Value(name.strip(), kind.partition("=")[0].strip())


def _output(kind: str) -> Value:
    return Value("output", " ".join(kind.split()))
