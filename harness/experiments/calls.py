"""What a sampler asks its denoiser, call by call: recorded by running it on four numbers, never by a formula.

Trials on the same seeds ask for the same as long as their samplers agree. A call is known by the bits of its input in
the network's own type, and of its noise level, so that samplers share it here where they would share it on a network.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from harness.core.errors import InputError, SamplingError
from harness.denoisers.config import Window
from harness.experiments.nfe import Probe
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler


class Call(NamedTuple):
    """One call of a denoiser: its input and level as bytes, and the network evaluations of a row."""

    asked: bytes
    cost: int


class _Recorder(Probe):
    """A probe that keeps its calls."""

    shape = (1, 2, 2)

    def __init__(self, probe: Probe, dtype: torch.dtype, window: Window | None) -> None:
        super().__init__(probe.sigma_min, probe.sigma_max, probe.cost, probe.rounding)
        self.takes_infinity, self.dtype, self.window = probe.takes_infinity, dtype, window
        self.calls: list[Call] = []

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append(Call(x.numpy().tobytes() + sigma.numpy().tobytes(), int(self.cost_at(sigma).max())))
        # N(0, 1/4), as for Probe
        return (x * 0.25 / (0.25 + sigma.reshape(-1, 1, 1, 1) ** 2)).to(self.dtype)

    def cost_at(self, sigma: Tensor) -> Tensor:
        if self.window is None:
            return torch.full_like(sigma, self.cost, dtype=torch.int64)
        inside = (sigma > self.window.sigma_lo) & (sigma <= self.window.sigma_hi)
        return torch.where(inside, self.cost, self.window.outside)


def calls_of(
    sampler: Sampler, probe: Probe, dtype: torch.dtype = torch.float32, window: Window | None = None
) -> tuple[Call, ...]:
    """The calls of a sampler on one seed, in order.

    Args:
        sampler: with levels that are not still to be found.
        probe: range, rounding and cost of the denoiser, see `probe_of`.
        dtype: of the network.
        window: levels at which a call stands for fewer evaluations.

    Returns:
        The calls; none for an adaptive solver, whose steps depend on the network, or where the sampler cannot be run.
    """
    if sampler.solver.adaptive or sampler.discretization.is_open:
        return ()
    recorder = _Recorder(probe, dtype, window)
    try:
        sample(recorder, sampler.model_copy(update={"noise_device": "cpu"}), seeds=[0])
    except (InputError, SamplingError):
        return ()
    return tuple(recorder.calls)
