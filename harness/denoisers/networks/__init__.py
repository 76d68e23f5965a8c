"""Raw networks F(x; noise label, class, augmentation), by the name that a preconditioning calls them."""

from collections.abc import Callable

from torch import nn

from harness.denoisers.networks.dhariwal import DhariwalUNet
from harness.denoisers.networks.song import SongUNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"SongUNet": SongUNet, "DhariwalUNet": DhariwalUNet}
