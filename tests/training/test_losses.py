"""The losses against arrays from the official implementation, and each axis on its own."""

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.training.losses import COLUMNS, Batch, DenoisingLoss, EDMLoss, LossChoice, VELoss, VPLoss
from harness.training.noise_distributions import NOISE_DISTRIBUTIONS, IDDPMNoise, LogNormal, LogUniform, VPNoise
from harness.training.weights import LOSS_WEIGHTS, EDMWeight, InverseCOut, MinSNR, Power
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


class ToyAugmentation:
    """The augmentation of the golden data: nine uniform numbers are the labels, and the first says whether to flip."""

    def draw(self, n, generator):
        return torch.rand([n, 9], generator=generator)

    def apply(self, images, r):
        return torch.where(r[:, :1, None, None] < 0.5, images.flip(3), images), r


def close(ours, name, tolerance):
    theirs = ARRAYS[name]
    assert relative_error(ours.reshape(theirs.shape), theirs) <= tolerance, name


def network_of(name):
    if name == "mix":
        return Mixture()
    return build(name)


def loss_of(column, augmentation=None):
    return DenoisingLoss(column, column.weight(), augmentation)


@pytest.mark.parametrize("name", ENTRIES)
def test_equals_official(name):
    entry = ENTRIES[name]
    column, network = KINDS[entry["loss"]](**entry["params"]), network_of(entry["network"])
    loss = loss_of(column, ToyAugmentation() if entry["augment"] else None)
    images = torch.tensor(ARRAYS[f"{name}.images"])
    labels = torch.tensor(ARRAYS[f"{name}.labels"]) if f"{name}.labels" in ARRAYS else None
    with torch.no_grad():
        batch = loss.draw(images, labels, torch.Generator().manual_seed(entry["seed"]))
        found = loss(network, batch)
    close(batch.sigma, f"{name}.sigma", 1e-6)
    close(loss.weigh(batch.sigma), f"{name}.weight", 1e-5)
    close(found, f"{name}.loss", 1e-5)
    if isinstance(network, Mixture):
        close(network.noised, f"{name}.noised", 1e-6)


def test_global_stream_is_the_default():
    images, loss = torch.zeros(3, 1, 2, 2), loss_of(EDMLoss())
    torch.manual_seed(5)
    first = loss.draw(images)
    second = loss.draw(images, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first.sigma, second.sigma) and torch.equal(first.noise, second.noise)


class ConstantNoise(torch.nn.Module):
    """A network that predicts a constant noise F = 0.5."""

    def forward(self, x, sigma, labels=None, augment_labels=None):
        return x - sigma * 0.5


def test_iddpm_is_the_error_of_the_noise_at_the_levels_of_the_network():
    small = PRECONDITIONINGS["iddpm"](8, 1, M=4, model_channels=32, channel_mult=[1], num_blocks=1)
    column = COLUMNS.read({"kind": "iddpm", "M": 4})
    sigma = column.draw(300, torch.Generator().manual_seed(0))
    assert sigma.shape == (300, 1, 1, 1)
    assert set(sigma.flatten().tolist()) == set(small.u[:-1].tolist())
    loss = loss_of(column)
    batch = loss.draw(torch.zeros(200, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    assert loss(ConstantNoise(), batch).mean().item() == pytest.approx(1.25, rel=0.1)  # E (n - 1/2)^2


def test_a_network_of_discrete_levels_is_trained_at_those():
    network = PRECONDITIONINGS["iddpm"](8, 1, M=10, model_channels=32, channel_mult=[1], num_blocks=1)
    seen = []
    forward = network.forward
    network.forward = lambda x, sigma, *a, **k: (seen.append(sigma), forward(x, sigma, *a, **k))[1]
    sigma = torch.tensor([1e-6, 0.3, 1e9]).reshape(-1, 1, 1, 1)
    batch = Batch(torch.zeros(3, 1, 8, 8), None, sigma, None, torch.zeros(3, 1, 8, 8))
    loss = DenoisingLoss(LogNormal(), Power())(network, batch)
    assert loss.isfinite().all()
    levels = network.u[:-1]
    nearest = levels[(levels - 0.3).abs().argmin()]
    assert torch.equal(seen[0].flatten(), torch.stack([levels[-1], nearest, levels[0]]))


@pytest.mark.parametrize("sigma_data", [0.1, 0.5, 0.752, 3.0])
def test_edm_weight_is_one_over_c_out_squared(sigma_data):
    network = PRECONDITIONINGS["edm"](
        8, 1, sigma_data=sigma_data, model_channels=32, channel_mult=[1], num_blocks=1
    ).double()
    sigma = torch.logspace(-3, 3, 50, dtype=torch.float64)
    c_out = network.coefficients(sigma).out
    loss = DenoisingLoss(LogNormal(), EDMWeight(), sigma_data=sigma_data)
    assert torch.allclose(loss.weigh(sigma, network) * c_out**2, torch.ones(50, dtype=torch.float64))
    assert torch.allclose(DenoisingLoss(LogNormal(), InverseCOut()).weigh(sigma, network), loss.weigh(sigma, network))
    stated = DenoisingLoss(LogNormal(), EDMWeight(sigma_data=sigma_data), sigma_data=77.0)
    assert torch.equal(stated.weigh(sigma, network), loss.weigh(sigma, network))


@pytest.mark.parametrize("kind", ["vp", "ve", "iddpm", "edm", "flow"])
def test_c_out_is_that_of_whatever_preconditioning(kind):
    network = PRECONDITIONINGS[kind](8, 1, model_channels=32, channel_mult=[1], num_blocks=1)
    sigma = torch.tensor([0.05, 1.0, 20.0])
    weight = DenoisingLoss(LogNormal(), InverseCOut()).weigh(sigma, network)
    assert torch.allclose(weight * network.coefficients(sigma).out ** 2, torch.ones(3))


def test_c_out_needs_a_preconditioning():
    with pytest.raises(ValueError, match="c_out"):
        DenoisingLoss(LogNormal(), InverseCOut()).weigh(torch.ones(1))


def weigh(weight, sigma):
    return DenoisingLoss(LogNormal(), weight).weigh(torch.tensor(sigma)).tolist()


def test_the_other_weights():
    assert weigh(Power(), [0.5, 4.0]) == [4.0, 0.0625]
    assert weigh(Power(exponent=1.0), [0.5, 4.0]) == [2.0, 0.25]
    assert weigh(LOSS_WEIGHTS.read("constant"), [0.5, 4.0]) == [1.0, 1.0]
    assert weigh(MinSNR(), [0.1, 0.5, 2.0]) == [5.0, 4.0, 0.25]
    assert weigh(MinSNR(gamma=1.0), [0.1, 2.0]) == [1.0, 0.25]
    assert LOSS_WEIGHTS.read("snr") == LOSS_WEIGHTS.read("vp") == Power(exponent=2.0)


DISTRIBUTIONS = [VPNoise(), LogUniform(), IDDPMNoise(), LogNormal(), NOISE_DISTRIBUTIONS.read("flow")]


@pytest.mark.parametrize("noise", DISTRIBUTIONS, ids=lambda noise: noise.kind)
def test_levels_lie_between_the_ends(noise):
    sigma = noise.draw(20_000, torch.Generator().manual_seed(0))
    low, high = noise.ends()
    assert sigma.shape == (20_000, 1, 1, 1) and sigma.dtype == torch.float32
    assert low * (1 - 1e-3) <= sigma.min() and sigma.max() <= high * (1 + 1e-5)


def test_distributions_are_what_they_say():
    n = 40_000
    drawn = {noise: noise.draw(n, torch.Generator().manual_seed(1)).flatten().double() for noise in DISTRIBUTIONS}
    log = drawn[LogNormal()].log()
    assert log.mean().item() == pytest.approx(-1.2, abs=0.03) and log.std().item() == pytest.approx(1.2, rel=0.02)
    u = (drawn[LogUniform()] / 0.02).log() / math.log(5000)
    assert u.mean().item() == pytest.approx(0.5, abs=0.01) and u.var().item() == pytest.approx(1 / 12, rel=0.03)
    # VP: the time of the drawn levels is uniform; sigma(t)^2 = exp(beta_d t^2 / 2 + beta_min t) - 1
    decay = (drawn[VPNoise()] ** 2).log1p()
    t = (-0.1 + (0.01 + 2 * 19.9 * decay).sqrt()) / 19.9
    assert t.mean().item() == pytest.approx(0.5, abs=0.01) and t.var().item() == pytest.approx(1 / 12, rel=0.03)
    # flow: the logit of sigma / (1 + sigma) is standard normal
    time = drawn[NOISE_DISTRIBUTIONS.read("flow")]
    time = time / (1 + time)
    assert torch.special.logit(time).std().item() == pytest.approx(1, rel=0.02)


def test_ends_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match=r"sigma_min = 5 must be below sigma_max = 2"):
        LogUniform(sigma_min=5.0, sigma_max=2.0)


def test_a_bare_word_is_the_kind_with_paper_defaults():
    union = TypeAdapter(LossChoice)
    assert union.validate_python("edm") == EDMLoss(P_mean=-1.2, P_std=1.2)
    assert union.validate_python({"kind": "ve", "sigma_max": 50.0}) == VELoss(sigma_max=50.0)
    with pytest.raises(ValidationError, match="vp"):
        union.validate_python("ddpm")
    assert NOISE_DISTRIBUTIONS.read("ve") == LogUniform(sigma_min=0.02, sigma_max=100.0)
    assert NOISE_DISTRIBUTIONS.read("edm") == LogNormal()


@pytest.mark.parametrize("kind", COLUMNS.kinds)
def test_a_column_is_its_noise_distribution_with_its_weight(kind):
    column = COLUMNS.read(kind)
    noise, weight = NOISE_DISTRIBUTIONS.read(kind), LOSS_WEIGHTS.read(kind)
    assert column.weight() == weight
    seed = torch.Generator().manual_seed(3)
    assert torch.equal(column.draw(50, seed), noise.draw(50, torch.Generator().manual_seed(3)))
    assert column.ends() == noise.ends()
