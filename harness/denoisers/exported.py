"""A user's network that is a program in a file: `torch.export` (.pt2), TorchScript (.pt, .ts), ONNX (.onnx).

    {kind: exported, path: net.pt2, predicts: noise, betas: linear, shape: [3, 32, 32]}

The file holds the network whole, so its code needs not be there. It is known by its hash; where `sha256` is given, the
file must have that one. See `harness.denoisers.programs` for how a file is opened without running Python of its own.

Importing this module loads no torch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.denoisers.own_network import OwnNetworkSpec
from harness.denoisers.programs import onnx, pt2, torchscript
from harness.denoisers.programs.signature import Signature
from harness.denoisers.programs.trusted import last_line
from harness.hub.cards import Digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.denoisers.wrapped_network import Network

SUFFIXES = {".pt2": pt2, ".pt": torchscript, ".ts": torchscript, ".onnx": onnx}
"""What reads a file, by the end of its name."""


class ExportedSpec(OwnNetworkSpec):
    """A network in a file of torch.export, TorchScript or ONNX.

    Args:
        path: the file, relative to the working directory.
        sha256: the hash that it must have; without it the denoiser is another one whenever the file changes.
    """

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

    def network(self, device: "torch.device", dtype: "torch.dtype | None") -> "Network":
        path = Path(self.path)
        signature_of(path).check(self.path, self.shape, self.label_dim)
        return open_exported(path, self._checked_sha256(), device)

    def _checked_sha256(self) -> str:
        _module_for(Path(self.path))
        actual = sha256_of(Path(self.path))
        if self.sha256 not in (None, actual):
            raise InputError(
                f"{self.path}: SHA-256 is {actual}, not {self.sha256}; get the file that was named, or change sha256"
            )
        return actual


def signature_of(path: Path) -> Signature:
    """What a program takes and gives, as far as its file says; runs nothing.

    Raises:
        InputError: a file that is missing, damaged or of another kind, or onnxruntime is not installed.
    """
    module = _module_for(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    signature: Signature = module.signature_of(path, content)
    return signature


def open_exported(path: Path, sha256: str, device: "torch.device | str" = "cpu") -> "Network":
    """The network in a file, as a function f(x, t) or f(x, t, condition).

    Inputs are converted to the types that the program takes. A time with a fraction is not converted to a whole one. A
    batch that is larger than the program takes is computed in parts.

    Args:
        path: file whose name ends in .pt2, .pt, .ts or .onnx.
        sha256: the hash that it must have.
        device: where it computes.

    Raises:
        InputError: another file than the one with this hash, a damaged one, one of another kind, or one that holds code
            and no permission.
    """
    import torch

    place = torch.device(device)
    signature = signature_of(path)
    match path.suffix.lower():
        case ".pt2":
            program: Callable[..., Any] = pt2.load_exported(path, sha256, place)
        case ".onnx":
            program = onnx.load_onnx(path, sha256, place)
        case _:
            program = torchscript.load_torchscript(path, sha256, place)
            signature = _with_dtypes(signature, program)
    return _as_network(program, signature, str(path))


def _module_for(path: Path) -> Any:
    module = SUFFIXES.get(path.suffix.lower())
    if module is None:
        raise InputError(f"{path}: a program is a file {', '.join(SUFFIXES)}; export the network with torch.export")
    return module


def _with_dtypes(signature: Signature, module: Any) -> Signature:
    """The signature of a TorchScript module, whose x has the type of its first parameter; its t may be any number."""
    dtypes = [parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()]
    x = signature.inputs[0]._replace(dtype=str(dtypes[0] if dtypes else "float32").removeprefix("torch."))
    rest = tuple(value._replace(dtype="") for value in signature.inputs[1:])
    return signature._replace(inputs=(x, *rest))


def _as_network(program: Callable[..., Any], signature: Signature, where: str) -> "Network":
    """The program as a function of as many arguments as it has inputs, which get the types that it takes."""
    import torch

    known = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64", "int32", "int64")}
    dtypes = [known.get(value.dtype) for value in signature.inputs]
    largest = signature.largest_batch

    def called(*inputs: "Tensor") -> Any:
        if largest is not None and len(inputs[0]) > largest:
            return torch.cat([called(*part) for part in zip(*(value.split(largest) for value in inputs), strict=True)])
        given = [_converted(value, dtype, dtypes[0]) for value, dtype in zip(inputs, dtypes, strict=True)]
        try:
            return program(*given)
        except (InputError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # somebody else's program: anything may come
            raise InputError(f"{where}: the network failed on a batch ({last_line(error)})") from None

    def network(x: "Tensor", t: "Tensor") -> Any:
        return called(x, t)

    def conditional(x: "Tensor", t: "Tensor", condition: "Tensor") -> Any:
        return called(x, t, condition)

    return conditional if len(signature.inputs) == 3 else network


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
