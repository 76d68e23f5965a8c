"""The names that users call, as the README shows them."""

import subprocess
import sys

import pytest
import torch

import harness

NETWORKS = ["digits-vp", "digits-ve", "digits-adm", "digits-edm"]


def test_importing_harness_loads_nothing_heavy():
    code = "import harness, sys; assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules); harness.Sampler"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_names():
    assert set(harness.__all__) <= set(dir(harness))
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harness.nothing  # noqa: B018


@pytest.mark.parametrize("name", NETWORKS)
def test_the_embedded_networks_draw_digits(name):
    """Samples are near the data: as bright as digits are, and within their range."""
    denoiser = harness.load_denoiser(name)
    choice = {"solver": "heun", "discretization": "edm", "schedule": "linear", "scaling": "none", "steps": 18}
    sampler = harness.Sampler.model_validate(choice)
    out = harness.sample(denoiser, sampler, seeds=range(16))
    assert out.images.shape == (16, 1, 8, 8)
    assert out.images.dtype == torch.float64
    assert out.nfe.tolist() == [35] * 16
    assert out.images.abs().max() < 1.5
    assert -0.7 < out.images.mean() < -0.1
    assert 0.6 < out.images.std() < 0.9
    times = sampler.times(denoiser)
    assert times.shape == (19,)
    assert times[-1] == 0
    assert torch.equal(sampler.sigmas(denoiser), times[:-1])


def test_classes_of_the_conditional_network():
    """Two classes asked for are two kinds of image; the classifier tells them apart."""

    from harness.metrics.features.configs import DigitsFeatures

    denoiser = harness.load_denoiser("digits-adm")
    extractor = DigitsFeatures().load((1, 8, 8))
    for label in (0, 7):
        out = harness.sample(denoiser, harness.Sampler(steps=12), seeds=range(24), labels=label)
        named = extractor.network(out.images.float()).argmax(1)
        assert (named == label).double().mean() > 0.8


def test_embedded_files_are_small():
    from harness.core.embedded import data_dir
    from harness.hub.cards import denoiser_cards

    for name in NETWORKS:
        card = denoiser_cards()[name]
        assert card.parameters <= 400_000
        assert (data_dir("pretrained") / card.file).stat().st_size <= 2_000_000
