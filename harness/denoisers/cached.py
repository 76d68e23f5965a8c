"""A denoiser with a cache of recent evaluations.

Trials on the same seeds evaluate the same points as long as their samplers agree: those that add noise only below some
level share the trajectory down to it. Their inputs are then equal bit by bit, and so are the outputs.
"""

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor

from harness.sampling.conditions import Condition
from harness.sampling.denoiser import (
    Denoiser,
    cost_at,
    data_range,
    needs_class,
    null_class,
    takes_conditions,
    takes_infinity,
)

LIMITS = {"cpu": 2**28, "cuda": 2**32}
"""Bytes of outputs that are kept on a device; the least recently used go first."""

SUMS = 4
"""Words of 64 bits that stand for a row on a GPU."""


class Delegate:
    """All that a denoiser says of itself, for one that stands before it.

    Args:
        main: the denoiser.
    """

    def __init__(self, main: Denoiser) -> None:
        self.main = main
        self.shape, self.label_dim, self.cost = main.shape, main.label_dim, main.cost
        self.sigma_min, self.sigma_max = main.sigma_min, main.sigma_max
        self.null_class, self.needs_class = null_class(main), needs_class(main)
        self.takes_infinity = takes_infinity(main)
        self.data_range, self.conditional = data_range(main), takes_conditions(main)

    @property
    def dtype(self) -> torch.dtype:
        """Of D."""
        return self.main.dtype

    @property
    def device(self) -> torch.device:
        """Where x is expected."""
        return self.main.device

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The levels that the model was trained at."""
        return self.main.round_sigma(sigma)

    def cost_at(self, sigma: Tensor) -> Tensor:
        """Network evaluations of one row."""
        return cost_at(self.main, sigma)


class Outputs:
    """Recent outputs of a denoiser by what it was asked.

    Args:
        device: type of the device where they are.
        limit: bytes of outputs to keep; None for what suits the device.

    Attributes:
        size: bytes that are kept.
    """

    def __init__(self, device: str, limit: int | None = None) -> None:
        self.limit = LIMITS.get(device, 2**28) if limit is None else limit
        self.size = 0
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def get(self, key: bytes) -> Tensor | None:
        """A copy of an output; None if it is not kept."""
        output = self._kept.get(key)
        if output is None:
            return None
        self._kept.move_to_end(key)
        return output.clone()

    def put(self, key: bytes, output: Tensor) -> None:
        """Keep an output, which nobody else may change."""
        self._kept[key] = output
        self.size += output.nbytes
        while self.size > self.limit:
            _, oldest = self._kept.popitem(last=False)
            self.size -= oldest.nbytes


class CachedDenoiser(Delegate):
    """A denoiser whose recent outputs are kept, on its device.

    Args:
        main: the denoiser.
        limit: bytes of outputs to keep; None for what suits the device.

    Attributes:
        saved: network evaluations that the cache spared.
        outputs: what is kept.
    """

    def __init__(self, main: Denoiser, limit: int | None = None) -> None:
        super().__init__(main)
        self.saved, self.outputs = 0, Outputs(main.device.type, limit)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Condition | None = None) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:  # a cached output has no graph to this x
            return self.main(x, sigma, labels)
        key = key_of(x, sigma, labels)
        cached = self.outputs.get(key)
        if cached is not None:
            self.saved += int(cost_at(self.main, sigma).max()) * len(x)
            return cached
        denoised = self.main(x, sigma, labels)
        self.outputs.put(key, denoised.clone())
        return denoised


def key_of(x: Tensor, sigma: Tensor, labels: Condition | None) -> bytes:
    """What a denoiser is asked, as a word: for equal words it answers the same."""
    digest = hashlib.blake2b(digest_size=16)
    parts = labels.values() if isinstance(labels, dict) else (labels,)
    for part in (x, sigma, *parts):
        if part is None or isinstance(part, list):
            digest.update(repr(part).encode())
        else:
            digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
            part = part.detach() if part.device.type == "cpu" else sums_of_rows(part.detach())
            digest.update(part.contiguous().numpy().tobytes())
    return digest.digest()


def sums_of_rows(values: Tensor) -> Tensor:
    """What stands for each row of a tensor, int64 [rows, SUMS] on the CPU, without a copy of the tensor.

    The words of a row, of 16 bits, times random odd numbers, added up modulo 2^64: rows that differ have other sums but
    once in 2^48 at most for each of the sums (Carter & Wegman 1979, doi 10.1016/0022-0000(79)90044-8, for the method).
    """
    rows = values.reshape(len(values) if values.ndim else 1, -1).contiguous().view(torch.int16).to(torch.int64)
    generator = torch.Generator().manual_seed(0)
    low = torch.iinfo(torch.int64).min
    factors = torch.randint(low, -low - 1, (SUMS, rows.shape[1]), generator=generator, dtype=torch.int64) | 1
    return torch.stack([(rows * each).sum(1) for each in factors.to(rows.device)], 1).cpu()
