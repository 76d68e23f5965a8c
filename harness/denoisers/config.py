"""What a denoiser's configuration knows without torch: the base of the specs that YAML becomes."""

import json
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from harness.core.config import Config, OneOf, plugins_of
from harness.core.data_range import BYTES, DataRange

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.sampling.denoiser import Denoiser


class Window(NamedTuple):
    """Where a guided denoiser costs less: outside sigma_lo < sigma <= sigma_hi an evaluation counts as `outside`."""

    sigma_lo: float
    sigma_hi: float
    outside: int


class Description(NamedTuple):
    """What a plan needs to know of a denoiser.

    Attributes:
        identity: `sha256:...` of the weights' file, or the canonical JSON of a configuration.
        shape: of one sample, (C, H, W) for images.
        label_dim: classes, the null class among them; 0 means unconditional.
        sigma_min, sigma_max: noise range that it supports.
        cost: evaluations that one call counts as.
        window: where a call counts as fewer; None if it never does.
        guided_by_class: whether it is classifier-free guidance.
        family: kind of the network's preconditioning; "" for a denoiser without one.
        null_class, needs_class: see `harness.sampling.denoiser.ClassTable`.
        is_rounding: whether levels are rounded, where `family` does not say so.
        conditional: whether it takes conditions other than classes; see `harness.sampling.conditions`.
        dtypes: which types of arithmetic may be asked for: both for a network; float64 for an analytic denoiser, which
            has no other; none where it has its own whatever is asked.
        takes_infinity: see `harness.sampling.denoiser.AtInfinity`.
        data_range: lowest and highest value of its data; see `harness.core.data_range`.
    """

    identity: str
    shape: tuple[int, ...]
    label_dim: int
    sigma_min: float
    sigma_max: float
    cost: int = 1
    window: Window | None = None
    guided_by_class: bool = False
    family: str = ""
    null_class: int | None = None
    needs_class: bool = False
    is_rounding: bool = False
    dtypes: tuple[str, ...] = ("float64",)
    conditional: bool = False
    takes_infinity: bool = False
    data_range: DataRange = BYTES

    @property
    def rounds(self) -> bool:
        """Whether noise levels are rounded to those that the network was trained at."""
        return self.is_rounding or self.family in ("iddpm", "ve-discrete") or self.family.startswith("ddpm")


class AnyDenoiser:
    """Metadata of a field that holds a source: a name or a path, or a spec of any kind.

    The kinds are `harness.denoisers.load.DENOISERS`, which are made of classes with such fields; so that module says.
    """

    union: ClassVar[OneOf[Any] | None] = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            return value
        assert self.union is not None, "harness.denoisers.load says which kinds there are"
        return self.union.read_json(json.dumps(value)) if info.mode == "json" else self.union.read(value)


DTYPES = ("float32", "float64")
"""Types of arithmetic that may be asked for."""


class DenoiserConfig(Config):
    """A denoiser given by a `kind` and fields; it may be made of other denoisers, its parts."""

    is_own: ClassVar[bool] = False
    """Whether it is a user's own network: its file or code is not ours, and it is checked before it is used."""

    outside_identity: ClassVar[frozenset[str]] = frozenset()
    """Fields on which the numbers do not depend."""

    kind: str

    @property
    def is_trained(self) -> bool:
        """Whether the check of an own network covers what only a trained one keeps."""
        return True

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"denoiser '{self.kind}'"

    def parts(self) -> tuple[Any, ...]:
        """The sources of the denoisers that this one is made of; see `harness.denoisers.load`."""
        return ()

    def rounding(self) -> "Callable[[Tensor], Tensor] | None":
        """How noise levels are rounded to those that the network knows, without its weights; None if they are not.

        A denoiser that is made of others rounds as the first of them.
        """
        return None

    @abstractmethod
    def describe(self, *parts: Description) -> Description:
        """What a plan needs to know; loads no torch.

        Args:
            parts: the descriptions of `parts`, in their order.

        Raises:
            InputError: parts that do not go together.
        """

    @abstractmethod
    def build(self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None") -> "Denoiser":
        """The denoiser.

        Args:
            parts: the denoisers of `parts`, in their order, on this device and in this dtype.
            device: where it computes.
            dtype: of its arithmetic; None means its own.

        Raises:
            InputError: a dtype that it does not have, or parts that do not go together.
        """

    def canonical(self, **changes: Any) -> str:
        """What the numbers depend on, as JSON with sorted keys: fields, version, and the package of a plugin.

        Fields of `outside_identity` are left out.

        Args:
            changes: values that replace fields of these names.
        """
        written = self.model_dump(mode="json", exclude={*self.outside_identity, *changes})
        fields = {**written, **changes, "version": self.version}
        if plugins := plugins_of(self):
            fields["plugins"] = plugins
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


Part = Annotated[str | DenoiserConfig, AnyDenoiser()]
"""How a denoiser is loaded, in a grid or as a part of another: a card's name, a checkpoint's path, or a spec."""
