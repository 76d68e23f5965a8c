"""Networks in their own conventions, against the schedulers of `diffusers`, the exact denoiser, and each other."""

import math
import pickle
import subprocess
import sys

import diffusers
import pytest
import torch
from pydantic import ValidationError

import harness
from harness.core.errors import InputError
from harness.denoisers.conventions import (
    CONVENTIONS,
    BetaSchedule,
    FlowVelocity,
    Image,
    Noise,
    Score,
    V,
    wrap,
)
from harness.denoisers.preconditioning.discrete import DDPMPrecond
from harness.denoisers.wrapped_network import takes_condition
from harness.sampling.denoiser import Denoiser

F64 = torch.float64
SHAPE = (2, 3)
EXACT = harness.load_denoiser({"kind": "mixture", "means": [-0.5, 0.6], "std": 0.3, "shape": list(SHAPE)})
NAMES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos": "squaredcos_cap_v2"}
TYPES = {"noise": "epsilon", "v": "v_prediction", "image": "sample"}


def column(value, x):
    return value.to(F64).reshape(-1, *[1] * (x.ndim - 1))


def states(count=4, seed=0):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=F64)


def network(x, t):
    """Any function will do for an identity in F."""
    return torch.sin(3 * x) + column(t, x) / 700


def wrapped(function, convention, **fields):
    return wrap(function, CONVENTIONS.read(convention), shape=SHAPE, dtype=F64, **fields)


def exact_network(predicts, betas=None, vp=False):
    """The exact denoiser of the mixture, as a network of a convention."""

    def function(x, t):
        t = column(t, x)
        if betas is not None:
            sigma = column(betas[t.reshape(-1).long()], x)
        else:
            sigma = t
        s = (1 + sigma**2).rsqrt() if vp or betas is not None else torch.ones_like(sigma)
        xbar = x / s
        denoised = EXACT(xbar, sigma.reshape(-1))
        noise = (xbar - denoised) / sigma
        return {
            "noise": noise,
            "image": denoised,
            "score": -noise / (s * sigma),
            "v": (noise - sigma * denoised) / (1 + sigma**2).sqrt(),
        }[predicts]

    return function


def exact_velocity(time="1_is_noise", velocity="noise_minus_data", scale=1.0):
    """The exact denoiser of the mixture, as a network of flow matching; at t = 1 too."""

    def function(x, t):
        t = column(t, x) / scale
        t = t if time == "1_is_noise" else 1 - t
        sigma = (t / (1 - t)).reshape(-1)
        xbar = torch.where(t == 1, x, x / (1 - t))
        rate = (x - EXACT(xbar, sigma)) / t
        return rate if velocity == "noise_minus_data" else -rate

    return function


@pytest.mark.parametrize("predicts", TYPES)
@pytest.mark.parametrize("schedule", NAMES)
def test_the_image_is_that_of_ddpm_scheduler(schedule, predicts):
    """Their x_k and their pred_original_sample at either end and in between; their betas are rounded to float32."""
    theirs = diffusers.DDPMScheduler(
        num_train_timesteps=200, beta_schedule=NAMES[schedule], prediction_type=TYPES[predicts], clip_sample=False
    )
    ours = wrapped(network, {"kind": predicts, "betas": {"schedule": schedule, "steps": 200}})
    levels = torch.tensor(ours.convention.levels(), dtype=F64)
    abar = 1 / (1 + levels**2)
    assert torch.allclose(theirs.alphas_cumprod.double(), abar, rtol=2e-4)
    theirs.alphas_cumprod = abar
    for k in (0, 7, 100, 199):
        x_k = theirs.add_noise(states(seed=1), states(seed=2), torch.tensor([k] * 4))
        expected = theirs.step(network(x_k, torch.full((4,), k)), k, x_k).pred_original_sample
        found = ours(x_k / abar[k].sqrt(), levels[k])
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_image_is_that_of_a_flow_scheduler(scale):
    """diffusers' network is told 1000 t; a step of their Euler's method to t = 0 lands on D."""
    theirs = diffusers.FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(sigmas=[0.7])
    ours = wrapped(network, {"kind": "flow", "time_scale": scale})
    x_t = theirs.scale_noise(states(seed=1).float(), theirs.timesteps, states(seed=2).float()).double()
    t = theirs.sigmas[:1].double()
    expected = theirs.step(network(x_t, (scale * t).expand(4)), theirs.timesteps[0], x_t).prev_sample
    assert torch.allclose(ours(x_t / (1 - t), t / (1 - t)), expected.double(), atol=1e-5)


@pytest.mark.parametrize("predicts", ["noise", "v", "image", "score"])
def test_networks_of_betas_are_the_exact_denoiser(predicts):
    convention = CONVENTIONS.read({"kind": predicts, "betas": {"schedule": "linear", "steps": 50, "end": 0.2}})
    levels = torch.tensor(convention.levels(), dtype=F64)
    ours = wrapped(exact_network(predicts, levels), convention)
    sigma = levels[[0, 3, 20, 49]]
    x = 3 * states()
    assert torch.allclose(ours(x, sigma), EXACT(x, sigma), atol=1e-11)
    assert (ours.sigma_min, ours.sigma_max) == (levels[0], levels[-1])
    assert torch.equal(ours.round_sigma(sigma * 1.0001), sigma)
    harness.check_denoiser(ours, identity=False)


@pytest.mark.parametrize("scaling", ["none", "vp", None])
@pytest.mark.parametrize("predicts", ["noise", "v", "image", "score"])
def test_networks_of_sigma_are_the_exact_denoiser(predicts, scaling):
    is_vp = scaling == "vp" or (scaling is None and predicts == "v")
    ours = wrapped(exact_network(predicts, vp=is_vp), {"kind": predicts, "scaling": scaling})
    x, sigma = 3 * states(), torch.tensor([0.01, 0.5, 3.0, 50.0], dtype=F64)
    assert torch.allclose(ours(x, sigma), EXACT(x, sigma), atol=1e-11)
    assert torch.allclose(ours(x, sigma[1]), EXACT(x, sigma[1]), atol=1e-11)
    assert (ours.sigma_min, ours.sigma_max) == (0.0, math.inf) and not ours.takes_infinity
    harness.check_denoiser(ours)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("velocity", ["noise_minus_data", "data_minus_noise"])
@pytest.mark.parametrize("time", ["1_is_noise", "0_is_noise"])
def test_velocities_of_every_sign_are_the_exact_denoiser(time, velocity, scale):
    given = {"kind": "flow", "time": time, "velocity": velocity, "time_scale": scale}
    ours = wrapped(exact_velocity(time, velocity, scale), given)
    x, sigma = 3 * states(), torch.tensor([0.05, 0.5, 3.0, math.inf], dtype=F64)
    assert torch.allclose(ours(x, sigma), EXACT(x, sigma), atol=1e-11)
    assert ours.takes_infinity
    harness.check_denoiser(ours)


def test_the_velocity_of_a_code_is_the_derivative_by_its_own_time():
    """SiT and lucidrains' code: x_t = t y + (1 - t) n, and the network predicts y - n."""
    x, sigma = states(), torch.tensor([0.05, 0.5, 3.0, math.inf], dtype=F64)
    for time, velocity in (("1_is_noise", "noise_minus_data"), ("0_is_noise", "data_minus_noise")):
        ours = wrapped(exact_velocity(time, velocity), {"kind": "flow", "time": time})
        assert torch.allclose(ours(x, sigma), EXACT(x, sigma), atol=1e-11)

    def sit(x, t):  # the loop of those codes: Euler's method from noise at t = 0 to data at t = 1
        return exact_velocity("0_is_noise", "data_minus_noise")(x, t)

    x, steps = states(), 8
    for i in range(steps):
        x = x + sit(x, torch.full((4,), i / steps, dtype=F64)) / steps
    sampler = {"solver": "euler", "discretization": "flow", "schedule": "flow", "scaling": "flow", "steps": steps}
    ours = wrapped(sit, {"kind": "flow", "time": "0_is_noise"})
    images = harness.sample(ours, harness.Sampler.model_validate(sampler), range(4), latents=states()).images
    assert torch.allclose(images, x, atol=1e-12)


def test_an_index_between_two_steps_is_interpolated_in_log_sigma():
    told = []

    def function(x, t):
        told.append(t)
        return x

    given = {"kind": "noise", "betas": "linear", "between": "interpolate"}
    ours = wrapped(function, given)
    levels = torch.tensor(ours.convention.levels(), dtype=F64)
    middle = (levels[[3, 500]].log() / 2 + levels[[4, 501]].log() / 2).exp()
    asked = torch.cat([middle, levels[[0, -1]]])
    assert torch.equal(ours.round_sigma(asked), asked)
    ours(states(), asked)
    assert torch.allclose(told[0], torch.tensor([3.5, 500.5, 0.0, 999.0], dtype=F64))
    nearest = wrapped(function, {"kind": "noise", "betas": "linear"})
    nearest(states(), asked)
    assert told[1].dtype == torch.int64 and told[1][2:].tolist() == [0, 999]


def test_levels_and_images_are_those_of_our_own_preconditioning():
    own = DDPMPrecond(8, 1, num_steps=100, model_type="SongUNet", model_channels=32, channel_mult=[1], num_blocks=1)
    ours = wrap(own.model, Noise(betas=BetaSchedule(steps=100)), shape=(1, 8, 8), sigma_min=None)
    assert torch.equal(torch.tensor(ours.convention.levels(), dtype=F64), own.levels)
    x = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = own.levels[[0, 40, 99]]
    with torch.no_grad():
        assert torch.allclose(ours(x, sigma), own(x, sigma), atol=1e-6)
    assert torch.equal(ours.round_sigma(sigma), own.round_sigma(sigma))


def test_one_list_and_its_name_are_the_same_levels():
    listed = tuple(torch.linspace(0.0001, 0.02, 1000, dtype=F64).tolist())
    assert Noise(betas=listed).levels() == pytest.approx(Noise(betas="linear").levels(), rel=1e-12)
    assert (
        Noise(betas="linear") == Noise(betas=BetaSchedule()) == CONVENTIONS.read({"kind": "noise", "betas": "linear"})
    )


def test_no_signal_at_the_last_step():
    """Zero terminal SNR: a prediction of v or of the image still says something, and the infinite level is left out."""
    given = {"schedule": "linear", "steps": 30, "zero_snr": True}
    assert len(V(betas=given).levels()) == len(Image(betas=given).levels()) == 29
    for kind in (Noise, Score):
        with pytest.raises(ValidationError, match=r"zero terminal SNR.* that predicts 'v' or 'image', or drop"):
            kind(betas=given)
    with pytest.raises(ValidationError, match="zero terminal SNR"):
        Noise(betas=(0.1, 0.2, 1.0))
    assert len(V(betas=(0.1, 0.2, 1.0)).levels()) == 2


@pytest.mark.parametrize(
    ("convention", "message"),
    [
        ({"kind": "noise", "betas": [0.1, 1.2]}, "less than or equal to 1"),
        ({"kind": "noise", "betas": [0.0, 0.2]}, "greater than 0"),
        ({"kind": "noise", "betas": [0.1]}, "at least 2"),
        (
            {"kind": "noise", "betas": [0.1, 0.3, 0.2]},
            r"number 3 is 0.2 after 0.3; are they in the order",
        ),
        ({"kind": "image", "betas": [0.1, 1.0, 1.0]}, "alpha_bar, the product of 1 - beta, does not fall"),
        ({"kind": "noise", "betas": [1e-18, 1e-18]}, "alpha_bar, the product of 1 - beta, does not fall"),
        ({"kind": "noise", "betas": "quadratic"}, "quadratic|linear"),
        ({"kind": "noise", "between": "interpolate"}, "between goes with betas"),
        ({"kind": "v", "betas": "linear", "scaling": "vp"}, "remove scaling"),
        ({"kind": "flow", "betas": "linear"}, "betas"),
        ({"kind": "flow", "null_class": 3}, "null_class goes with classes 'index'"),
        ({"kind": "epsilon"}, "unknown kind 'epsilon'; allowed: 'noise', 'v', 'image', 'score', 'flow'"),
    ],
)
def test_conventions_that_cannot_be_are_refused(convention, message):
    with pytest.raises(ValidationError, match=message):
        CONVENTIONS.read(convention)


def test_conventions_are_frozen_and_go_through_json():
    for given in ("noise", {"kind": "v", "betas": [0.1, 0.2]}, {"kind": "flow", "time": "0_is_noise"}):
        read = CONVENTIONS.read(given)
        assert CONVENTIONS.read_json(read.model_dump_json()) == read and hash(read) == hash(CONVENTIONS.read(given))


class Conditional(torch.nn.Module):
    """A network of its own type that notes what it is given."""

    def __init__(self):
        super().__init__()
        self.weight, self.given = torch.nn.Parameter(torch.ones(())), []

    def forward(self, x, t, condition=None):
        self.given.append((x, t, condition))
        return self.weight * x


def test_a_module_is_called_with_a_condition_where_it_takes_one():
    labels, sigma = torch.eye(3)[[2, 0]], torch.tensor(1.0)
    one_hot = wrap(net := Conditional(), FlowVelocity(), shape=SHAPE, label_dim=3)
    one_hot(states(2), sigma, labels)
    x, t, condition = net.given[-1]
    assert (x.dtype, t.dtype, condition.dtype) == (torch.float32,) * 3 and t.tolist() == [0.5, 0.5]
    assert torch.equal(condition, labels) and not net.training
    index = wrap(net, FlowVelocity(classes="index", null_class=2), shape=SHAPE, label_dim=3)
    index(states(2), sigma, labels)
    assert net.given[-1][2].tolist() == [2, 0]
    index(states(2), sigma)
    assert net.given[-1][2].tolist() == [2, 2] and index.null_class == 2 and not index.needs_class
    needing = wrap(net, FlowVelocity(classes="index"), shape=SHAPE, label_dim=3)
    assert needing.needs_class
    with pytest.raises(InputError, match="needs a class, and a sample has none"):
        needing(states(2), sigma)
    wrap(net, FlowVelocity(), shape=SHAPE)(states(2), sigma)
    assert net.given[-1][2] is None
    for each in (one_hot, index, needing):
        harness.check_denoiser(each, identity=False)


@pytest.mark.parametrize(
    ("function", "takes"),
    [
        (lambda x, t: x, False),
        (lambda x, t, y: x, True),
        (lambda x, t, y=None: x, True),
        (lambda x, t, *, y=None: x, False),
        (lambda *given: given[0], False),
        (Conditional(), True),
        (torch.add, False),
    ],
)
def test_what_takes_a_condition(function, takes):
    assert takes_condition(function) is takes


def test_the_wrapped_network_is_a_denoiser():
    ours = wrap(network, Noise(), shape=list(SHAPE), sigma_min=0.01, sigma_max=80.0)
    assert isinstance(ours, Denoiser) and ours.dtype == torch.float32
    assert (ours.shape, ours.label_dim, ours.sigma_min, ours.sigma_max, ours.cost) == (SHAPE, 0, 0.01, 80.0, 1)
    assert not wrap(network, FlowVelocity(), shape=SHAPE, sigma_max=100.0).takes_infinity
    ranged = wrap(network, Noise(), shape=SHAPE, data_range=None, cost=3)
    assert (ours.data_range, ranged.data_range, ranged.cost) == ((-1.0, 1.0), None, 3)
    pickle.loads(pickle.dumps(ours))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: wrap(lambda x: x, Noise(), shape=SHAPE),
            r"called as f\(x, t\) or .*; this one takes 1",
        ),
        (lambda: wrap(lambda x, t, y, z: x, Noise(), shape=SHAPE), "takes 4 arguments, of which 4 have no default"),
        (
            lambda: wrap(network, Noise(), shape=SHAPE, label_dim=3),
            "label_dim is 3, and the network takes no",
        ),
        (lambda: wrap(network, Noise(), shape=()), "a shape is one or more sides"),
        (lambda: wrap(network, Noise(), shape=(0,)), "a shape is one or more sides"),
        (lambda: wrap(network, Noise(), shape=SHAPE, sigma_min=2.0, sigma_max=1.0), "sigma_min is below sigma_max"),
        (lambda: wrap(network, Noise(betas="linear"), shape=SHAPE, sigma_max=500.0), r"lie from 0\.01.* to 157"),
        (
            lambda: wrap(network, Noise(classes="index", null_class=3), shape=SHAPE, label_dim=3),
            "of the 3 classes",
        ),
        (
            lambda: wrapped(lambda x, t: x[:, :1], "noise")(states(), torch.tensor(1.0)),
            r"shape of x, \[4, 2, 3\]",
        ),
        (lambda: wrapped(lambda x, t: (x,), "noise")(states(), torch.tensor(1.0)), "we got tuple"),
    ],
)
def test_networks_that_do_not_fit_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_conventions_load_neither_torch_nor_numpy():
    code = "import sys, harness.denoisers.conventions as c; c.CONVENTIONS.read({'kind': 'flow'}).noise_range(); "
    subprocess.run([sys.executable, "-c", code + "assert not {'torch', 'numpy'} & set(sys.modules)"], check=True)
