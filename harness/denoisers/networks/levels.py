"""What both U-Nets share about their levels of resolution and their labels."""

import torch
from torch import Tensor


def resolutions(finest: int, levels: int) -> list[int]:
    """Side in pixels of every level: finest, finest / 2, finest / 4, ..."""
    return [finest >> level for level in range(levels)]


def check_resolution(finest: int, levels: int) -> None:
    """Raises ValueError unless every level but the last can be halved exactly."""
    if levels < 1:
        raise ValueError("channel_mult needs at least one level; we got none")
    factor = 2 ** (levels - 1)
    if finest < factor or finest % factor:
        raise ValueError(
            f"img_resolution {finest} cannot be halved {levels - 1} times; use a multiple of {factor}, or fewer levels "
            "in channel_mult"
        )


def keep_labels(labels: Tensor, dropout: float) -> Tensor:
    """Labels [B, label_dim] with each row zeroed with probability `dropout` (Ho & Salimans 2022)."""
    if not dropout:
        return labels
    return labels * (torch.rand(len(labels), 1, device=labels.device) >= dropout)
