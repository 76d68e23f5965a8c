"""torch-fidelity's Inception-v3 without its package, whose import needs torchvision: the one file is imported alone."""

import importlib
import sys
import types
import warnings
from importlib.machinery import PathFinder

import torch

from harness.metrics.features.inception import InceptionV3

OUTPUTS = ["2048", "logits_unbiased", "logits"]


def judge(path):
    """Their network with the weights of a file; names and shapes must be exactly theirs."""
    if "torch_fidelity" not in sys.modules:
        there = PathFinder.find_spec("torch_fidelity")
        assert there, "these tests need: pip install --no-deps torch-fidelity"
        hollow = types.ModuleType("torch_fidelity")
        hollow.__path__ = list(there.submodule_search_locations)
        sys.modules["torch_fidelity"] = hollow
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    return module.FeatureExtractorInceptionV3("judge", OUTPUTS, str(path))


def random_weights(seed=0):
    """Random weights under the names of the published file, such that all layers tell images apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = InceptionV3().state_dict()
    weights = {}
    for name, tensor in shapes.items():
        if tensor.dtype == torch.long:
            weights[name] = torch.tensor(0)
        elif name.endswith(("running_var", "bn.weight")):
            weights[name] = torch.rand(tensor.shape, generator=generator) + 0.6
        elif name == "fc.weight":
            weights[name] = torch.randn(tensor.shape, generator=generator) * 1e-4
        elif tensor.ndim > 1:
            weights[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        else:
            weights[name] = torch.randn(tensor.shape, generator=generator) * 0.1
    return weights
