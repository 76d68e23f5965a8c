"""Denoisers that are objects of the calling program, given by `harness.run(grid, denoisers={"mine": denoiser})`.

Such a denoiser has no file, so its numbers are known by an identity that the caller states. It is found in the process
that it was given to. A worker process makes its own with the caller's factory, a function that can be pickled.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from harness.core.errors import InputError
from harness.core.text import told
from harness.denoisers.config import DenoiserConfig, Description

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.sampling.denoiser import Denoiser


class GivenDenoiser(NamedTuple):
    """A denoiser that was given, or a function without arguments that makes it.

    Args:
        value: either.
        identity: by which its results are known.
        is_trained: whether its check covers what only a trained denoiser keeps.
    """

    value: Any
    identity: str
    is_trained: bool = True

    @property
    def is_factory(self) -> bool:
        """Whether it has to be made: it is no denoiser itself."""
        return not hasattr(self.value, "sigma_max") and not hasattr(self.value, "forward") and callable(self.value)


_given: dict[str, GivenDenoiser] = {}
_made: dict[str, Any] = {}


@contextmanager
def given_denoisers(denoisers: Mapping[str, GivenDenoiser]) -> Iterator[None]:
    """Denoisers are there by name inside."""
    if not denoisers:
        yield
        return
    before = dict(_given)
    _given.update(denoisers)
    try:
        yield
    finally:
        for name, given in denoisers.items():
            if before.get(name) is not given:
                _made.pop(name, None)  # of the inner one; a run in this process hands its own on to each task
        _given.clear()
        _given.update(before)


def factories(source: Any) -> dict[str, GivenDenoiser]:
    """The factories that a denoiser is made of, by name, to be sent to another process."""
    if isinstance(source, GivenSpec):
        given = _given.get(source.name)
        return {source.name: given} if given is not None and given.is_factory else {}
    parts = source.parts() if isinstance(source, DenoiserConfig) else ()
    return {name: given for part in parts for name, given in factories(part).items()}


class GivenSpec(DenoiserConfig):
    """A denoiser that was given as an object.

    Args:
        name: as it was given.
        identity: by which its results are known.
    """

    is_own: ClassVar[bool] = True

    kind: Literal["given"] = "given"
    name: str
    identity: str

    @property
    def title(self) -> str:
        return f"denoiser '{self.name}'"

    @property
    def is_trained(self) -> bool:
        return self.name not in _given or _given[self.name].is_trained

    def describe(self, *parts: Description) -> Description:
        from harness.sampling.denoiser import data_range, needs_class, null_class, takes_conditions, takes_infinity

        denoiser = self._denoiser()
        return Description(
            self.canonical(name=""),
            denoiser.shape,
            denoiser.label_dim,
            denoiser.sigma_min,
            denoiser.sigma_max,
            cost=denoiser.cost,
            null_class=null_class(denoiser),
            needs_class=needs_class(denoiser),
            takes_infinity=takes_infinity(denoiser),
            dtypes=(str(denoiser.dtype).removeprefix("torch."),),
            data_range=data_range(denoiser),
            conditional=takes_conditions(denoiser),
            is_rounding=self._rounds(denoiser),
        )

    def rounding(self) -> "Callable[[Tensor], Tensor] | None":
        return self._denoiser().round_sigma

    def build(self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None") -> "Denoiser":
        denoiser = self._denoiser()
        if denoiser.device.type != device.type:
            raise InputError(
                f"denoiser '{self.name}' is on {denoiser.device} and this run computes on {device}; move it there, or "
                f"give device='{denoiser.device.type}'"
            )
        if dtype is not None and denoiser.dtype != dtype:
            raise InputError(f"denoiser '{self.name}' computes in {denoiser.dtype}; leave dtype out, or convert it")
        return denoiser

    def _rounds(self, denoiser: "Denoiser") -> bool:
        """Whether it moves noise levels to those that it knows."""
        import torch

        levels = torch.logspace(-3, 3, 61, dtype=torch.float64).clamp(denoiser.sigma_min, denoiser.sigma_max)
        try:
            return bool((denoiser.round_sigma(levels).cpu() != levels).any())
        except Exception as error:  # the user's code
            raise InputError(
                f"denoiser '{self.name}' fails in round_sigma, given float64 levels [61]: {told(error)}"
            ) from error

    def _denoiser(self) -> "Denoiser":
        found = _given.get(self.name)
        if found is None or found.identity != self.identity:
            raise InputError(
                f"denoiser '{self.name}' was an object of a program, and is not here; give it again: "
                f"harness.run(grid, denoisers={{'{self.name}': ...}})"
            )
        if not found.is_factory:
            return _checked(found.value, f"denoiser '{self.name}'")
        if self.name not in _made:
            try:
                _made[self.name] = found.value()
            except Exception as error:
                raise InputError(f"the factory of denoiser '{self.name}' raised {told(error)}") from error
        return _checked(_made[self.name], f"what the factory of denoiser '{self.name}' makes")


def _checked(value: Any, what: str) -> "Denoiser":
    from harness.sampling.denoiser import Denoiser

    if isinstance(value, Denoiser):
        return value
    if hasattr(value, "forward"):
        raise InputError(
            f"{what} is a network, and no denoiser yet; harness.denoisers.conventions.wrap makes one of it, by what it "
            "predicts"
        )
    raise InputError(
        f"{what} is no denoiser: it needs shape, label_dim, sigma_min, sigma_max, cost, dtype, device and round_sigma, "
        f"and to be called; it is a {type(value).__name__}"
    )
