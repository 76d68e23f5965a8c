"""ONNX models, run by onnxruntime: what they take, and how they are opened.

A model is a graph of onnxruntime's own operators; it holds no Python. It is read from memory, so a model whose weights
lie in other files, which a hash does not cover, is refused.

    pip install diffusion-harness[onnx]
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import InputError
from harness.core.text import last_line
from harness.denoisers.programs.program_file import ProgramFile
from harness.denoisers.programs.signature import Axis, Signature, Value

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


class OnnxFile(ProgramFile):
    """An ONNX model, of which one session is made; on CUDA where onnxruntime has that, on the CPU otherwise."""

    format: ClassVar[str] = "ONNX model"

    @cached_property
    def signature(self) -> Signature:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        return Signature(tuple(map(_value, inputs)), tuple(map(_value, outputs)))

    @property
    def payload(self) -> str:
        return ""

    def _load(self, device: "str | torch.device") -> OnnxNetwork:
        import torch

        return OnnxNetwork(self._session, torch.device(device))

    def signature_of(self, loaded: Any) -> Signature:
        return self.signature

    @cached_property
    def _session(self) -> Any:
        """The model as onnxruntime opens it.

        Raises:
            InputError: no ONNX model, or onnxruntime is not installed.
        """
        try:
            import onnxruntime
        except ImportError:
            raise InputError(
                f"{self.path}: ONNX models are run by onnxruntime, which is not installed; install it: "
                "pip install 'diffusion-harness[onnx]'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions
        if self.device is None:  # optimizing evaluates what is constant in the graph, and here nothing is run
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        wanted = ["CUDAExecutionProvider"] * str(self.device).startswith("cuda") + ["CPUExecutionProvider"]
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            return onnxruntime.InferenceSession(self.content, sess_options=options, providers=providers)
        except Exception as error:  # classes of onnxruntime's own, of no common base but Exception
            reason = last_line(error)
            hint = "; save its weights within the file" if "external" in str(error).lower() else ""
            raise InputError(f"{self.path}: not an ONNX model that can be opened ({reason}){hint}") from None


def _value(given: Any) -> Value:
    shape = tuple(side if isinstance(side, int) else Axis(side or "any") for side in given.shape)
    return Value(given.name, TYPES.get(given.type, given.type), shape)
