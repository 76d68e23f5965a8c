"""The whole chain with real networks: seeds, labels, sampler, bytes; against the official implementation."""

import numpy as np
import pytest

from harness.datasets.image_bytes import to_bytes
from harness.sampling.sample import sample
from tests.conftest import golden, relative_error
from tests.denoisers.nets import build
from tests.sampling.test_golden import sampler_of

CHAIN = golden("net_sampling")


@pytest.mark.parametrize("run", CHAIN.meta["runs"], ids=lambda run: run["name"])
def test_images_of_a_network(run):
    name, arrays = run["name"], CHAIN.arrays
    network = build(run["network"])
    out = sample(network, sampler_of({**run["kwargs"], "sampler": run["sampler"]}), CHAIN.meta["seeds"])
    assert relative_error(out.images, arrays[f"{name}.x"]) < 1e-4
    pixels = to_bytes(out.images.numpy()).transpose(0, 2, 3, 1).astype(int)
    apart = np.abs(pixels - arrays[f"{name}.uint8"])
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


def test_there_are_seven():
    assert len(CHAIN.meta["runs"]) == 7
