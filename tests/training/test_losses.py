"""The losses against arrays from the official implementation."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from harness.training.losses import EDMLoss, IDDPMLoss, Loss, VELoss, VPLoss
from tests.conftest import golden, relative_error
from tests.denoisers.nets import build

ARRAYS, META = golden("losses")
ENTRIES = {entry["name"]: entry for entry in META["entries"]}
KINDS = {"VPLoss": VPLoss, "VELoss": VELoss, "EDMLoss": EDMLoss}


class Mixture(torch.nn.Module):
    """The ideal denoiser of a Gaussian mixture, in float64 inside; keeps what it was given."""

    def forward(self, x, sigma, labels=None, augment_labels=None):
        self.noised, self.sigma = x, sigma
        means, weights = torch.tensor(ARRAYS["mix.means"]), torch.tensor(ARRAYS["mix.weights"])
        s2, v = float(ARRAYS["mix.std"]) ** 2, sigma.double() ** 2
        x = x.double()
        distance = ((x[:, None] - means) ** 2).sum((2, 3, 4))  # [N, K]
        r = (weights.log() - distance / (2 * (s2 + v[:, :, 0, 0]))).softmax(1)
        pulled = (s2 * x[:, None] + v[:, None] * means) / (s2 + v[:, None])  # [N, K, C, H, W]
        return (r[:, :, None, None, None] * pulled).sum(1).float()


def toy_augment(images, generator):
    r = torch.rand([len(images), 9], generator=generator)
    return torch.where(r[:, :1, None, None] < 0.5, images.flip(3), images), r


def close(ours, name, tolerance):
    theirs = ARRAYS[name]
    assert relative_error(ours.reshape(theirs.shape), theirs) <= tolerance, name


def network_of(name):
    if name == "mix":
        return Mixture()
    return build(name)


@pytest.mark.parametrize("name", ENTRIES)
def test_equals_official(name):
    entry = ENTRIES[name]
    loss, network = KINDS[entry["loss"]](**entry["params"]), network_of(entry["network"])
    images = torch.tensor(ARRAYS[f"{name}.images"])
    labels = torch.tensor(ARRAYS[f"{name}.labels"]) if f"{name}.labels" in ARRAYS else None
    generator = torch.Generator().manual_seed(entry["seed"])
    with torch.no_grad():
        found = loss(network, images, labels, toy_augment if entry["augment"] else None, generator)
    sigma = loss.draw(entry["n"], network, torch.Generator().manual_seed(entry["seed"]), torch.device("cpu"))
    close(sigma, f"{name}.sigma", 1e-6)
    close(loss.weight(sigma), f"{name}.weight", 1e-5)
    close(found, f"{name}.loss", 1e-5)
    if isinstance(network, Mixture):
        close(network.noised, f"{name}.noised", 1e-6)


def test_global_stream_is_the_default():
    images, network = torch.zeros(3, 1, 2, 2), Mixture()
    torch.manual_seed(5)
    first = EDMLoss()(network, images)
    assert torch.equal(first, EDMLoss()(network, images, generator=torch.Generator().manual_seed(5)))


class Levels(torch.nn.Module):
    """A network with four noise levels that predicts a constant noise F = 0.5."""

    def __init__(self):
        super().__init__()
        self.register_buffer("u", torch.tensor([8.0, 4.0, 2.0, 0.0]))

    def forward(self, x, sigma, labels=None, augment_labels=None):
        return x - sigma * 0.5


def test_iddpm_is_the_error_of_the_noise_at_the_networks_levels():
    generator = torch.Generator().manual_seed(0)
    sigma = IDDPMLoss().draw(300, Levels(), generator, torch.device("cpu"))
    assert sigma.shape == (300, 1, 1, 1)
    assert set(sigma.flatten().tolist()) == {8.0, 4.0, 2.0}
    loss = IDDPMLoss()(Levels(), torch.zeros(200, 1, 4, 4), generator=generator)
    assert loss.mean().item() == pytest.approx(1.25, rel=0.1)  # E (n - 1/2)^2


def test_edm_weight_is_one_over_c_out_squared():
    sigma = torch.tensor([0.01, 0.5, 40.0])
    c_out = sigma * 0.7 / (sigma**2 + 0.49).sqrt()
    assert torch.allclose(EDMLoss(sigma_data=0.7).weight(sigma) * c_out**2, torch.ones(3))


def test_ve_exponent_changes_the_weight_and_nothing_else():
    sigma = torch.tensor([0.5, 4.0])
    assert torch.equal(VELoss().weight(sigma), 1 / sigma**2)
    assert torch.equal(VELoss(exponent=1.0).weight(sigma), 1 / sigma)


def test_a_bare_word_is_the_kind_with_paper_defaults():
    union = TypeAdapter(Loss)
    assert union.validate_python("edm") == EDMLoss(P_mean=-1.2, P_std=1.2, sigma_data=0.5)
    assert union.validate_python({"kind": "ve", "sigma_max": 50.0}) == VELoss(sigma_max=50.0)
    with pytest.raises(ValidationError, match="vp"):
        union.validate_python("ddpm")
