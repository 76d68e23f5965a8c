"""Feature networks that are programs in a file: TorchScript, and programs of torch.export.

Such a file is run only if its hash is the one on a card or the one that the user gave; see
`harness.denoisers.programs`.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.core.text import last_line
from harness.datasets.image_bytes import from_bytes
from harness.metrics.features.extractor import Extractor, Outputs

PROBE = 2
"""Images that a network is tried on, where nothing says how many features it has."""

Values = Literal["bytes", "unit", "float"]


class OfficialInception(Extractor):
    """A detector with the official call signature: `network(images, return_features=True)` on bytes [N, 3, H, W].

    Class probabilities come from a second call, `network(images, no_output_bias=True)`, where it takes that word.

    Args:
        network: the TorchScript module; it resizes and scales by itself.
        id: identity.
        width: features of an image.
        device: where it computes.
    """

    def __init__(self, network: Any, id: str, width: int, device: str | torch.device = "cpu") -> None:
        words = _words(network)
        if "return_features" not in words:
            raise InputError(
                f"extractor '{id}': the network takes {', '.join(words) or 'nothing'}, and the official one takes "
                "`return_features`; use kind 'torchscript' for other networks"
            )
        super().__init__(id, width, 1008 if "no_output_bias" in words else 0, 3, device)
        self.network = network

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The features, and the softmax without the bias of the last layer."""
        seen = seen.contiguous()
        features = _called(lambda: self.network(seen, return_features=True), self.id)
        chances = _called(lambda: self.network(seen, no_output_bias=True), self.id) if probabilities else None
        return Outputs(features, chances)


class ProgramFeatures(Extractor):
    """Anybody's network: one tensor of images in, features [N, d] out, flattened if they have more axes.

    Args:
        network: a callable.
        id: identity.
        values: what it takes: `bytes` (uint8), `unit` (the same as float32 in [-1, 1]), or `float` (float32, as it is).
        width: features of an image; None to find out by trying it on two images.
        shape: [channels, height, width] of the images that it is tried on; any shape where it takes any floats.
        channels: that it takes; None for any.
        device: where it computes.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        id: str,
        values: Values,
        width: int | None,
        shape: tuple[int, ...],
        channels: int | None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(id, width or 0, 0, channels, device, "floats" if values == "float" else "bytes")
        self.network, self.values = network, values
        if width is None:
            blank = torch.zeros(PROBE, channels or shape[0], *shape[1:], dtype=torch.uint8, device=self.device)
            with torch.no_grad():
                outputs = self.of_floats(blank) if values == "float" else self.of_bytes(blank, False)
            self.width = outputs.features.shape[1]

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The network's features."""
        given = seen.contiguous() if self.values == "bytes" else from_bytes(seen.contiguous())
        features = _called(lambda: self.network(given), self.id)
        return Outputs(features.flatten(1))

    def of_floats(self, seen: Tensor) -> Outputs:
        """The network's features of float32 numbers."""
        features = _called(lambda: self.network(seen.float().contiguous()), self.id)
        return Outputs(features.flatten(1))


def _words(network: Any) -> list[str]:
    """Names of what a network takes."""
    schema = getattr(getattr(network, "forward", None), "schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments if argument.name != "self"]
    return list(inspect.signature(network.forward).parameters)


def _called(call: Callable[[], Any], id: str) -> Tensor:
    """What a foreign network says, as a tensor of numbers.

    Raises:
        InputError: it fails, or says something else. Running out of memory is passed on.
    """
    try:
        result = call()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # it is somebody else's program: anything may come
        raise InputError(f"extractor '{id}' failed on a batch of images ({last_line(error)})") from None
    if not isinstance(result, Tensor) or result.ndim < 2 or not result.is_floating_point():
        what = f"{result.dtype} {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise InputError(f"extractor '{id}' should give a floating tensor [N, d]; we got {what}")
    return result
