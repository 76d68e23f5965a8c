"""TorchScript modules: what they take, and how they are opened.

TorchScript is a language of its own, and its interpreter knows tensor operators, not Python. Two of its operators touch
files, `torch.save` and `torch.from_file`, and some reach other processes; a module that names one needs permission.
What a module takes is read from its source, which is in the file.
"""

import re
import warnings
import zipfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import InputError
from harness.core.text import last_line
from harness.denoisers.programs.program_file import ProgramFile
from harness.denoisers.programs.signature import Signature, Value
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


class ScriptModuleFile(ProgramFile):
    """A TorchScript module. Its file holds names and kinds of inputs, and neither shapes nor types of numbers.

    It is loaded in evaluation mode. From torch 2.13 on loading one warns; that is kept quiet here alone.
    """

    format: ClassVar[str] = "TorchScript module"

    @cached_property
    def signature(self) -> Signature:
        found = ROOT.search(self._archive.read("data.pkl"))
        root = ".".join(part.decode() for part in found.groups() if part) if found else ""
        for name, source in self._sources.items():
            for match in FORWARD.finditer(source) if name.endswith(".py") else ():
                if match[1] == root:
                    return Signature(tuple(map(_input, _arguments(match[2]))), (_output(match[3]),))
        raise InputError(f"{self.path}: its source has no `forward` for '{root}'; save a module that has one")

    @property
    def payload(self) -> str:
        found = next(filter(None, map(REACHING.search, self._sources.values())), None)
        return f"'{found[0]}', which reaches beyond tensors," if found else ""

    def _load(self, device: "str | torch.device") -> Any:
        import torch

        # torch reads what was read here: a zip file can be made so that two readers see two contents
        given = zipped_anew((name, self._archive.read(name)) for name in self._archive.names)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*torch.jit.*")
                return torch.jit.load(given, map_location=device).eval()
        except RuntimeError as error:
            raise InputError(f"{self.path}: not a TorchScript module ({last_line(error)})") from None

    def signature_of(self, loaded: Any) -> Signature:
        """The signature with x of the type of the module's first parameter; its t may be any number."""
        dtypes = [parameter.dtype for parameter in loaded.parameters() if parameter.is_floating_point()]
        x, *rest = self.signature.inputs
        x = x._replace(dtype=str(dtypes[0] if dtypes else "float32").removeprefix("torch."))
        return self.signature._replace(inputs=(x, *(value._replace(dtype="") for value in rest)))

    @cached_property
    def _archive(self) -> Zipped:
        try:
            archive = Zipped(self.path, self.content)
        except InputError:
            raise InputError(f"{self.path}: not a TorchScript module (no whole zip file); check the path") from None
        if archive.is_flat or MARK not in archive.names:
            raise InputError(
                f"{self.path}: not a TorchScript module; a checkpoint of weights alone has no network in it: give its "
                "program, or a Python factory"
            )
        return archive

    @cached_property
    def _sources(self) -> dict[str, str]:
        """Source, and what lies beside it, by place."""
        names = [name for name in self._archive.names if name.startswith("code/")]
        return {name: self._archive.read(name).decode(errors="replace") for name in names}


def is_torchscript(path: Path) -> bool:
    """Whether a file is TorchScript, and no checkpoint of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/{MARK}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


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
