"""From a network in its own convention to a denoiser D(x; sigma): predictions of noise, v, image, score and velocity.

The network is called as f(x, t), or f(x, t, condition) if it takes a third argument, with x [B, *shape] in its own
scaling and t [B]. Let the data be y, the noise n ~ N(0, I), and x = y + sigma n what the denoiser gets. Then the network
gets s x, and

| predicts | F is                               | D                            | without `betas`, s and t are      |
|----------|------------------------------------|------------------------------|-----------------------------------|
| `noise`  | n                                  | x - sigma F                  | 1, sigma                          |
| `image`  | y                                  | F                            | 1, sigma                          |
| `score`  | grad log p of s x, at s x          | x + sigma^2 s F              | 1, sigma                          |
| `v`      | (n - sigma y) / sqrt(1 + sigma^2)  | s^2 x - sigma s F            | 1/sqrt(1 + sigma^2), sigma        |
| `flow`   | n - y                              | s x - t F                    | 1/(1 + sigma), sigma/(1 + sigma)  |

**With `betas`** the network is one of discrete steps: s = sqrt(abar) = 1/sqrt(1 + sigma^2), t the index k of a step, whose
level is sigma_k = sqrt((1 - abar_k) / abar_k); see `harness.core.betas`. Between two levels either the level is rounded
to the nearest one, and t is an int64, or the index is interpolated in log sigma, and t is a float.

**Flow matching** has x_t = (1 - t) y + t n, so s = 1 - t, and at t = 1, sigma = infinity, the network gets the noise itself.
Codes differ in where time starts and in the sign of the velocity:

| code                                                             | `time`       | `velocity`         |
|------------------------------------------------------------------|--------------|--------------------|
| FLUX, Stable Diffusion 3, diffusers' FlowMatchEuler (`time_scale: 1000` there), REPA, minRF | `1_is_noise` | `noise_minus_data` |
| SiT, lucidrains' rectified-flow-pytorch, flow_matching, torchcfm | `0_is_noise` | `data_minus_noise` |

The velocity is the derivative by the code's own time unless `velocity` says otherwise. The popular shift of times by alpha
is no matter of the network: it multiplies the noise levels of a sampler by alpha, see discretization `flow`.

Sources: Ho et al. 2020 (arXiv 2006.11239); Song et al. 2021 (arXiv 2011.13456); Salimans & Ho 2022 (arXiv 2202.00512), app.
D; Lipman et al. 2023 (arXiv 2210.02747); Ma et al. 2024 (arXiv 2401.08740).
"""  # noqa: E501

import math
from abc import abstractmethod
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from harness.core.betas import DIFFUSERS_SCHEDULES, MAX_STEPS, betas, noise_levels
from harness.core.config import Config, Positive, freeze, one_of
from harness.core.data_range import BYTES, DataRange
from harness.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.denoisers.preconditioning.base import Coefficients
    from harness.denoisers.wrapped_network import Network, WrappedNetwork

FALL = 1e-6
"""How much a beta may lie below the one before it, relative: what rounding does to a list."""


class BetaSchedule(Config):
    """Betas by name, as schedulers of diffusers have them.

    Args:
        schedule: `linear`, `scaled_linear`, `squaredcos` (also `squaredcos_cap_v2`), `sigmoid`.
        steps: T, how many.
        start, end: first and last beta; `squaredcos` has its own. Stable Diffusion: `scaled_linear`, 0.00085 to 0.012.
        zero_snr: rescale so that the last step has no signal.
    """

    schedule: Literal["linear", "scaled_linear", "squaredcos", "squaredcos_cap_v2", "sigmoid"] = "linear"
    steps: Annotated[int, Field(ge=2, le=MAX_STEPS)] = 1000
    start: Annotated[float, Field(gt=0, lt=1)] = 0.0001
    end: Annotated[float, Field(gt=0, lt=1)] = 0.02
    zero_snr: bool = False

    @model_validator(mode="after")
    def _rising(self) -> "BetaSchedule":
        if self.formula == "cosine":
            if (self.start, self.end) != (0.0001, 0.02):
                raise ValueError(f"schedule '{self.schedule}' has betas of its own, and no start and end; remove them")
        elif self.end < self.start:
            raise ValueError(f"betas do not fall from first to last; we got start {self.start:g} and end {self.end:g}")
        return self

    @property
    def formula(self) -> str:
        """The name of the schedule in `harness.core.betas`; `squaredcos` is short for diffusers' own name."""
        return DIFFUSERS_SCHEDULES["squaredcos_cap_v2" if self.schedule == "squaredcos" else self.schedule]


def _by_name(value: Any) -> Any:
    return {"schedule": value} if isinstance(value, str) else freeze(value)


def _form(value: Any) -> str:
    return "list" if isinstance(value, tuple) else "named"


Beta = Annotated[float, Field(gt=0, le=1)]
Listed = Annotated[tuple[Beta, ...], Field(min_length=2, max_length=MAX_STEPS), Tag("list")]
Named = Annotated[BetaSchedule, Tag("named")]
Betas = Annotated[Annotated[Listed | Named, Discriminator(_form)], BeforeValidator(_by_name)]
"""A list of betas, a named schedule, or the name alone."""


class NoiseRange(NamedTuple):
    """The noise levels at which a wrapped network may be called, and whether sigma = infinity is one of them."""

    low: float
    high: float
    takes_infinity: bool


class Convention(Config):
    """Base of all conventions: what a network is given and what it says.

    Args:
        classes: what a condition is where the network takes one. `one_hot`: as the sampler has it, one-hot float rows
            [B, label_dim]. `index`: class indices int64 [B].
        null_class: for `index`, the class that stands for none; without it every sample needs a class.
    """

    kind: str
    classes: Literal["one_hot", "index"] = "one_hot"
    null_class: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _null_class_is_an_index(self) -> "Convention":
        if self.null_class is not None and self.classes != "index":
            raise ValueError("null_class goes with classes 'index'; a one-hot row of zeros is no class; remove it")
        return self

    @abstractmethod
    def noise_range(self, sigma_min: float | None = None, sigma_max: float | None = None) -> NoiseRange:
        """The range of a network of this convention, narrowed to what is given. Loads no torch.

        Raises:
            InputError: ends that are not in order, or beyond the steps of `betas`.
        """

    @property
    def rounds(self) -> bool:
        """Whether noise levels are rounded to those of the network's steps."""
        return False

    @abstractmethod
    def coefficients(self, sigma: "Tensor") -> "Coefficients":
        """c_skip, c_out, c_in and the network's t, at float64 noise levels of any shape."""

    def round_sigma(self, sigma: "Tensor") -> "Tensor":
        """The nearest noise levels that the network knows; shape and dtype as given."""
        return sigma


class Diffusion(Convention):
    """Base of the conventions of diffusion models.

    Args:
        betas: of a network of discrete steps: a list, a name, or {schedule, steps, start, end, zero_snr}.
        between: for `betas`, what is done between two levels: `nearest` or `interpolate`.
        scaling: without `betas`, what the network is given: `none` for y + sigma n, `vp` for that over
            sqrt(1 + sigma^2); by default `vp` for `v` and `none` for the others.
    """

    needs_signal: ClassVar[bool] = False
    """Whether D follows from the prediction only where x holds signal: at abar = 0 noise and score say nothing of y."""
    usual_scaling: ClassVar[Literal["none", "vp"]] = "none"

    betas: Betas | None = None
    between: Literal["nearest", "interpolate"] = "nearest"
    scaling: Literal["none", "vp"] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> "Diffusion":
        if self.betas is None and self.between != "nearest":
            raise ValueError("between goes with betas: without them the network takes every noise level; remove it")
        if self.betas is not None and self.scaling is not None:
            raise ValueError("betas say how x is scaled, by sqrt(alpha_bar); remove scaling")
        if self.betas is not None:
            self._checked(self.betas)
        return self

    def _checked(self, given: "tuple[float, ...] | BetaSchedule") -> None:
        """Refuse betas that are not in the order of the steps, and steps without signal where nothing can be said."""
        if isinstance(given, BetaSchedule):
            has_none = given.zero_snr
        else:
            for index, (before, beta) in enumerate(pairwise(given)):
                if beta < before * (1 - FALL):
                    raise ValueError(
                        f"betas do not fall from the first step to the last; number {index + 2} is {beta:g} after "
                        f"{before:g}; are they in the order of the training steps?"
                    )
            has_none = given[-1] == 1
        levels = self.levels()
        if len(levels) < 2 or not all(low < high for low, high in pairwise(levels)):
            raise ValueError("alpha_bar, the product of 1 - beta, does not fall at every step; are these the betas?")
        if has_none and self.needs_signal:
            raise ValueError(
                f"the last step has no signal (zero terminal SNR), and a prediction of the {self.kind} says nothing of "
                "the image there; use a network that predicts 'v' or 'image', or drop the last beta"
            )

    def levels(self) -> tuple[float, ...]:
        """The noise levels of the steps, rising; a last step without signal, whose level is infinite, is left out."""
        assert self.betas is not None
        return _levels(self.betas)

    def noise_range(self, sigma_min: float | None = None, sigma_max: float | None = None) -> NoiseRange:
        if self.betas is None:
            return _narrowed(0.0, math.inf, sigma_min, sigma_max, takes_infinity=False)
        known = self.levels()
        return _narrowed(known[0], known[-1], sigma_min, sigma_max, takes_infinity=False)

    @property
    def rounds(self) -> bool:
        return self.betas is not None and self.between == "nearest"

    def round_sigma(self, sigma: "Tensor") -> "Tensor":
        if not self.rounds:
            return sigma
        from harness.denoisers.preconditioning.discrete import nearest

        table = self._table(sigma)
        return table[nearest(table, sigma)].to(sigma.dtype)

    def coefficients(self, sigma: "Tensor") -> "Coefficients":
        from harness.denoisers.preconditioning.base import Coefficients

        is_vp = self.betas is not None or (self.scaling or self.usual_scaling) == "vp"
        s = (1 + sigma**2).rsqrt() if is_vp else sigma * 0 + 1
        skip, out = self.image_from(sigma, s)
        return Coefficients(skip, out, s, self._time(sigma))

    @abstractmethod
    def image_from(self, sigma: "Tensor", s: "Tensor") -> "tuple[Tensor | float, Tensor]":
        """The weights of x and of the prediction in D."""

    def _time(self, sigma: "Tensor") -> "Tensor":
        if self.betas is None:
            return sigma
        from harness.denoisers.preconditioning.discrete import nearest

        table = self._table(sigma)
        if self.between == "nearest":
            return nearest(table, sigma)
        return _interpolated_index(table.log(), sigma.log())

    def _table(self, like: "Tensor") -> "Tensor":
        assert self.betas is not None
        return _table_on(self.betas, like.device)


class Noise(Diffusion):
    """The network predicts the noise n, often called epsilon."""

    needs_signal: ClassVar[bool] = True

    kind: Literal["noise"] = "noise"

    def image_from(self, sigma: "Tensor", s: "Tensor") -> "tuple[Tensor | float, Tensor]":
        return 1.0, -sigma


class V(Diffusion):
    """The network predicts v = (n - sigma y) / sqrt(1 + sigma^2), with betas sqrt(abar) n - sqrt(1 - abar) y."""

    usual_scaling: ClassVar[Literal["none", "vp"]] = "vp"

    kind: Literal["v"] = "v"

    def image_from(self, sigma: "Tensor", s: "Tensor") -> "tuple[Tensor | float, Tensor]":
        root = (1 + sigma**2).rsqrt()  # s, but for a network that is given x as it is
        return root**2, -sigma * root


class Image(Diffusion):
    """The network predicts the image y itself, often called x_0 or sample."""

    kind: Literal["image"] = "image"

    def image_from(self, sigma: "Tensor", s: "Tensor") -> "tuple[Tensor | float, Tensor]":
        return 0.0, sigma * 0 + 1


class Score(Diffusion):
    """The network predicts the score of what it is given, the gradient of log p by s x."""

    needs_signal: ClassVar[bool] = True

    kind: Literal["score"] = "score"

    def image_from(self, sigma: "Tensor", s: "Tensor") -> "tuple[Tensor | float, Tensor]":
        return 1.0, sigma**2 * s  # the gradient by x is s times that by s x, and D = x + sigma^2 grad log p(x)


class FlowVelocity(Convention):
    """The network predicts the velocity of flow matching on straight paths, x_t = (1 - t) y + t n.

    Args:
        time: `1_is_noise`: t is 0 for data and 1 for noise. `0_is_noise`: the other way round, so that the network is
            told 1 - t.
        velocity: `noise_minus_data` or `data_minus_noise`; by default the derivative by the network's own time.
        time_scale: what its time is multiplied by; many networks take 1000 t.
    """

    kind: Literal["flow"] = "flow"
    time: Literal["1_is_noise", "0_is_noise"] = "1_is_noise"
    velocity: Literal["noise_minus_data", "data_minus_noise"] | None = None
    time_scale: Positive = 1.0

    @property
    def is_reversed(self) -> bool:
        """Whether the velocity is y - n."""
        usual = "noise_minus_data" if self.time == "1_is_noise" else "data_minus_noise"
        return (self.velocity or usual) == "data_minus_noise"

    def noise_range(self, sigma_min: float | None = None, sigma_max: float | None = None) -> NoiseRange:
        takes_infinity = sigma_max is None or sigma_max == math.inf
        return _narrowed(0.0, math.inf, sigma_min, sigma_max, takes_infinity)

    def coefficients(self, sigma: "Tensor") -> "Coefficients":
        from harness.denoisers.preconditioning.continuous import flow_coefficients

        theirs = flow_coefficients(sigma, 1.0)
        time = theirs.noise if self.time == "1_is_noise" else 1 - theirs.noise
        return theirs._replace(out=-theirs.out if self.is_reversed else theirs.out, noise=time * self.time_scale)


CONVENTIONS = one_of(Noise, V, Image, Score, FlowVelocity)


@lru_cache(maxsize=16)
def _levels(given: tuple[float, ...] | BetaSchedule) -> tuple[float, ...]:
    if isinstance(given, BetaSchedule):
        found = noise_levels(betas(given.formula, given.steps, given.start, given.end), given.zero_snr)
    else:
        found = noise_levels(betas("given", len(given), 0, 0, given))
    return tuple(found.tolist())


@lru_cache(maxsize=16)
def _table_on(given: tuple[float, ...] | BetaSchedule, device: "torch.device") -> "Tensor":
    """The same as a tensor, made once: a network call looks levels up in it."""
    import torch

    return torch.tensor(_levels(given), dtype=torch.float64, device=device)


def _narrowed(
    low: float, high: float, sigma_min: float | None, sigma_max: float | None, takes_infinity: bool
) -> NoiseRange:
    """A range within another one.

    Raises:
        InputError: its ends are not in order, or beyond the other's.
    """
    slack = 1 + 1e-9  # an end may be written with fewer digits
    least, most = low if sigma_min is None else sigma_min, high if sigma_max is None else sigma_max
    if not (low / slack <= least < most <= high * slack):
        raise InputError(
            f"sigma_min is below sigma_max, and both lie from {low:g} to {high:g}, where the network knows noise "
            f"levels; we got {least:g} and {most:g}"
        )
    return NoiseRange(max(low, least), min(high, most), takes_infinity)


def _interpolated_index(log_levels: "Tensor", log_sigma: "Tensor") -> "Tensor":
    """The index of a level between the levels of the steps, linear in log sigma; ends are kept."""
    import torch

    above = torch.bucketize(log_sigma.contiguous(), log_levels).clamp(1, len(log_levels) - 1)
    low, high = log_levels[above - 1], log_levels[above]
    return (above - 1 + (log_sigma - low) / (high - low)).clamp(0, len(log_levels) - 1)


def wrap(
    function: "Network",
    convention: Convention,
    *,
    shape: tuple[int, ...],
    label_dim: int = 0,
    conditional: bool = False,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    data_range: DataRange = BYTES,
    cost: int = 1,
    dtype: "torch.dtype | None" = None,
    device: "torch.device | str" = "cpu",
) -> "WrappedNetwork":
    """A denoiser of a network in its own convention.

    Args:
        function: a module or a function, f(x, t) or f(x, t, condition); see this module. A module is moved to `device`
            and `dtype` and put into evaluation mode.
        convention: what it is given and what it says.
        shape: of one sample.
        label_dim: number of classes, the null class among them; 0 for an unconditional network.
        conditional: whether the third argument is what a file of conditions holds, see `harness.sampling.conditions`.
        sigma_min, sigma_max: noise levels at which it may be called, in units of the data; None for all that the
            convention knows.
        data_range: lowest and highest value of the data, or None; see `harness.core.data_range`.
        cost: network evaluations that a call counts as.
        dtype: of its arithmetic; None for float32.
        device: where it computes.

    Example:
        >>> import torch, harness
        >>> from harness.denoisers.conventions import FlowVelocity, wrap
        >>> def velocity(x, t):  # of data N(0, 1/4), exactly
        ...     t = t.reshape(-1, 1)
        ...     return x * (t - (1 - t) / 4) / ((1 - t) ** 2 / 4 + t**2)
        >>> denoiser = wrap(velocity, FlowVelocity(), shape=(3,), dtype=torch.float64)
        >>> denoiser(torch.ones(1, 3), torch.tensor(1.0))  # x v / (v + sigma^2)
        tensor([[0.2000, 0.2000, 0.2000]], dtype=torch.float64)

    Raises:
        InputError: a function of other arguments, a shape or a range that cannot be, or classes that it does not take.
    """
    import torch

    from harness.denoisers.wrapped_network import WrappedNetwork

    shape = tuple(shape)
    if not shape or any(type(side) is not int or side < 1 for side in shape):
        raise InputError(f"a shape is one or more sides of at least 1, such as (3, 32, 32); we got {shape}")
    if convention.null_class is not None and convention.null_class >= label_dim:
        raise InputError(
            f"null_class {convention.null_class} is none of the {label_dim} classes; label_dim counts it too"
        )
    dtype = torch.float32 if dtype is None else dtype
    place = torch.empty(0, device=device).device  # with its index, as tensors have it
    if isinstance(function, torch.nn.Module):
        function = function.to(place, dtype).eval()
    wrapped = WrappedNetwork(
        function,
        convention,
        shape=shape,
        label_dim=label_dim,
        noise_range=convention.noise_range(sigma_min, sigma_max),
        dtype=dtype,
        device=place,
        conditional=conditional,
        data_range=data_range,
        cost=cost,
    )
    if conditional and label_dim:
        raise InputError(f"a conditional network has no classes, and label_dim is {label_dim}; leave one out")
    if (label_dim or conditional) and not wrapped.takes_condition:
        why = f"label_dim is {label_dim}" if label_dim else "it is to be conditional"
        raise InputError(f"{why}, and the network takes no condition; make it f(x, t, condition)")
    return wrapped
