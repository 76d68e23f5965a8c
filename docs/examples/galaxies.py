"""A third party's score networks of galaxies, as a network of one's own."""

from importlib.metadata import files
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """Mixes the patches of each channel, then the channels of each patch."""

    def __init__(self, channels, patches, width):
        super().__init__()
        self.patches = nn.Sequential(nn.Linear(patches, width), nn.ReLU(), nn.Linear(width, patches))
        self.channels = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, channels))
        self.norms = nn.ModuleList([nn.LayerNorm([channels, patches]), nn.LayerNorm([patches, channels])])

    def forward(self, y):
        y = (y + self.patches(self.norms[0](y))).mT
        return (y + self.channels(self.norms[1](y))).mT


class ScoreNet(nn.Module):
    """The score of x_t = exp(-t/2) y + sqrt(1 - exp(-t)) n; t is a second channel."""

    def __init__(self, side, channels=64, patch=4, width=512, blocks=4):
        super().__init__()
        patches = (side // patch) ** 2
        self.conv_in = nn.Conv2d(2, channels, patch, patch)
        self.conv_out = nn.ConvTranspose2d(channels, 1, patch, patch)
        self.blocks = nn.Sequential(*(Block(channels, patches, width) for _ in range(blocks)))
        self.norm = nn.LayerNorm([channels, patches])

    def forward(self, x, sigma):
        t = torch.log1p(sigma**2).reshape(-1, 1, 1, 1).expand_as(x)  # sigma = sqrt(exp(t) - 1)
        y = self.conv_in(torch.cat([x, t / 10], 1))
        return self.conv_out(self.norm(self.blocks(y.flatten(2))).unflatten(2, y.shape[2:]))


def make(name="hsc_ScoreNet32", side=32):
    """The network of a file of package galaxygrad: plain `.npy` records, one after the other."""
    net = ScoreNet(side)
    (path,) = [file.locate() for file in files("galaxygrad") if file.name == f"eqx_{name}.eqx"]
    with Path(path).open("rb") as file:
        for parameter in net.parameters():
            record = torch.from_numpy(np.load(file, allow_pickle=False))
            parameter.data = record.reshape(parameter.shape)
    net.conv_out.weight.data = net.conv_out.weight.data.flip(2, 3)  # its program slides this kernel the other way
    return net
