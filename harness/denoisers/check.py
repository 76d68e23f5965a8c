"""A check of the denoiser interface, for built-in and users' own denoisers; see `harness.sampling.denoiser`.

    from harness import check_denoiser
    check_denoiser(mine)          # raises AssertionError with the rule that is broken

Samplers rely on these rules: a denoiser that breaks one gives wrong images and no error.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from harness.sampling.conditions import Condition, Conditions, take
from harness.sampling.denoiser import Denoiser, cost_at, needs_class, takes_infinity

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}
"""Tolerance by the type of D, relative to the largest value: what another order of the same sums may change."""

NEARLY = 1e5
"""The noise level that is compared with an infinite one."""

LEVELS = (0.05, 0.7, 3.0, 60.0)
"""Noise levels to evaluate at, clamped to the denoiser's range."""


def check_denoiser(
    denoiser: Denoiser,
    images: Tensor | None = None,
    identity: bool = True,
    mean: bool = False,
    conditions: Conditions | None = None,
) -> None:
    """Check every rule of the denoiser interface on a small batch.

    Args:
        denoiser: anything that is called as D(x, sigma, labels).
        images: [B, *shape], clean samples of its data, to check the identity at small noise; None draws them from the
            denoiser itself by 16 steps of Euler's method.
        identity: whether to check that D(x; sigma) goes to x as sigma goes to 0. It holds for images of the data once a
            denoiser is trained; pass False for an untrained one that predicts the image itself.
        mean: whether to check that D(x; sigma) goes to the mean of the data as sigma rises. It holds once a denoiser is
            trained, and not under strong guidance.
        conditions: of a denoiser that takes others than classes.

    Raises:
        AssertionError: with the rule that is broken.
    """
    _attributes(denoiser)
    with torch.no_grad():
        batch = _Batch(denoiser, conditions)
        for check in (_output, _rows, _sigmas, _labels, _rounding, _infinity):
            check(denoiser, batch)
        if identity:
            _identity(denoiser, batch, images)
        if mean:
            _mean(denoiser, batch)


class _Batch:
    """Four noisy samples at four noise levels, with labels where there are classes."""

    def __init__(self, denoiser: Denoiser, conditions: Conditions | None = None) -> None:
        device = denoiser.device
        generator = torch.Generator().manual_seed(0)
        wanted = torch.tensor(LEVELS, dtype=torch.float64)
        high = denoiser.sigma_max if denoiser.sigma_max < float("inf") else 1e4
        self.sigma = wanted.clamp(max(denoiser.sigma_min, 1e-3), high).to(device)
        noise = torch.randn(4, *denoiser.shape, generator=generator, dtype=torch.float64).to(device)
        self.column = self.sigma.reshape(-1, *[1] * len(denoiser.shape))
        self.x = noise * self.column
        self.labels: Condition | None = None
        if conditions is not None:
            self.labels = conditions.of(range(4), device)
        elif denoiser.label_dim:
            self.labels = torch.eye(denoiser.label_dim, device=device)[torch.arange(4) % denoiser.label_dim]
        self.same = take(self.labels, [0] * 4)
        """The first row's condition for all four."""
        self.near = _near(ROUNDING.get(denoiser.dtype, 1e-1))


def _near(tolerance: float) -> Callable[[Tensor, Tensor], bool]:
    def near(a: Tensor, b: Tensor) -> bool:
        scale = b.double().flatten(1).abs().amax(1).clamp(min=1e-12)
        return bool(((a.double() - b.double()).flatten(1).abs().amax(1) <= tolerance * scale).all())

    return near


def _attributes(denoiser: Denoiser) -> None:
    assert isinstance(denoiser, Denoiser), (
        "a denoiser has shape, label_dim, sigma_min, sigma_max, cost, dtype, device and round_sigma, and is called"
    )
    assert (
        isinstance(denoiser.shape, tuple)
        and len(denoiser.shape) > 0
        and all(type(side) is int and side > 0 for side in denoiser.shape)
    ), f"shape is a tuple of sides, such as (C, H, W); we got {denoiser.shape}"
    assert type(denoiser.label_dim) is int and denoiser.label_dim >= 0, "label_dim is a count; 0 means no classes"
    assert type(denoiser.cost) is int and denoiser.cost >= 1, "cost is the network evaluations of a row, 1 or more"
    assert 0 <= denoiser.sigma_min < denoiser.sigma_max, (
        f"0 <= sigma_min < sigma_max; we got {denoiser.sigma_min} and {denoiser.sigma_max}"
    )


def _output(denoiser: Denoiser, batch: _Batch) -> None:
    before = batch.x.clone()
    out = denoiser(batch.x, batch.sigma, batch.labels)
    assert out.shape == batch.x.shape, f"D has the shape of x, {tuple(batch.x.shape)}; we got {tuple(out.shape)}"
    assert out.dtype == denoiser.dtype, f"D comes in the denoiser's dtype, {denoiser.dtype}; we got {out.dtype}"
    assert out.device == batch.x.device, f"D is on the device of x, {batch.x.device}; we got {out.device}"
    assert out.isfinite().all(), "D is finite for levels within the range"
    assert torch.equal(batch.x, before), "x must not be changed"
    assert torch.equal(out, denoiser(batch.x, batch.sigma, batch.labels)), "the same question has the same answer"
    single = denoiser(batch.x.float(), batch.sigma.float(), batch.labels)
    assert single.dtype == denoiser.dtype, "x and sigma may be float32 or float64; the dtype of D stays"
    counted = cost_at(denoiser, batch.sigma)
    assert counted.shape == batch.sigma.shape and bool((counted <= denoiser.cost).all()), (
        "cost_at gives a count a level, none above cost"
    )


def _rows(denoiser: Denoiser, batch: _Batch) -> None:
    whole = denoiser(batch.x, batch.sigma, batch.labels)
    x, sigma = batch.x.clone(), batch.sigma.clone()
    x[1:], sigma[1:] = x[1:].flip(0) * 3, sigma[1:].flip(0)
    assert batch.near(denoiser(x, sigma, batch.labels)[:1], whole[:1]), "a row must not depend on the other rows"
    alone = denoiser(batch.x[2:3], batch.sigma[2:3], take(batch.labels, [2]))
    assert batch.near(alone, whole[2:3]), "a row alone is what it is in a batch, but for rounding"


def _sigmas(denoiser: Denoiser, batch: _Batch) -> None:
    scalar = denoiser(batch.x, batch.sigma[1], batch.labels)
    vector = denoiser(batch.x, batch.sigma[1].expand(4), batch.labels)
    assert batch.near(scalar, vector), "sigma may be one number for all rows, or one a row; the same level, the same D"
    on_cpu = denoiser(batch.x, batch.sigma[1].cpu(), batch.labels)
    assert batch.near(on_cpu, scalar), "a single sigma may be on the CPU, whatever the device of x"


def _labels(denoiser: Denoiser, batch: _Batch) -> None:
    if needs_class(denoiser) or not denoiser.label_dim:
        return  # D without labels means nothing, or is the network's own affair
    none = denoiser(batch.x, batch.sigma, None)
    zeros = denoiser(batch.x, batch.sigma, torch.zeros(4, denoiser.label_dim, device=batch.x.device))
    assert batch.near(none, zeros), "no labels are labels of all zeros"


def _rounding(denoiser: Denoiser, batch: _Batch) -> None:
    high = min(denoiser.sigma_max, 1e4)
    levels = torch.logspace(-2, 1.5, 12, dtype=torch.float64).clamp(denoiser.sigma_min, high).reshape(3, 4)
    rounded = denoiser.round_sigma(levels)
    assert (rounded.shape, rounded.dtype) == (levels.shape, levels.dtype), "round_sigma keeps shape and dtype"
    assert torch.equal(denoiser.round_sigma(rounded), rounded), "round_sigma of a rounded level is that level"
    assert denoiser.round_sigma(levels[0, 0]).shape == (), "round_sigma takes a single number"
    order = rounded.flatten().diff()
    assert bool((order >= 0).all()), "round_sigma keeps the order of levels"
    low, top = (denoiser.round_sigma(torch.tensor(edge, dtype=torch.float64)) for edge in (denoiser.sigma_min, high))
    slack = 1e-6
    assert low >= denoiser.sigma_min * (1 - slack) and top <= denoiser.sigma_max * (1 + slack), (
        "the ends of the range round to levels within it"
    )


def _infinity(denoiser: Denoiser, batch: _Batch) -> None:
    if not takes_infinity(denoiser):
        return
    assert denoiser.sigma_max == math.inf, "a denoiser that takes sigma = infinity has no sigma_max"
    unit = batch.x / batch.column
    there = denoiser(unit, torch.tensor(math.inf, dtype=torch.float64), batch.labels)
    assert there.isfinite().all(), "D is finite at sigma = infinity, where x is the unit noise"
    near = denoiser(unit * NEARLY, torch.tensor(NEARLY, dtype=torch.float64), batch.labels)
    error, size = float((there - near).double().abs().max()), float(near.double().abs().max())
    assert error <= 1e-2 * max(size, 1.0), (
        f"D at sigma = infinity is the limit of D(sigma n; sigma); at {NEARLY:g} it is {error:.3g} away"
    )


def _identity(denoiser: Denoiser, batch: _Batch, images: Tensor | None) -> None:
    clean = _drawn(denoiser, batch) if images is None else images.to(batch.x.device, torch.float64)
    sigma = torch.tensor(max(denoiser.sigma_min, 1e-4), dtype=torch.float64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(clean.device)
    labels = take(batch.labels, [0] * len(clean))
    out = denoiser(clean + sigma * noise, sigma, labels).double()
    error = float((out - clean).square().mean().sqrt())
    size = float(clean.square().mean().sqrt())
    allowed = 20 * float(sigma) + 1e-3 * size
    assert error <= allowed, (
        f"D(x; sigma) goes to x as sigma goes to 0: at {float(sigma):.3g} it is off by {error:.3g} where at most "
        f"{allowed:.3g} is left to explain by the noise; is D the image, and sigma in units of the images?"
    )


def _mean(denoiser: Denoiser, batch: _Batch) -> None:
    """High above the data's spread, D hardly depends on the noise: it is the mean of the images that x may come from.

    At twice the distance R of images from their mean, log-likelihoods of images differ by about 1 between noises, so
    that D keeps about R^2 / sigma^2 = 1/4 of the images' variance at most. Denoisers whose range ends below are not
    looked at.
    """
    images = _drawn(denoiser, batch)
    spread = images.var(0).sum().sqrt()
    sigma = 2 * spread.cpu()
    if not denoiser.sigma_min <= sigma <= denoiser.sigma_max or not sigma > 0:
        return
    labels = batch.same
    noise = batch.x / batch.column
    varies = denoiser(noise * sigma.to(noise.device), sigma, labels).double().var(0).sum().sqrt()
    assert varies**2 <= spread**2 / 2, (
        f"D(x; sigma) goes to the mean of the data as sigma rises: at {float(sigma):.3g} it still varies by "
        f"{float(varies):.3g} from noise to noise, as its images do, by {float(spread):.3g}; a consistency-distilled "
        "network gives an image there, so an Euler step from it does not follow the ODE"
    )


def _drawn(denoiser: Denoiser, batch: _Batch) -> Tensor:
    """Images near those that the denoiser knows, by Euler's method over falling levels."""
    high, low = min(denoiser.sigma_max, 80.0), max(denoiser.sigma_min, 1e-3)
    levels = torch.logspace(0, 1, 17, dtype=torch.float64).flip(0)
    levels = low + (high - low) * (levels - 1) ** 3 / 729
    labels = batch.same
    x = batch.x / batch.column * levels[0]
    for sigma, lower in pairwise(levels):
        denoised = denoiser(x, sigma, labels).double()
        x = denoised + (x - denoised) * (lower / sigma)
    return denoiser(x, levels[-1], labels).double()
