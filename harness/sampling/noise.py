"""Random numbers of a run: one generator per sample, so that no sample depends on which others are drawn with it.

The order of draws is the official one, so the same seeds give the images that users know: float32 latents first, then
a class index where the denoiser has classes, then one float64 normal per step of a stochastic sampler.
"""

import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.sampling.brownian import Brownian

MAX_SEED = 2**32 - 1
"""The official samplers cut seeds to 32 bits; a larger one would give the images of a smaller one again."""


def checked_seeds(seeds: Iterable[int]) -> list[int]:
    """Seeds as plain integers.

    Raises:
        InputError: none at all, or one that is no integer from 0 to 2^32 - 1.
    """
    checked = []
    for seed in seeds:
        try:
            checked.append(operator.index(seed))
        except TypeError:
            checked.append(-1)
        if not 0 <= checked[-1] <= MAX_SEED:
            raise InputError(f"seeds are integers from 0 to {MAX_SEED}; we got {seed}")
    if not checked:
        raise InputError("at least one seed is needed")
    return checked


class Noise:
    """The random streams of N samples.

    Args:
        seeds: N integers from 0 to 2^32 - 1; repeats allowed.
        shape: of one sample.
        device: where the draws are needed.
        noise_device: where they are made. "cpu" gives the same numbers on every machine, "cuda" the official stream of
            a GPU.

    Raises:
        InputError: no seeds, or one that is out of range.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        noise_device: torch.device | str = "cpu",
    ) -> None:
        self.shape, self.device, self.noise_device = (
            tuple(shape),
            torch.device(device),
            torch.device(noise_device),
        )
        self.seeds = checked_seeds(seeds)
        self._generators = [torch.Generator(self.noise_device).manual_seed(seed) for seed in self.seeds]

    def __len__(self) -> int:
        return len(self._generators)

    def latents(self) -> Tensor:
        """Unit latents [N, *shape] float32; to be drawn first."""
        return self._draw(range(len(self)), torch.float32)

    def classes(self, label_dim: int, null_class: int | None = None) -> Tensor:
        """One class index per sample, int64 [N]; to be drawn second, where label_dim > 0.

        Args:
            label_dim: number of classes.
            null_class: the one among them that stands for none, which is not drawn.
        """
        choices = label_dim if null_class is None else label_dim - 1
        drawn = torch.stack(
            [
                torch.randint(choices, size=[], device=self.noise_device, generator=generator)
                for generator in self._generators
            ]
        ).to(self.device)
        return drawn if null_class is None else drawn + (drawn >= null_class)

    def normal(self, rows: Sequence[int] | None = None) -> Tensor:
        """Standard normals [N, *shape] float64, or those of some rows."""
        return self._draw(range(len(self)) if rows is None else rows, torch.float64)

    def path(self, high: float, low: float) -> Brownian:
        """The samples' Brownian paths between two noise levels; they share nothing with the streams above."""
        return Brownian(self.seeds, self.shape, high, low, self.device, self.noise_device)

    def _draw(self, rows: Sequence[int], dtype: torch.dtype) -> Tensor:
        drawn = [
            torch.randn(self.shape, dtype=dtype, device=self.noise_device, generator=self._generators[row])
            for row in rows
        ]
        return torch.stack(drawn).to(self.device)
