"""Raw networks F(x; noise label, class, augmentation), by the name that a preconditioning calls them."""

from collections.abc import Callable

from torch import nn

from harness.denoisers.networks.dhariwal import DhariwalUNet
from harness.denoisers.networks.diffusers_unet import DiffusersUNet
from harness.denoisers.networks.openai import OpenAIUNet
from harness.denoisers.networks.song import SongUNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "SongUNet": SongUNet,
    "DhariwalUNet": DhariwalUNet,
    "OpenAIUNet": OpenAIUNet,
    "DiffusersUNet": DiffusersUNet,
}
"""DhariwalUNet: the ADM architecture of Dhariwal & Nichol 2021 as EDM has it; OpenAIUNet: as its authors have it."""
