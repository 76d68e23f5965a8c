"""DINOv2 as a feature network: the class token of a vision transformer trained without labels.

Images become values in [0, 1], are resized to 224 x 224 (bicubic, with antialiasing), and are normalised by the mean
and standard deviation of ImageNet (Oquab et al. 2023, arXiv 2304.07193; for comparing generators, Stein et al. 2023,
arXiv 2306.04675, and Karras et al. 2024, arXiv 2312.02696, use the large model's 1024 features). The network is that
of the library `transformers`, with weights from a folder on this machine: `config.json` and `model.safetensors`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.core.errors import InputError
from harness.metrics.features.extractor import Extractor, Outputs

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class DinoFeatures(Extractor):
    """The class token [N, d] after the last layer norm.

    Args:
        network: a `Dinov2Model`.
        id: identity.
        device: where it computes.
    """

    def __init__(self, network: Any, id: str, device: str | torch.device = "cpu") -> None:
        super().__init__(id, network.config.hidden_size, 0, 3, device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.mean = torch.tensor(MEAN, device=self.device)[:, None, None]
        self.std = torch.tensor(STD, device=self.device)[:, None, None]

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The class token."""
        values = functional.interpolate(seen.float() / 255, (SIZE, SIZE), mode="bicubic", antialias=True)
        tokens = self.network((values - self.mean) / self.std)
        return Outputs(tokens.last_hidden_state[:, 0])


def load_dinov2(folder: Path, id: str, device: str | torch.device = "cpu") -> DinoFeatures:
    """The extractor from a folder; nothing is downloaded.

    Raises:
        InputError: `transformers` is not installed, or the folder holds no such model.
    """
    from safetensors import SafetensorError

    try:
        from transformers import Dinov2Model
    except ImportError:
        raise InputError("extractor 'dinov2' needs `transformers`; pip install 'diffusion-harness[dinov2]'") from None
    try:
        network = Dinov2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a folder of DINOv2 ({str(error).splitlines()[0][:200]})") from None
    return DinoFeatures(network, id, device)
