"""Scores: how well each image goes with its condition, as a function of the user's says."""

import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from harness.hub.cards import Digest
from harness.metrics.image_function import Factory, ImageFunction, PythonSource, TorchScriptFile


class Score(ImageFunction):
    """A score of each image with its condition: f(images, condition) of the user's gives one number an image.

    The condition is what the denoiser is given beside x and sigma: one-hot rows [B, label_dim] of classes; with
    `conditions`, what their file holds, a list of texts, a tensor [B, ...] or a dict of tensors; None where there is
    nothing. CLIP similarities, aesthetic predictors, and a classifier's probability of the class that
    was asked for are such scores.

    Args:
        path: a TorchScript file with such a `forward`; or give `factory`.
        sha256: its hash, without which it is not run.
        factory: `file.py:object` or `module:object`, which gives the function when it is called with `args`.
    """

    takes_condition: ClassVar[bool] = True

    kind: Literal["score"] = "score"
    better: Literal["lower", "higher"] = "higher"  # type: ignore[misc]  # as in `ImageFunction`
    path: Annotated[str, Field(min_length=1)] | None = None
    sha256: Digest | None = None
    factory: Factory | None = None

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        if (self.path is None) == (self.factory is None):
            raise ValueError("give either the `path` of a TorchScript file, with its `sha256`, or a `factory`")
        for name in ("sha256",) if self.path is None else ("args", "weights"):
            if getattr(self, name):
                raise ValueError(f"`{name}` is for a {'`path`' if self.path is None else '`factory`'}; leave it out")
        return self

    @property
    def program(self) -> PythonSource | TorchScriptFile:
        if self.path is not None:
            return TorchScriptFile(self.path, self.sha256)
        assert self.factory is not None
        return PythonSource(self.factory, json.dumps(self.args, sort_keys=True), self.weights)

    @property
    def word_of_program(self) -> str:
        """The file's or the module's name."""
        place = self.path or (self.factory or "").rpartition(":")[0]
        is_file = self.path is not None or place.endswith(".py")
        return Path(place).name.partition(".")[0] if is_file else place.rpartition(".")[2]
