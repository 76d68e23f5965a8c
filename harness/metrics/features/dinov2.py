"""DINOv2 as a feature network: the class token of a vision transformer trained without labels.

Images become values in [0, 1], are resized to 224 x 224 (bicubic, with antialiasing), and are normalised by the mean
and standard deviation of ImageNet (Oquab et al. 2023, arXiv 2304.07193; for comparing generators, Stein et al. 2023,
arXiv 2306.04675, and Karras et al. 2024, arXiv 2312.02696, use the large model's 1024 features). The network is that
of the library `transformers`, with weights from a folder on this machine: `config.json` and `model.safetensors`.

The networks were trained at 518 x 518, 37 x 37 patches, each with a position of its own. For 16 x 16 patches that table
is interpolated. The authors' code, which the published numbers are from, scales it by (16 + 0.1) / 37, so that patch i
of 16 reads it at (i + 1/2) 37 / 16.1 - 1/2; `transformers` scales it by 16 / 37, which reads it up to 0.27 of a place
further on.
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from harness.core.errors import InputError
from harness.metrics.features.extractor import Extractor, Outputs

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

OFFSET = 0.1
"""What the authors add to the number of patches a side, in the scale of the interpolation."""

Positions = Literal["official", "library"]


class DinoFeatures(Extractor):
    """The class token [N, d] after the last layer norm.

    Args:
        network: a `Dinov2Model`.
        id: identity.
        device: where it computes.
        positions: rule by which the table of positions is interpolated, see `DinoV2`.
    """

    def __init__(
        self, network: Any, id: str, device: str | torch.device = "cpu", positions: Positions = "official"
    ) -> None:
        super().__init__(id, network.config.hidden_size, 0, 3, device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.mean = torch.tensor(MEAN, device=self.device)[:, None, None]
        self.std = torch.tensor(STD, device=self.device)[:, None, None]
        if positions == "official":
            embeddings = self.network.embeddings
            table = official_positions(embeddings.position_embeddings, SIZE // embeddings.patch_size)
            embeddings.interpolate_pos_encoding = lambda *_: table

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The class token."""
        values = functional.interpolate(seen.float() / 255, (SIZE, SIZE), mode="bicubic", antialias=True)
        tokens = self.network((values - self.mean) / self.std)
        return Outputs(tokens.last_hidden_state[:, 0])


def official_positions(table: Tensor, side: int) -> Tensor:
    """The positions of side x side patches as the authors' code interpolates them.

    Args:
        table: [1, 1 + k^2, d], that of the class token first.
        side: patches a side.

    Returns:
        [1, 1 + side^2, d]; the table itself where k is the side.
    """
    own, width = table[:, :1], table.shape[-1]
    count = round((table.shape[1] - 1) ** 0.5)
    if count == side:
        return table
    grid = table[:, 1:].reshape(1, count, count, width).permute(0, 3, 1, 2)
    scale = (side + OFFSET) / count
    grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([own, grid.permute(0, 2, 3, 1).reshape(1, -1, width)], 1)


def load_dinov2(
    folder: Path, id: str, device: str | torch.device = "cpu", positions: Positions = "official"
) -> DinoFeatures:
    """The extractor from a folder; nothing is downloaded.

    Args:
        folder: with `config.json` and `model.safetensors`.
        id: identity.
        device: where it computes.
        positions: rule by which the table of positions is interpolated, see `DinoV2`.

    Raises:
        InputError: `transformers` is not installed, or the folder holds no such model, or one of another kind.
    """
    from safetensors import SafetensorError

    try:
        from transformers import Dinov2Model
        from transformers.utils import logging
    except ImportError:
        raise InputError("extractor 'dinov2' needs `transformers`; pip install 'diffusion-harness[dinov2]'") from None
    _check_kind(folder)
    logging.disable_progress_bar()  # of the library, which draws one over tensors
    try:
        network, told = Dinov2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: not a folder of DINOv2 ({str(error).splitlines()[0][:200]})") from None
    if missing := sorted(told["missing_keys"]):
        raise InputError(
            f"{folder}: the weights lack {len(missing)} of the network's tensors, '{missing[0]}' first, which would be "
            "random; copy the folder again"
        )
    return DinoFeatures(network, id, device, positions)


def _check_kind(folder: Path) -> None:
    """Refuse the configuration of another network, which the library would load as far as names agree.

    Raises:
        InputError: it is one.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        raise InputError(f"{folder}: not a folder of DINOv2 (config.json cannot be read)") from None
    if kind != "dinov2":
        raise InputError(f"{folder}: not a folder of DINOv2: config.json says model_type '{kind}'")
