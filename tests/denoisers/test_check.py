"""What every denoiser promises, over every kind there is; and that the check sees what is wrong."""

import functools
import math

import pytest
import torch

import harness
from harness.denoisers.analytic import exact as analytic
from harness.denoisers.checkpoints.convert import load_foreign
from harness.denoisers.preconditioning import PRECONDITIONINGS
from tests.denoisers import nets
from tests.denoisers.snapshots import small, write_snapshot

build = functools.cache(nets.build)
EXACT = [
    {"kind": "gaussian", "mean": 0.2, "std": 0.4, "shape": [1, 4, 4]},
    {"kind": "mixture", "means": [-0.5, 0.5], "std": 0.1, "shape": [1, 4, 4]},
    {"kind": "diracs", "shape": [1, 4, 4]},
    "ideal",
]
EMBEDDED = ["digits-vp", "digits-ve", "digits-adm", "digits-edm"]
GUIDED = [
    {"kind": "cfg", "denoiser": "digits-adm", "weight": 2.0},
    {"kind": "autoguidance", "denoiser": "digits-vp", "guide": "digits-edm", "weight": 1.5},
]


@pytest.mark.parametrize("name", nets.NAMES)
def test_golden_networks(name):
    harness.check_denoiser(build(name))


@pytest.mark.parametrize("source", [*EXACT, *EMBEDDED, *GUIDED], ids=str)
def test_what_can_be_loaded(source):
    harness.check_denoiser(harness.load_denoiser(source))


@pytest.mark.parametrize("kind", PRECONDITIONINGS)
@pytest.mark.parametrize("model_type", ["SongUNet", "DhariwalUNet", "OpenAIUNet"])
def test_every_preconditioning_of_every_network(kind, model_type):
    torch.manual_seed(0)
    size = {"model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1}
    given = nets.ARGUMENTS.get(kind, {})
    net = PRECONDITIONINGS[kind](8, 1, 3, model_type=model_type, **size, **given).eval().requires_grad_(False)
    harness.check_denoiser(net, identity=kind != "ddpm-x0")


def test_a_snapshot(tmp_path):
    harness.check_denoiser(load_foreign(write_snapshot(tmp_path / "net.pkl", small())))


class Wrapped:
    """The exact denoiser of a Gaussian, to be spoiled."""

    shape, label_dim, sigma_min, sigma_max, cost = (1, 4, 4), 0, 0.0, math.inf, 1
    dtype, device = torch.float64, torch.device("cpu")
    exact = analytic.Gaussian(0.0, 0.5, (1, 4, 4))

    def __call__(self, x, sigma, labels=None):
        return self.exact(x, sigma)

    def round_sigma(self, sigma):
        return sigma


class ChangesItsInput(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x.mul_(2), sigma)


class OtherShape(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x, sigma)[:, :, :2]


class OtherType(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x, sigma).float()


class MixesRows(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x - x.mean(), sigma)


class PredictsNoise(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return (x.double() - self.exact(x, sigma)) / torch.as_tensor(sigma).double().reshape(-1, 1, 1, 1)


class OneSigmaForAll(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x, torch.as_tensor(sigma).reshape(-1)[0] * (2 if sigma.ndim else 1))


class Random(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x, sigma) + torch.rand(())


class NotFinite(Wrapped):
    def __call__(self, x, sigma, labels=None):
        return self.exact(x, sigma) / 0


class RoundsAndRounds(Wrapped):
    def round_sigma(self, sigma):
        return sigma * 1.01


class RoundsToFloat32(Wrapped):
    def round_sigma(self, sigma):
        return sigma.float()


class LeavesItsRange(Wrapped):
    sigma_min, sigma_max = 0.1, 10.0

    def round_sigma(self, sigma):
        return torch.full_like(sigma, 0.05)


class NoLabelsAreAClass(Wrapped):
    label_dim = 2

    def __call__(self, x, sigma, labels=None):
        return self.exact(x, sigma) + (1 if labels is None else labels.sum(1).reshape(-1, 1, 1, 1))


class NoRange(Wrapped):
    sigma_min = sigma_max = 1.0


class NoShape(Wrapped):
    shape = ()


class NotTheLimit(Wrapped):
    takes_infinity = True

    def __call__(self, x, sigma, labels=None):
        return torch.where(sigma.isinf(), 1.0, self.exact(x, sigma))


class InfinityBeyondItsRange(Wrapped):
    takes_infinity, sigma_max = True, 80.0


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (ChangesItsInput, "x must not be changed"),
        (OtherShape, "D has the shape of x"),
        (OtherType, "D comes in the denoiser's dtype, torch.float64; we got torch.float32"),
        (MixesRows, "a row must not depend on the other rows"),
        (OneSigmaForAll, "a row must not depend|a row alone is what it is|the same level, the same D"),
        (Random, "the same question has the same answer"),
        (NotFinite, "D is finite"),
        (RoundsAndRounds, "round_sigma of a rounded level is that level"),
        (RoundsToFloat32, "round_sigma keeps shape and dtype"),
        (LeavesItsRange, "the ends of the range round to levels within it"),
        (NoLabelsAreAClass, "no labels are labels of all zeros"),
        (NoRange, "0 <= sigma_min < sigma_max; we got 1.0 and 1.0"),
        (NoShape, r"shape is a tuple of sides, such as \(C, H, W\); we got \(\)"),
        (NotTheLimit, r"D at sigma = infinity is the limit of D\(sigma n; sigma\)"),
        (InfinityBeyondItsRange, "takes sigma = infinity has no sigma_max"),
    ],
)
def test_broken_promises_are_seen(spoiled, message):
    harness.check_denoiser(Wrapped())
    with pytest.raises(AssertionError, match=message):
        harness.check_denoiser(spoiled())


def test_what_is_no_denoiser():
    with pytest.raises(AssertionError, match="a denoiser has shape, label_dim"):
        harness.check_denoiser(torch.nn.Linear(1, 1))


def test_the_identity_may_be_asked_on_given_images():
    exact = analytic.Ideal(torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4))
    harness.check_denoiser(exact, images=torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4))
    with pytest.raises(AssertionError, match="goes to x as sigma goes to 0"):
        harness.check_denoiser(exact, images=torch.zeros(2, 1, 4, 4))


def test_a_prediction_of_the_noise_is_no_denoiser():
    images = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)) / 2
    harness.check_denoiser(Wrapped(), images=images)
    with pytest.raises(AssertionError, match="is D the image, and sigma in units of the images"):
        harness.check_denoiser(PredictsNoise(), images=images)


@pytest.mark.parametrize("name", ["digits-vp", "digits-ve", "digits-adm", "digits-edm", "ideal", "digits-mixture"])
def test_trained_denoisers_go_to_the_mean(name):
    harness.check_denoiser(harness.load_denoiser(name), mean=True)
