"""Features of 8x8 digits: the last hidden layer of a small classifier, in the part that Inception has in FID.

An image first becomes bytes, as when it is written to a PNG file: trunc(clip(127.5 x + 128, 0, 255)), then back to
byte / 127.5 - 1. So an image and its PNG have the same features. The features are 64 numbers in (-1, 1) (tanh), from
float32 arithmetic; moments are to be summed in float64.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from torch import Tensor, nn

from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.metrics.features.extractor import Extractor, Outputs

FORMAT = "harness-digit-features-1"


def to_bytes_and_back(images: Tensor) -> Tensor:
    """Values as a PNG file would keep them: 256 levels from -1 to 1. Any shape, result float32; NaN stays NaN."""
    return (images.float() * 127.5 + 128).clamp(0, 255).trunc() / 127.5 - 1


class DigitClassifier(nn.Module):
    """Three 3x3 convolutions, a hidden layer with tanh, and a linear layer to the classes.

    Args:
        channels: channels of the convolutions; the last has twice as many.
        width: number of features, the hidden layer's width.
        classes: number of classes.
    """

    def __init__(self, channels: int = 32, width: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.config = {"channels": channels, "width": width, "classes": classes}
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Linear(2 * channels * 4, width)
        self.head = nn.Linear(width, classes)

    def hidden_layer(self, images: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] in [-1, 1] to the hidden layer before tanh, [N, width] float32."""
        return self.hidden(self.body(to_bytes_and_back(images)))

    def features(self, images: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] in [-1, 1] to features [N, width] float32 in (-1, 1)."""
        return self.hidden_layer(images).tanh()

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 1, 8, 8] to logits [N, classes]."""
        return self.head(self.features(images))


class DigitFeatures(Extractor):
    """The classifier's hidden layer as an extractor: images [N, 1, 8, 8] in, [N, width] float64 out.

    Args:
        network: the trained classifier.
        digest: SHA-256 of the file it came from, in hex.
        facts: what the file's header says of the training, such as `test_accuracy`.
    """

    def __init__(self, network: DigitClassifier, digest: str, facts: dict[str, object]) -> None:
        self.network = network.eval().requires_grad_(False)
        width, device = network.config["width"], network.head.weight.device
        super().__init__(f"digits-features:{digest[:12]}:tanh{width}", width, network.config["classes"], 1, device)
        self.facts = facts

    def seen(self, images: Tensor) -> Tensor:
        """Bytes [N, 1, 8, 8]; other shapes are refused."""
        if images.ndim != 4 or tuple(images.shape[1:]) != (1, 8, 8):
            raise InputError(f"digit features need images of shape [N, 1, 8, 8]; we got {list(images.shape)}")
        return super().seen(images)

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The hidden layer, and the classifier's softmax."""
        features = self.network.features(from_bytes(seen))
        return Outputs(features, self.network.head(features).double().softmax(1) if probabilities else None)


def load_digit_features(path: str | Path, device: str | torch.device = "cpu") -> DigitFeatures:
    """Read the extractor from a safetensors file made by the recipe `digits-features`.

    Raises:
        InputError: missing file, not safetensors, or another network's weights.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror or error}); check the path") from None
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None
    if header.get("format") != FORMAT:
        raise InputError(
            f"{path}: holds no digit features (its format is {header.get('format')!r}, not {FORMAT!r}); "
            "train it with the recipe digits-features"
        )
    try:
        network = DigitClassifier(**json.loads(header["config"]))
        network.load_state_dict(load_tensors(raw))
        facts = json.loads(header.get("facts", "{}"))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: damaged file of digit features ({error}); train it again") from None
    return DigitFeatures(network.to(device), hashlib.sha256(raw).hexdigest(), facts)
