"""Inception-v3 as FID has it: the network of 2015-12-05 with TensorFlow's padding, pooling and resizing.

Images of 0 to 255 are resized to 299 x 299 by bilinear interpolation between pixel corners, the output pixel i lying
at i * size / 299 of the input (as TensorFlow 1 does: neither half-pixel centres nor aligned corners), then become
(x - 128) / 128. The features are the 2048 channels of the last layer, averaged over 8 x 8 places; a linear layer gives
1008 logits. Against the network that classifiers use today: averages leave the padding out, and the last block pools
by maximum (Szegedy et al. 2016, arXiv 1512.00567; Heusel et al. 2017, arXiv 1706.08500).

The names of the weights are those of the converted file that torch-fidelity and pytorch-fid share.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.metrics.features.extractor import Extractor, Outputs

SIZE, WIDTH, CLASSES = 299, 2048, 1008

Unit = tuple[int, int, int | tuple[int, int], int]
"""Channels in and out, kernel, stride. What keeps the size is padded, a stride of 2 is not."""


class Convolution(nn.Module):
    """Convolution, batch normalisation with eps 1e-3, ReLU.

    Args:
        before, after: channels in and out.
        kernel: its size, one number or height and width.
        stride: of both axes.
        padded: whether zeros keep the size.
    """

    def __init__(
        self, before: int, after: int, kernel: int | tuple[int, int], stride: int = 1, padded: bool = True
    ) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, wide // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(before, after, (high, wide), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, before, H, W] to [N, after, H', W']."""
        return functional.relu(self.bn(self.conv(x)), inplace=True)


def average(x: Tensor) -> Tensor:
    """The mean of 3 x 3 neighbours, of those inside the image only."""
    return functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def greatest(x: Tensor) -> Tensor:
    """The maximum of 3 x 3 neighbours."""
    return functional.max_pool2d(x, 3, stride=1, padding=1)


def halve(x: Tensor) -> Tensor:
    """The maximum of 3 x 3 at every other place, without padding."""
    return functional.max_pool2d(x, 3, stride=2)


POOLS = {"average": average, "greatest": greatest, "halve": halve}
Step = str | tuple[str, str]


class Mixed(nn.Module):
    """Branches side by side, their channels joined.

    Args:
        units: convolutions by name.
        branches: of names of convolutions and pools, one after the other; a pair forks, and its two are joined.
    """

    def __init__(self, units: Mapping[str, Unit], branches: list[list[Step]]) -> None:
        super().__init__()
        for name, (before, after, kernel, stride) in units.items():
            self.add_module(name, Convolution(before, after, kernel, stride, padded=stride == 1))
        self.branches = branches

    def forward(self, x: Tensor) -> Tensor:
        """x [N, C, H, W] to the joined branches."""
        return torch.cat([self._along(branch, x) for branch in self.branches], 1)

    def _along(self, branch: list[Step], x: Tensor) -> Tensor:
        for step in branch:
            x = torch.cat([self._one(name, x) for name in step], 1) if isinstance(step, tuple) else self._one(step, x)
        return x

    def _one(self, name: str, x: Tensor) -> Tensor:
        return POOLS[name](x) if name in POOLS else self.get_submodule(name)(x)


def _mixed_35(before: int, pooled: int) -> Mixed:
    """At 35 x 35 places."""
    units: dict[str, Unit] = {
        "branch1x1": (before, 64, 1, 1),
        "branch5x5_1": (before, 48, 1, 1),
        "branch5x5_2": (48, 64, 5, 1),
        "branch3x3dbl_1": (before, 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 1),
        "branch3x3dbl_3": (96, 96, 3, 1),
        "branch_pool": (before, pooled, 1, 1),
    }
    double: list[Step] = ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
    return Mixed(units, [["branch1x1"], ["branch5x5_1", "branch5x5_2"], double, ["average", "branch_pool"]])


def _to_17() -> Mixed:
    """From 35 x 35 places to 17 x 17."""
    units: dict[str, Unit] = {
        "branch3x3": (288, 384, 3, 2),
        "branch3x3dbl_1": (288, 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 1),
        "branch3x3dbl_3": (96, 96, 3, 2),
    }
    return Mixed(units, [["branch3x3"], ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"], ["halve"]])


def _mixed_17(within: int) -> Mixed:
    """At 17 x 17 places; 7 x 7 kernels as a row and a column."""
    row, column = (1, 7), (7, 1)
    units: dict[str, Unit] = {
        "branch1x1": (768, 192, 1, 1),
        "branch7x7_1": (768, within, 1, 1),
        "branch7x7_2": (within, within, row, 1),
        "branch7x7_3": (within, 192, column, 1),
        "branch7x7dbl_1": (768, within, 1, 1),
        "branch7x7dbl_2": (within, within, column, 1),
        "branch7x7dbl_3": (within, within, row, 1),
        "branch7x7dbl_4": (within, within, column, 1),
        "branch7x7dbl_5": (within, 192, row, 1),
        "branch_pool": (768, 192, 1, 1),
    }
    single: list[Step] = [f"branch7x7_{index}" for index in (1, 2, 3)]
    double: list[Step] = [f"branch7x7dbl_{index}" for index in (1, 2, 3, 4, 5)]
    return Mixed(units, [["branch1x1"], single, double, ["average", "branch_pool"]])


def _to_8() -> Mixed:
    """From 17 x 17 places to 8 x 8."""
    units: dict[str, Unit] = {
        "branch3x3_1": (768, 192, 1, 1),
        "branch3x3_2": (192, 320, 3, 2),
        "branch7x7x3_1": (768, 192, 1, 1),
        "branch7x7x3_2": (192, 192, (1, 7), 1),
        "branch7x7x3_3": (192, 192, (7, 1), 1),
        "branch7x7x3_4": (192, 192, 3, 2),
    }
    long: list[Step] = [f"branch7x7x3_{index}" for index in (1, 2, 3, 4)]
    return Mixed(units, [["branch3x3_1", "branch3x3_2"], long, ["halve"]])


def _mixed_8(before: int, pool: str) -> Mixed:
    """At 8 x 8 places; the 3 x 3 kernels fork into a row and a column."""
    row, column = (1, 3), (3, 1)
    units: dict[str, Unit] = {
        "branch1x1": (before, 320, 1, 1),
        "branch3x3_1": (before, 384, 1, 1),
        "branch3x3_2a": (384, 384, row, 1),
        "branch3x3_2b": (384, 384, column, 1),
        "branch3x3dbl_1": (before, 448, 1, 1),
        "branch3x3dbl_2": (448, 384, 3, 1),
        "branch3x3dbl_3a": (384, 384, row, 1),
        "branch3x3dbl_3b": (384, 384, column, 1),
        "branch_pool": (before, 192, 1, 1),
    }
    single: list[Step] = ["branch3x3_1", ("branch3x3_2a", "branch3x3_2b")]
    double: list[Step] = ["branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")]
    return Mixed(units, [["branch1x1"], single, double, [pool, "branch_pool"]])


class InceptionV3(nn.Module):
    """The network: bytes as numbers [N, 3, H, W] from 0 to 255 to features [N, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2, padded=False)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b = _mixed_35(192, 32)
        self.Mixed_5c = _mixed_35(256, 64)
        self.Mixed_5d = _mixed_35(288, 64)
        self.Mixed_6a = _to_17()
        self.Mixed_6b = _mixed_17(128)
        self.Mixed_6c = _mixed_17(160)
        self.Mixed_6d = _mixed_17(160)
        self.Mixed_6e = _mixed_17(192)
        self.Mixed_7a = _to_8()
        self.Mixed_7b = _mixed_8(1280, "average")
        self.Mixed_7c = _mixed_8(2048, "greatest")
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """x [N, 3, H, W] from 0 to 255, any size, to features [N, 2048]."""
        x = (resize(x, SIZE) - 128) / 128
        x = halve(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))

    def logits(self, features: Tensor, bias: bool = True) -> Tensor:
        """Features [N, 2048] to logits [N, 1008]; without the bias in the Inception Score, as its authors have it."""
        return self.fc(features) if bias else features @ self.fc.weight.T


def resize(x: Tensor, size: int) -> Tensor:
    """Bilinear interpolation as TensorFlow 1 does it: x [N, C, H, W] to [N, C, size, size]."""
    return _along(_along(x, size, 2), size, 3)


def _along(x: Tensor, size: int, axis: int) -> Tensor:
    """One axis resized: the value at i * length / size, between its two neighbours; the last pixel stays to the end."""
    length = x.shape[axis]
    if length == size:
        return x
    place = torch.arange(size, dtype=torch.float32, device=x.device) * torch.tensor(length / size, dtype=torch.float32)
    first = place.long().clamp(max=length - 1)
    part = (place - first).to(x.dtype).reshape([-1 if index == axis else 1 for index in range(4)])
    low, high = x.index_select(axis, first), x.index_select(axis, (first + 1).clamp(max=length - 1))
    return torch.lerp(low, high, part)


class InceptionFeatures(Extractor):
    """The network as an extractor.

    Args:
        network: with its weights.
        id: identity.
        device: where it computes.
    """

    def __init__(self, network: InceptionV3, id: str, device: str | torch.device = "cpu") -> None:
        super().__init__(id, WIDTH, CLASSES, 3, device)
        form = torch.channels_last
        self.network = network.eval().requires_grad_(False).to(self.device, memory_format=form)  # type: ignore[call-overload]

    def of_bytes(self, seen: Tensor, probabilities: bool) -> Outputs:
        """The last layer, and the softmax of the logits without their bias."""
        features = self.network(seen.float().contiguous(memory_format=torch.channels_last))
        chances = self.network.logits(features, bias=False).double().softmax(1) if probabilities else None
        return Outputs(features, chances)


def inception_of(weights: Mapping[str, object], where: str) -> InceptionV3:
    """The network with weights as a file of torch.save has them, by name.

    Raises:
        InputError: names or shapes of another network; with the first that is wrong.
    """
    with torch.device("meta"):
        network = InceptionV3()
    wanted, named = network.state_dict(), {}
    for name, tensor in wanted.items():
        stored = weights.get(name)
        if stored is None and name.endswith("num_batches_tracked"):
            named[name] = torch.zeros((), dtype=torch.long)  # a count of training steps that nothing here looks at
            continue
        if not isinstance(stored, LazyTensor) or tuple(stored.shape) != tuple(tensor.shape):
            have = list(stored.shape) if isinstance(stored, LazyTensor) else "none"
            raise InputError(f"{where}: not the Inception-v3 of FID: '{name}' is {have}, not {list(tensor.shape)}")
        named[name] = torch.from_numpy(stored.read().copy()).to(tensor.dtype)
    network.load_state_dict(named, assign=True)
    return network
