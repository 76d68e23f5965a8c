"""Trial: one denoiser and one sampler, and what identifies it: the fingerprint that every stored number hangs on."""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.core.config import Config, plugins_of, unwritten
from harness.core.embedded import sha256_of
from harness.denoisers.load import Part
from harness.sampling.conditions import WORD, policy_of
from harness.sampling.sampler import Sampler

LabelPolicy = Literal["random", "unconditional"] | Annotated[int, Field(ge=0)]
"""random: one class per seed, in the official order, where there are classes; unconditional; or one class for all."""

Conditioned = Annotated[str, Field(pattern=rf"^{WORD} [0-9a-f]{{64}}$")]
"""A file of conditions by its SHA-256, one condition a seed."""

AXES = ("solver", "discretization", "schedule", "scaling", "stochasticity")


class Trial(Config):
    """A denoiser sampled by a sampler. Frozen, JSON both ways.

    Args:
        denoiser: a card's name, the path of a checkpoint, or a spec: how to load it.
        weights: identity of the denoiser, `sha256:...` of its weights or the canonical JSON of its spec.
        sampler: the choice on every axis.
        labels: label policy; or the file of conditions, by its hash.
        conditions: path of that file: how to read it.
        dtype: type the network runs in; None for its own.
    """

    denoiser: Part
    weights: str
    sampler: Sampler
    labels: LabelPolicy | Conditioned = "random"
    conditions: Annotated[str | None, unwritten(None)] = None
    dtype: Literal["float32", "float64"] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of all that changes the numbers, seeds apart.

        Covers the weights (not the name or path they go by), every sampler field with its default, the label policy or
        the content of conditions, the network's type, the versions of the components, and the code of plugins.
        """
        versions = {axis: getattr(self.sampler, axis).version for axis in AXES} | {"sampler": self.sampler.version}
        identity = self.model_dump(mode="json", exclude={"denoiser", "conditions"}) | {"versions": versions}
        if plugins := plugins_of(self.sampler):
            identity["plugins"] = plugins
        return hashlib.sha256(canonical(identity).encode()).hexdigest()


def policy(labels: LabelPolicy, conditions: str | None) -> LabelPolicy | Conditioned:
    """The label policy of a trial: of classes, or the conditions of a file.

    Raises:
        InputError: the file cannot be read.
    """
    return labels if conditions is None else policy_of(sha256_of(Path(conditions).expanduser()))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces, and no NaN or infinity: equal values give equal text."""
    return _ENCODER.encode(value)
