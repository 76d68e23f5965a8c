"""A network that Python code of the user makes: `{kind: python, factory: "my_pkg.nets:make", ...}`.

The factory is called with `args`, and returns a module or a function f(x, t) or f(x, t, condition), in the network's
own convention; see `harness.denoisers.conventions`. Planning and reports find the code and hash it, and run none of it.
Importing this module loads no torch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from harness.core.code import call_factory, find_code
from harness.core.config import Arguments, Count, Files
from harness.core.embedded import sha256_of
from harness.denoisers.config import Description
from harness.denoisers.own_network import OwnNetworkSpec

if TYPE_CHECKING:
    import torch

    from harness.denoisers.wrapped_network import Network, WrappedNetwork
    from harness.sampling.denoiser import Denoiser


class PythonSpec(OwnNetworkSpec):
    """A network that a factory of the user's makes.

    Its identity is the source of the factory with what that imports of the user's (see `harness.core.code`), `args` as
    values, and the content of `weights`.

    Args:
        factory: `module:object` or `file.py:object`, a path from the working directory.
        args: keyword arguments of the factory, as JSON has values: neither NaN nor infinity.
        weights: files that the network is made of; they are hashed, and given to the factory as `weights`, a list of
            paths, where it has a parameter of that name.
        cost: network evaluations that a call counts as.
        predicts, shape, label_dim, sigma_min, sigma_max: as for every own network.
    """

    kind: Literal["python"] = "python"
    factory: Annotated[str, Field(min_length=3)]
    args: Annotated[Arguments, Field(default_factory=dict)]
    weights: Files = ()
    cost: Count = 1

    @property
    def title(self) -> str:
        return f"denoiser '{self.factory}'"

    @property
    def identity(self) -> str:
        code = find_code(self.factory)
        where = self.factory.rpartition(":")
        module = Path(where[0]).stem if where[0].endswith(".py") else where[0]
        return self.canonical(
            factory=f"{module}:{where[2]}",
            weights=[sha256_of(Path(file).expanduser()) for file in self.weights],
            code=code.sha256,
            distributions=code.distributions,
        )

    def describe(self, *parts: Description) -> Description:
        return super().describe(*parts)._replace(cost=self.cost)

    def build(
        self, parts: "tuple[Denoiser, ...]", device: "torch.device", dtype: "torch.dtype | None"
    ) -> "WrappedNetwork":
        return self.wrapped(self.network(device, dtype), device, dtype, self.cost)

    def network(self, device: "torch.device", dtype: "torch.dtype | None") -> "Network":
        return call_factory(
            self.factory, self.args, self.weights, makes="network", called_as="f(x, t) or f(x, t, condition)"
        )
