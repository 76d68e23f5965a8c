"""torchmetrics, whose import takes in the package of torch-fidelity where that is installed, and with it torchvision.

Features are handed over as they are, so neither is needed: an empty package on the same path stands in for it.
"""

import importlib
import sys
import types
import warnings
from importlib.machinery import PathFinder
from typing import Any


def judge(module: str, name: str, **fields: Any) -> Any:
    """A metric of torchmetrics, for instance `judge("image.fid", "FrechetInceptionDistance", feature=network)`."""
    there = PathFinder.find_spec("torch_fidelity")
    if there and "torch_fidelity" not in sys.modules:
        hollow = types.ModuleType("torch_fidelity")
        hollow.__path__ = list(there.submodule_search_locations)
        sys.modules["torch_fidelity"] = hollow
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"torchmetrics.{module}"), name)(**fields)
