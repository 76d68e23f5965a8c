"""Every spec that a denoiser can be given by: analytic ones, and guidance over others. Loads no torch."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from harness.core.config import Shorthand, kinds
from harness.core.errors import InputError
from harness.core.yaml import explain
from harness.denoisers.analytic.specs import DiracsSpec, GaussianSpec, IdealSpec, MixtureSpec
from harness.denoisers.guidance import AutoguidanceSpec, CFGSpec

Spec = GaussianSpec | MixtureSpec | DiracsSpec | IdealSpec | CFGSpec | AutoguidanceSpec

MEMBERS = (GaussianSpec, MixtureSpec, DiracsSpec, IdealSpec, CFGSpec, AutoguidanceSpec)

DenoiserSpec = Annotated[Annotated[Spec, Field(discriminator="kind")], Shorthand]
"""Any of the specs; a bare word stands for the kind with its defaults."""

KINDS = kinds(MEMBERS)
"""The words that `kind` allows."""

_ADAPTER: TypeAdapter[Spec] = TypeAdapter(DenoiserSpec)


def parse(spec: Any) -> Spec:
    """Read a spec given as a mapping, a bare kind, or a spec object.

    Raises:
        InputError: unknown kind or key, or a value out of range; names the key.
    """
    try:
        return _ADAPTER.validate_python(spec)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc'])}: {explain(e)}" for e in error.errors()]
        raise InputError("denoiser: " + "\n".join(dict.fromkeys(lines[:10]))) from None
