"""A user's network that is a program in a file: `torch.export` (.pt2), TorchScript (.pt, .ts), ONNX (.onnx).

    {kind: exported, path: net.pt2, predicts: noise, betas: linear, shape: [3, 32, 32]}

The file holds the network whole, so its code needs not be there. It is known by its hash; where `sha256` is given, the
file must have that one. See `harness.denoisers.programs` for how a file is opened without running Python of its own.

It computes in the types that it was exported with, so `dtype` is refused: types stand in the program as constants too,
and casting its weights would not change those. With `conditional: true` its third input is a tensor, such as an
embedding; texts and dicts of tensors do not fit a file.

Importing this module loads no torch.
"""

from abc import ABC
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.core.text import last_line
from harness.denoisers.own_network import OwnNetworkSpec
from harness.denoisers.programs.onnx import OnnxFile
from harness.denoisers.programs.program_file import ProgramFile
from harness.denoisers.programs.pt2 import ExportedProgramFile
from harness.denoisers.programs.signature import Signature
from harness.denoisers.programs.torchscript import ScriptModuleFile
from harness.hub.cards import Digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.denoisers.wrapped_network import WrappedNetwork
    from harness.sampling.conditions import Condition
    from harness.sampling.denoiser import Denoiser

FORMATS: dict[str, type[ProgramFile]] = {
    ".pt2": ExportedProgramFile,
    ".pt": ScriptModuleFile,
    ".ts": ScriptModuleFile,
    ".onnx": OnnxFile,
}
"""What a file is, by the end of its name."""


class ExportedSpec(OwnNetworkSpec):
    """A network in a file of torch.export, TorchScript or ONNX.

    Args:
        path: the file, relative to the working directory.
        sha256: the hash that it must have; without it the denoiser is another one whenever the file changes.
    """

    dtypes: ClassVar[tuple[str, ...]] = ()

    kind: Literal["exported"] = "exported"
    path: Annotated[str, Field(min_length=1)]
    sha256: Digest | None = None

    @property
    def title(self) -> str:
        return f"the network in {self.path}"

    @property
    def identity(self) -> str:
        """The file's hash and the convention; not where the file lies."""
        return self.canonical(path="", sha256=self._checked_sha256())

    def network(self, device: "torch.device", dtype: "torch.dtype | None") -> "PlainProgram | ConditionalProgram":
        program = read_program(Path(self.path), self.sha256, device)
        program.signature.check(self.path, self.shape, self.label_dim, self.conditional)
        return open_exported(program)

    def build(
        self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None"
    ) -> "WrappedNetwork":
        if dtype is not None:
            raise InputError(f"{self.path}: a program computes in the types that it was exported with; leave dtype out")
        program = self.network(device, None)
        return self.wrapped(program, device, program.dtype)

    def _checked_sha256(self) -> str:
        _format_of(Path(self.path))
        actual = sha256_of(Path(self.path))
        if self.sha256 not in (None, actual):
            raise InputError(
                f"{self.path}: SHA-256 is {actual}, not {self.sha256}; get the file that was named, or change sha256"
            )
        return actual


def read_program(path: Path, sha256: str | None = None, device: "torch.device | str | None" = None) -> ProgramFile:
    """The program in a file, which is read here and not again.

    Args:
        path: file whose name ends in .pt2, .pt, .ts or .onnx.
        sha256: the hash that it must have; None for any.
        device: where it is to compute; None for a file that is described and not opened.

    Raises:
        InputError: another file than the one with this hash, one that cannot be read, or a name of another kind.
    """
    return _format_of(path).read(path, sha256, device)


def open_exported(program: ProgramFile) -> "PlainProgram | ConditionalProgram":
    """The network in a file, as a function f(x, t) or f(x, t, condition).

    Inputs are converted to the types that the program takes. A time with a fraction is not converted to a whole one. A
    batch that is larger than the program takes is computed in parts.

    Raises:
        InputError: a damaged file, one of another kind, or one that holds code and no permission.
    """
    inputs = program.signature.inputs
    loaded = program.load()
    made = ConditionalProgram if len(inputs) == 3 else PlainProgram
    return made(loaded, program.signature_of(loaded), str(program.path))


def _format_of(path: Path) -> type[ProgramFile]:
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise InputError(f"{path}: a program is a file {', '.join(FORMATS)}; export the network with torch.export")
    return known


class Program(ABC):  # noqa: B024  # the two below differ in what they are called with
    """A program as a function of as many arguments as it has inputs, which get the types that it takes.

    Args:
        program: what was opened.
        signature: what it takes and gives.
        where: the file, for messages.

    Attributes:
        dtype: of the denoiser around it: float64 if its x is that, float32 otherwise, also where x has half precision.
    """

    def __init__(self, program: Callable[..., Any], signature: Signature, where: str) -> None:
        import torch

        known = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64")}
        self.program, self.where = program, where
        self.dtypes: list[torch.dtype | None] = [known.get(value.dtype) for value in signature.inputs]
        self.dtype = torch.float64 if self.dtypes[0] == torch.float64 else torch.float32
        self.largest_batch = signature.largest_batch

    def call(self, *inputs: "Tensor") -> Any:
        """What the program gives; a batch that is larger than it takes in parts.

        Raises:
            InputError: the program fails, or takes whole numbers and is given fractions.
        """
        import torch

        from harness.sampling.conditions import take

        rows, largest = len(inputs[0]), self.largest_batch
        if largest is not None and rows > largest:
            parts = [slice(start, start + largest) for start in range(0, rows, largest)]
            return torch.cat([self.call(*(take(value, part) for value in inputs)) for part in parts])
        given = [_converted(value, dtype, self.dtypes[0]) for value, dtype in zip(inputs, self.dtypes, strict=True)]
        try:
            return self.program(*given)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # somebody else's program: anything may come
            raise InputError(f"{self.where}: the network failed on a batch ({last_line(error)})") from None


class PlainProgram(Program):
    """A program of (x, t)."""

    def __call__(self, x: "Tensor", t: "Tensor") -> Any:
        return self.call(x, t)


class ConditionalProgram(Program):
    """A program of (x, t, condition)."""

    def __call__(self, x: "Tensor", t: "Tensor", condition: "Condition | None") -> Any:
        import torch

        if not isinstance(condition, torch.Tensor):
            told = "none" if condition is None else "texts" if isinstance(condition, list) else "a dict"
            raise InputError(
                f"{self.where}: a network in a file takes one tensor as its condition, and we got {told}; give "
                "conditions of one array, .npy or .npz, such as the embeddings of texts"
            )
        return self.call(x, t, condition)


def _converted(value: "Tensor", dtype: "torch.dtype | None", floating: "torch.dtype | None") -> "Tensor":
    """An input in the program's type; where that is not known, fractions have the type of x.

    Raises:
        InputError: fractions for an input that takes whole numbers.
    """
    wanted = dtype or (floating if value.is_floating_point() else value.dtype)
    if wanted is None or value.dtype == wanted:
        return value
    if value.is_floating_point() and not wanted.is_floating_point:
        raise InputError(
            f"the network takes whole numbers ({str(wanted).removeprefix('torch.')}) where it is given fractions; a "
            "time step needs `betas` with between: nearest, a class needs classes: index"
        )
    return value.to(wanted)
