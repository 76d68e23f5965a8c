"""Moving averages of the weights during training, and averages of other widths, made from snapshots afterwards.

`HalfLifeEMA` is the usual exponential average. `PowerEMA` tracks power-function averages of exponent gamma,

    theta_gamma(t) = integral_0^t p(tau; t, gamma) theta(tau) dtau,
    p(tau; t, gamma) = (gamma + 1) tau^gamma / t^(gamma + 1),

with time t in images. The profile p keeps its shape as it grows with t. Its standard deviation is sigma_rel t, where

    sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)).

Averages are linear in the weights: where a sum of the profiles of snapshots equals the profile of another average, the
same sum of the snapshots is that average. `fit_profile` finds the nearest sum by least squares.
Source: Karras et al. 2024 (arXiv 2312.02696), Sec. 3 and App. C.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from harness.core.config import Config, Positive, distinct, freeze, one_of, unwritten
from harness.core.errors import InputError

WIDEST = 0.28
"""The largest relative width. At 1/sqrt(12) = 0.289, gamma = 0, all weights since the start count the same."""

Width = Annotated[float, Field(gt=0, le=WIDEST)]
"""Relative width sigma_rel of a power-function average: standard deviation of its profile as a part of t."""

Widths = Annotated[tuple[Width, ...], Field(min_length=1), BeforeValidator(freeze), AfterValidator(distinct)]
"""One relative width or more, each once."""


def gamma_of(sigma_rel: float) -> float:
    """The exponent of the power-function average of a relative width.

    Args:
        sigma_rel: in (0, 0.28], unitless: 0.05 gives 16.97, 0.10 gives 6.94.

    Raises:
        ValueError: out of range.
    """
    if not 0 < sigma_rel <= WIDEST:
        raise ValueError(f"sigma_rel is above 0 and at most {WIDEST}; we got {sigma_rel}")
    # With s = sigma_rel and u = s (gamma + 1) the definition is f(u) = u^3 + 4 s u^2 + (5 s^2 - 1) u + 2 s^3 = 0, and u
    # is the largest root. f is convex where u > 0 and positive at u = 1, so Newton's method falls from 1 to the root
    # and never below it. Rounding ends the fall.
    s, u = sigma_rel, 1.0
    while (lower := u - (((u + 4 * s) * u + 5 * s**2 - 1) * u + 2 * s**3) / ((3 * u + 8 * s) * u + 5 * s**2 - 1)) < u:
        u = lower
    return u / s - 1


def sigma_rel_of(gamma: float) -> float:
    """The relative width of the power-function average of an exponent, gamma > -1; inverse of `gamma_of`."""
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


class EMAKind(Config):
    """What the kinds of average share: one or more averages of the weights, of which the first is the result.

    A step replaces each average by decay * average + (1 - decay) * weights.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """A label for each average, all different, that can be part of a file's name."""

    @abstractmethod
    def decays(self, seen: int, batch: int) -> tuple[float, ...]:
        """What each average keeps of itself in a step of `batch` images, after `seen` images; each in [0, 1)."""


class HalfLifeEMA(EMAKind):
    """Exponential moving average of the weights.

    After k images the half-life is min(halflife_images, ramp * k), so that the first, bad weights are soon forgotten.

    Args:
        halflife_images: images until a weight's share has halved.
        ramp: half-life as a part of the images seen; None: no warm-up.
    Source: Karras et al. 2022 (arXiv 2206.00364), App. F.2 (the EMA half-life of Table 7).
    """

    kind: Annotated[Literal["halflife"], unwritten("halflife")] = "halflife"
    halflife_images: Positive = 500_000.0
    ramp: Positive | None = 0.05

    @property
    def names(self) -> tuple[str, ...]:
        """The kind's own word."""
        return (self.kind,)

    def decay(self, seen: int, batch: int) -> float:
        """What the average keeps of itself in a step of `batch` images, after `seen` images."""
        halflife = self.halflife_images if self.ramp is None else min(self.halflife_images, self.ramp * seen)
        # after `halflife` images the product of the decays is 1/2; at the very first step nothing is kept
        return 0.5 ** (batch / halflife) if halflife > 0 else 0.0

    def decays(self, seen: int, batch: int) -> tuple[float, ...]:
        """The one decay."""
        return (self.decay(seen, batch),)


class PowerEMA(EMAKind):
    """Power-function averages of the weights, each of a width in proportion to the length of the run so far.

    decay = (1 - batch / t)^(gamma + 1),  t = seen + batch.  With it the weights after a step count by the integral of
    the profile over the images of that step. The average is thus theta_gamma(t) exactly, with a theta(tau) that is
    constant within a step: there is no error of discretization.

    Args:
        sigma_rel: relative widths, each in (0, 0.28]. The first is the result. From snapshots of two averages, with
            widths such as the defaults, others of widths between and somewhat beyond can be made; see `fit_profile`.
    Source: Karras et al. 2024 (arXiv 2312.02696), Sec. 3.1.
    """

    kind: Literal["power"] = "power"
    sigma_rel: Widths = (0.05, 0.10)

    @property
    def names(self) -> tuple[str, ...]:
        """The relative widths, in the fewest digits that tell them apart: "0.05", "0.1"."""
        return tuple(map(repr, self.sigma_rel))

    @property
    def gammas(self) -> tuple[float, ...]:
        """The exponent of each average."""
        return tuple(map(gamma_of, self.sigma_rel))

    def decays(self, seen: int, batch: int) -> tuple[float, ...]:
        """One for each width; 0 at the very first step."""
        kept = seen / (seen + batch)
        return tuple(kept ** (gamma + 1) for gamma in self.gammas)


EMAS = one_of(HalfLifeEMA, PowerEMA)


def _kind_of_before(value: Any) -> Any:
    """Recipes from before the field `kind` have the half-life alone."""
    return {"kind": "halflife", **value} if isinstance(value, Mapping) and "kind" not in value else value


EMA = Annotated[EMAKind, EMAS, BeforeValidator(_kind_of_before)]
"""A field that takes either kind. `halflife` is read without its `kind`, and written without it, so that recipes from
before the field keep their fingerprints."""


class Profile(NamedTuple):
    """The profile of a power-function average: what each moment of the run counts in it.

    Args:
        t: images seen when the average was saved, > 0. Another unit, such as steps, serves if all profiles have it.
        gamma: exponent, > -1/2.
    """

    t: float
    gamma: float


class Reconstruction(NamedTuple):
    """How an average is put together from snapshots.

    Args:
        weights: float64 [K], what each snapshot is multiplied by. They may be negative. Their sum is near 1 where the
            error is small.
        error: distance of the sum of profiles from the target's, as a part of the target's length, both root integral
            squares: 0 is exact, 1 is as bad as nothing. Below 1e-7 it is rounding.
    """

    weights: np.ndarray
    error: float


def fit_profile(snapshots: Sequence[Profile], target: Profile) -> Reconstruction:
    """The sum of snapshots whose profile is nearest to the target's in the integral of the squared difference.

    The target's t should be that of a snapshot. The target's profile ends at t with a jump, which profiles that end
    elsewhere cannot follow: between two of 16 snapshots the error is 0.1 to 0.5.

    How many snapshots a width needs, where sigma_rel 0.05 and 0.10 are tracked and snapshots are at even distances: the
    average is within 0.001 of one that is tracked directly (of its norm, for weights on a random walk with drift) with

        20 snapshots up to the target's t    sigma_rel from 0.03 to 0.15, error at most 0.03
        16                                   from 0.04 to 0.15, error at most 0.02
        10                                   from 0.05 to 0.12, error at most 0.01

    Snapshots after the target's t add little. Rounding errors of the snapshots grow by the size of the weights: at
    sigma_rel 0.03 their absolute values sum to 9, and float16 snapshots alone cost 0.001. Keep them in float32.

    Args:
        snapshots: K profiles, in any order; several may have the same t.
        target: profile of the average that is wanted.

    Raises:
        ValueError: no snapshot, or a t or gamma out of range.
    Source: Karras et al. 2024 (arXiv 2312.02696), Sec. 3.2 and App. C.
    """
    if not snapshots:
        raise ValueError("an average is made from one or more snapshots; we got none")
    for profile in (*snapshots, target):
        if not (0 < profile.t < math.inf and -0.5 < profile.gamma < math.inf):
            raise ValueError(f"a profile has finite t > 0 and gamma > -1/2; we got {profile}")
    t, gamma = np.array(snapshots, dtype=np.float64).T
    t = t / target.t  # the weights do not depend on the unit of time
    gram = _inner_product(t[:, None], gamma[:, None], t, gamma)
    against_target = _inner_product(t, gamma, 1.0, target.gamma)
    square = _inner_product(1.0, target.gamma, 1.0, target.gamma)
    # Profiles are brought to length 1, as the smallest singular values are cut off in proportion to the largest. The
    # cut matters: profiles of snapshots that are near each other are nearly multiples of one another.
    length = np.sqrt(np.diag(gram))
    shares = np.linalg.lstsq(gram / np.outer(length, length), against_target / length, rcond=None)[0]
    weights = shares / length
    missed = square - 2 * against_target @ weights + weights @ gram @ weights
    return Reconstruction(weights, math.sqrt(max(0.0, missed / square)))


def _inner_product(t: Any, gamma: Any, other_t: Any, other_gamma: Any) -> Any:
    """The integral of the product of two profiles, over the time that both have; arrays are broadcast.

    It is a t^(gamma_1 + gamma_2 + 1) / (t_1^(gamma_1 + 1) t_2^(gamma_2 + 1)) with t = min(t_1, t_2) and
    a = (gamma_1 + 1) (gamma_2 + 1) / (gamma_1 + gamma_2 + 1). With gamma of the later profile, that is
    a (earlier t / later t)^gamma / later t.
    """
    early, late = np.minimum(t, other_t), np.maximum(t, other_t)
    gamma_of_late = np.where(t < other_t, other_gamma, gamma)
    # a power of a ratio of at most 1: it cannot overflow, as t^gamma can
    shared = (early / late) ** gamma_of_late / late
    return (gamma + 1) * (other_gamma + 1) / (gamma + other_gamma + 1) * shared


def posthoc_weights(snapshots: Sequence[Profile], target: Profile) -> np.ndarray:
    """The weights float64 [K] of `fit_profile`."""
    return fit_profile(snapshots, target).weights


def reconstruct(
    profiles: Sequence[Profile], snapshots: Iterable[Mapping[str, Tensor]], target: Profile
) -> dict[str, Tensor]:
    """The average with the target's profile, from snapshots of tracked averages; `fit_profile` says how near it comes.

    Tensors of floating point are summed in float64 and come back in their own type. A tensor that is the same in all
    snapshots, such as a buffer, comes back as it is, bit for bit (all of a single snapshot do). Any other tensor is
    that of the last snapshot.

    Args:
        profiles: of the snapshots, in their order.
        snapshots: tensors by name. From a generator that reads files, two are in memory at a time. It makes new
            tensors for each.
        target: profile of the average that is wanted.

    Raises:
        InputError: snapshots that differ in names, shapes or types of tensors.
        ValueError: as for `fit_profile`, or not as many snapshots as profiles.
    """
    sums: dict[str, Tensor] = {}
    same: dict[str, Tensor] = {}  # what has not changed since the first snapshot
    others: dict[str, Tensor] = {}  # what cannot be averaged
    layout: set[tuple[str, torch.Size, torch.dtype]] = set()
    places, weights = range(1, len(profiles) + 1), posthoc_weights(profiles, target)
    for place, weight, tensors in zip(places, weights, snapshots, strict=True):
        if place == 1:
            same, layout = dict(tensors), _layout(tensors)
            sums = {
                name: torch.zeros_like(each, dtype=torch.float64)
                for name, each in same.items()
                if each.is_floating_point()
            }
        elif differing := sorted({name for name, *_ in layout ^ _layout(tensors)}):
            raise InputError(
                f"snapshot {place} of {len(profiles)} differs from the first in {', '.join(differing[:5])}; "
                "use snapshots of one training run"
            )
        for name, tensor in tensors.items():
            if name in same and not torch.equal(same[name], tensor):
                del same[name]
            if name in sums:
                sums[name].add_(tensor, alpha=float(weight))
            else:
                others[name] = tensor
    dtypes = {name: dtype for name, _, dtype in layout}
    return others | {name: total.to(dtypes[name]) for name, total in sums.items()} | same


def _layout(tensors: Mapping[str, Tensor]) -> set[tuple[str, torch.Size, torch.dtype]]:
    return {(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
