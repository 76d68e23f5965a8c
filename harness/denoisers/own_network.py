"""What specs of a user's own networks have in common: the network's convention, and the shape of its samples.

The keys of the convention stand beside `predicts`, or with it:

    {kind: exported, path: net.pt2, predicts: noise, betas: linear, shape: [3, 32, 32]}
    {kind: exported, path: net.pt2, predicts: {kind: noise, betas: linear}, shape: [3, 32, 32]}

Both are one spec. See `harness.denoisers.conventions` for what there is. Importing this module loads no torch.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from harness.core.config import AnyShape, Config, Positive, Real, shorthand, unwritten
from harness.core.data_range import BYTES, DeclaredRange
from harness.denoisers.config import DTYPES, DenoiserConfig, Description
from harness.denoisers.conventions import CONVENTIONS, Convention

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.denoisers.wrapped_network import Network, WrappedNetwork
    from harness.sampling.denoiser import Denoiser


class OwnNetworkSpec(DenoiserConfig):
    """A network of the user's own, which is called as f(x, t) or f(x, t, condition).

    Args:
        predicts: its convention: `noise`, `v`, `image`, `score` or `flow`, and the keys of that.
        shape: of one sample.
        label_dim: number of classes, the null class among them; 0 for none.
        conditional: whether its third argument is what a file of conditions holds: texts, a tensor or several.
        sigma_min, sigma_max: noise levels at which it may be called, in units of the data; by default all that the
            convention knows.
        data_range: lowest and highest value of the data, or null; see `harness.core.data_range`.
        check: what is checked before it is used, see `harness.check_denoiser`: `trained`, all of it; `interface`, not
            what an untrained network does not keep. It is no part of the identity.
    """

    is_own: ClassVar[bool] = True
    outside_identity: ClassVar[frozenset[str]] = frozenset({"check"})
    dtypes: ClassVar[tuple[str, ...]] = DTYPES
    """Types of arithmetic that may be asked for."""

    predicts: Annotated[Convention, CONVENTIONS]
    shape: AnyShape
    label_dim: Annotated[int, Field(ge=0)] = 0
    conditional: Annotated[bool, unwritten(False)] = False
    sigma_min: Positive | None = None
    sigma_max: Annotated[Real, Field(gt=0)] | None = None
    data_range: DeclaredRange = BYTES
    check: Literal["trained", "interface"] = "trained"

    @model_validator(mode="before")
    @classmethod
    def _gather_convention(cls, data: Any) -> Any:
        """Move the keys of the convention that stand beside `predicts` into it."""
        if not isinstance(data, Mapping) or isinstance(data.get("predicts"), Config):
            return data
        predicts = shorthand(data.get("predicts"))
        kind = predicts.get("kind") if isinstance(predicts, Mapping) else None
        convention = CONVENTIONS.find(kind) if isinstance(kind, str) else None
        if convention is None:
            return data
        beside = {key: value for key, value in data.items() if key in _KEYS and key not in cls.model_fields}
        if stray := [key for key in beside if key not in convention.model_fields]:
            known = ", ".join(key for key in convention.model_fields if key != "kind")
            raise ValueError(f"'{stray[0]}' is no key of a network that predicts '{kind}'; it has {known}")
        if twice := [key for key in beside if key in predicts]:
            raise ValueError(f"'{twice[0]}' is there twice, beside `predicts` and in it; remove one")
        rest = {key: value for key, value in data.items() if key not in beside}
        return {**rest, "predicts": {**predicts, **beside}}

    @model_validator(mode="after")
    def _classes_or_conditions(self) -> "OwnNetworkSpec":
        if not self.label_dim and (self.predicts.classes != "one_hot" or self.predicts.null_class is not None):
            raise ValueError("classes and null_class are for a network with classes; give label_dim, or leave them out")
        if self.conditional and self.label_dim:
            raise ValueError(f"a conditional network has no classes, and label_dim is {self.label_dim}; leave one out")
        return self

    @property
    def is_trained(self) -> bool:
        return self.check == "trained"

    @property
    @abstractmethod
    def identity(self) -> str:
        """What the numbers depend on, found without running anything.

        Raises:
            InputError: the network's file or source is not there, or another one than was named.
        """

    @abstractmethod
    def network(self, device: "torch.device", dtype: "torch.dtype | None") -> "Network":
        """The network, called in its own convention.

        Args:
            device: where it computes.
            dtype: of its arithmetic; None means its own.

        Raises:
            InputError: it cannot be made, or runs code without permission.
        """

    def describe(self, *parts: Description) -> Description:
        low, high, takes_infinity = self.predicts.noise_range(self.sigma_min, self.sigma_max)
        null_class = self.predicts.null_class
        return Description(
            self.identity,
            self.shape,
            self.label_dim,
            low,
            high,
            is_rounding=self.predicts.rounds,
            null_class=null_class,
            needs_class=bool(self.label_dim) and self.predicts.classes == "index" and null_class is None,
            takes_infinity=takes_infinity,
            dtypes=self.dtypes,
            conditional=self.conditional,
            data_range=self.data_range,
        )

    def build(
        self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None"
    ) -> "WrappedNetwork":
        return self.wrapped(self.network(device, dtype), device, dtype)

    def wrapped(
        self, network: "Network", device: "torch.device", dtype: "torch.dtype | None", cost: int = 1
    ) -> "WrappedNetwork":
        """The denoiser of the network.

        Args:
            network: what `network` gives.
            device: where it computes.
            dtype: of its arithmetic; None means float32.
            cost: network evaluations that a call counts as.

        Raises:
            InputError: the network does not go with the spec; see `harness.denoisers.conventions.wrap`.
        """
        from harness.denoisers.conventions import wrap

        return wrap(
            network,
            self.predicts,
            shape=self.shape,
            label_dim=self.label_dim,
            conditional=self.conditional,
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            data_range=self.data_range,
            cost=cost,
            dtype=dtype,
            device=device,
        )

    def rounding(self) -> "Callable[[Tensor], Tensor] | None":
        return self.predicts.round_sigma if self.predicts.rounds else None


_KEYS = frozenset(key for member in CONVENTIONS.members for key in member.model_fields) - {"kind"}
"""Keys of any convention."""
