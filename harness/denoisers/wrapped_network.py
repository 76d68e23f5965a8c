"""A denoiser made of somebody's network, which is called in its own convention; see `harness.denoisers.conventions`."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.core.data_range import DataRange
from harness.core.errors import InputError
from harness.denoisers.conventions import Convention, NoiseRange
from harness.sampling.conditions import Condition

Network = Callable[..., Any]
"""f(x, t) or f(x, t, condition)."""


class WrappedNetwork:
    """A denoiser made of a network in its own convention; see `wrap`.

    Attributes:
        takes_condition: whether the network is called with a third argument: a class, or what `conditional` says.
        conditional: whether that argument is what a file of conditions holds; see `harness.sampling.conditions`.
    """

    def __init__(
        self,
        function: Network,
        convention: Convention,
        *,
        shape: tuple[int, ...],
        label_dim: int,
        noise_range: NoiseRange,
        dtype: torch.dtype,
        device: torch.device,
        conditional: bool,
        data_range: DataRange,
        cost: int,
    ) -> None:
        self.function, self.convention, self.shape, self.label_dim = function, convention, shape, label_dim
        self.sigma_min, self.sigma_max, self.takes_infinity = noise_range
        self.dtype, self.device, self.cost, self.data_range = dtype, device, cost, data_range
        self.takes_condition, self.conditional = takes_condition(function), conditional
        self.null_class = convention.null_class
        self.needs_class = bool(label_dim) and convention.classes == "index" and convention.null_class is None

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """The nearest noise levels that the network knows; shape and dtype as given."""
        return self.convention.round_sigma(sigma)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Condition | None = None, /) -> Tensor:
        """The denoised samples; arguments as for every denoiser.

        Raises:
            InputError: the network gives no tensor of the shape of x, or needs a class and is given none.
        """
        levels = sigma.to(x.device, torch.float64).reshape(-1)  # [1] or [B]
        c = self.convention.coefficients(levels)
        skip, out, scale = (self._column(value, x) for value in (c.skip, c.out, c.inp))
        assert isinstance(c.noise, torch.Tensor)
        time = c.noise if c.noise.dtype == torch.int64 else c.noise.to(self.dtype)
        x = x.to(self.dtype)
        given: list[Any] = [scale * x, time.expand(len(x)).clone()]
        if self.takes_condition:
            given.append(self._condition(labels, x))
        predicted = self.function(*given)
        if not isinstance(predicted, torch.Tensor) or predicted.shape != x.shape:
            got = list(predicted.shape) if isinstance(predicted, torch.Tensor) else type(predicted).__name__
            raise InputError(
                f"the network gives a tensor of the shape of x, {list(x.shape)}; we got {got}; take the prediction out "
                "of what it returns where you make it"
            )
        return skip * x + out * predicted.to(self.dtype)

    def _column(self, value: Tensor | float, x: Tensor) -> Tensor | float:
        """A coefficient beside x."""
        if isinstance(value, float | int):
            return value
        return value.to(self.dtype).reshape(-1, *[1] * (x.ndim - 1))

    def _condition(self, labels: Condition | None, x: Tensor) -> Condition | None:
        """What the network's third argument is."""
        if self.conditional:
            return self._in_dtype(labels)
        if not self.label_dim:
            return None
        assert labels is None or isinstance(labels, Tensor)
        if labels is None:
            labels = torch.zeros(len(x), self.label_dim, device=x.device)
        if self.convention.classes == "one_hot":
            return labels.to(self.dtype)
        has_class = labels.any(1)
        if self.null_class is None and not bool(has_class.all()):
            raise InputError("this network needs a class, and a sample has none; give labels, or null_class")
        return labels.argmax(1).where(has_class, torch.tensor(self.null_class or 0, device=labels.device))

    def _in_dtype(self, condition: Condition | None) -> Condition | None:
        """A condition whose fractions have the network's dtype; whole numbers and texts stay as they are."""
        if isinstance(condition, dict):
            return {name: self._floats(part) for name, part in condition.items()}
        return self._floats(condition) if isinstance(condition, Tensor) else condition

    def _floats(self, values: Tensor) -> Tensor:
        return values.to(self.dtype) if values.is_floating_point() else values


def takes_condition(function: Network) -> bool:
    """Whether a network is called with a condition: it takes a third argument by position.

    Raises:
        InputError: it does not take two.
    """
    called = getattr(function, "forward", function)
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):  # built in, without a signature
        return False
    by_place = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    has_rest = any(one.kind == one.VAR_POSITIONAL for one in parameters)
    required = [one for one in by_place if one.default is one.empty]
    if len(required) > 3 or (len(by_place) < 2 and not has_rest):
        raise InputError(
            f"a network is called as f(x, t) or f(x, t, condition); this one takes {len(by_place)} arguments, of which "
            f"{len(required)} have no default; wrap it in a function"
        )
    return len(by_place) > 2
