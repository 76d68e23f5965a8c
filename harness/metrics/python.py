"""Metrics in the user's Python code: one number an image, from images alone."""

import json
from typing import Literal

from harness.metrics.image_function import Factory, ImageFunction, PythonSource


class PythonMetric(ImageFunction):
    """The mean of a function of the user's, which gives one number an image: f(images [B, ...]) gives [B].

    Args:
        factory: `file.py:object` or `module:object`, which gives the function when it is called with `args`.
    """

    kind: Literal["python"] = "python"
    factory: Factory

    @property
    def program(self) -> PythonSource:
        return PythonSource(self.factory, json.dumps(self.args, sort_keys=True), self.weights)

    @property
    def word_of_program(self) -> str:
        """The object's name."""
        return self.factory.rpartition(":")[2]
