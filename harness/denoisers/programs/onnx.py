"""ONNX models, run by onnxruntime: what they take, and how they are opened.

A model is a graph of onnxruntime's own operators; it holds no Python. It is read from memory, so a model whose weights
lie in other files, which a hash does not cover, is refused.

    pip install diffusion-harness[onnx]
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import InputError
from harness.denoisers.programs.signature import Axis, Signature, Value
from harness.denoisers.programs.trusted import last_line, read_trusted

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


class OnnxNetwork:
    """A model as a function of tensors. It gives no derivatives.

    Args:
        session: of onnxruntime.
        device: where its results are expected.
    """

    def __init__(self, session: Any, device: "torch.device") -> None:
        self.session, self.device = session, device
        self.names = [value.name for value in session.get_inputs()]

    def __call__(self, *inputs: "Tensor") -> "Tensor":
        import torch

        if torch.is_grad_enabled() and any(value.requires_grad for value in inputs):
            raise InputError("onnxruntime gives no derivatives of a network; export it with torch.export for those")
        given = {name: value.detach().cpu().numpy() for name, value in zip(self.names, inputs, strict=True)}
        (output,) = self.session.run(None, given)
        return torch.from_numpy(output).to(self.device)


def load_onnx(path: Path, sha256: str, device: "torch.device") -> OnnxNetwork:
    """An ONNX model on a device: CUDA where onnxruntime has it, the CPU otherwise.

    Raises:
        InputError: another file than the one with this hash, no ONNX model, or onnxruntime is not installed.
    """
    content = read_trusted(path, sha256)
    return OnnxNetwork(_session(path, content, device.type), device)


def signature_of(path: Path, content: bytes) -> Signature:
    """What a model takes and gives; onnxruntime reads it, and runs none of it.

    Raises:
        InputError: no ONNX model, or onnxruntime is not installed.
    """
    return signature_of_session(_session(path, content, "cpu", only_read=True))


def signature_of_session(session: Any) -> Signature:
    """What an opened model takes and gives."""
    return Signature(tuple(map(_value, session.get_inputs())), tuple(map(_value, session.get_outputs())))


def _value(given: Any) -> Value:
    shape = tuple(side if isinstance(side, int) else Axis(side or "any") for side in given.shape)
    return Value(given.name, TYPES.get(given.type, given.type), shape)


def _session(path: Path, content: bytes, device: str, only_read: bool = False) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{path}: ONNX models are run by onnxruntime, which is not installed; install it: "
            "pip install 'diffusion-harness[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    if only_read:  # optimizing evaluates what is constant in the graph
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = ["CUDAExecutionProvider"] * (device == "cuda") + ["CPUExecutionProvider"]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(content, sess_options=options, providers=providers)
    except Exception as error:  # classes of onnxruntime's own, of no common base but Exception
        reason = last_line(error)
        hint = "; save its weights within the file" if "external" in str(error).lower() else ""
        raise InputError(f"{path}: not an ONNX model that can be opened ({reason}){hint}") from None
