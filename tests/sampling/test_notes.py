"""Settings that contradict themselves are refused; those without effect at these levels or this N are noted."""

import pytest
import torch
from pydantic import ValidationError

import harness
from harness.sampling.sampler import Sampler

CLAMP = "S_churn = 8 is above its clamp, 0.414 N, and acts as 0.414 N."
EMPTY = "No noise level lies within S_tmin = {} and S_tmax = {}: churn adds no noise."


def denoiser(**changes):
    return harness.load_denoiser({"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2], **changes})


class Rounding:
    """A denoiser of a few noise levels."""

    shape, label_dim, cost = (1, 1, 1), 0, 1
    dtype, device = torch.float64, torch.device("cpu")
    sigma_min, sigma_max = 1.0, 8.0

    def __call__(self, x, sigma, labels=None):
        return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)

    def round_sigma(self, sigma):
        return sigma.log2().round().exp2()


def notes(sampler, of=None, **fields):
    return Sampler.model_validate({**sampler, **fields}).notes(of or denoiser())


def churn(**fields):
    return {"stochasticity": {"kind": "churn", **fields}}


def ancestral(**fields):
    return {"stochasticity": {"kind": "ancestral", **fields}}


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        ({"steps": 5}, []),
        (churn(S_churn=8) | {"steps": 20}, []),
        (churn(S_churn=8) | {"steps": 19}, [CLAMP]),
        (churn(S_churn=8, S_tmin=1e3) | {"steps": 19}, [EMPTY.format("1000", "inf")]),
        (churn(S_churn=8, S_tmin=3.0, S_tmax=3.1) | {"steps": 5}, [EMPTY.format("3", "3.1")]),
        (churn(S_churn=2, S_tmin=0.0019, S_tmax=0.0021) | {"steps": 5}, []),  # the lowest level alone
        (
            churn(S_churn=1e-18) | {"steps": 5},
            ["S_churn = 1e-18 raises no noise level to another: churn adds no noise."],
        ),
        (churn(S_noise=1.007) | {"steps": 5}, ["S_noise = 1.007 has no effect: S_churn is 0."]),
        (churn() | {"steps": 5}, []),
        (
            {"stochasticity": {"kind": "ancestral", "eta": 0, "S_noise": 1.1}},
            ["S_noise = 1.1 has no effect: eta is 0."],
        ),
        (ancestral(eta=0), []),
        (
            {"stochasticity": "ancestral", "solver": "euler", "steps": 1},
            ["With one noise level the only step is the last, after which no ancestral noise is added."],
        ),
        (
            {"solver": "heun", "steps": 1},
            ["With one noise level the only step is the last, which 'euler' takes: solver 'rk2' is not used."],
        ),
        (
            {"solver": "dpmpp_3m", "steps": 3},
            ["Solver 'dpmpp_3m' looks back at 2 earlier points, and there are fewer: it does not reach its order."],
        ),
        ({"solver": "dpmpp_3m", "steps": 4}, []),
        (
            {"solver": {"kind": "euler_maruyama", "beta": {"kind": "window", "S_tmin": 90}}, "steps": 4},
            ["No noise level lies within S_tmin = 90 and S_tmax = inf: no noise is replaced."],
        ),
        ({"solver": {"kind": "euler_maruyama", "beta": {"kind": "window", "S_tmin": 80}}, "steps": 4}, []),
        ({"discretization": "optimized", "steps": 4}, []),  # not found yet
    ],
)
def test_what_has_no_effect(sampler, told):
    assert notes(sampler) == told


def test_what_is_noted_has_no_effect_indeed():
    pairs = [
        (churn(S_churn=8), churn(S_churn=9)),
        (churn(S_churn=8, S_tmin=1e3), {}),
        (churn(S_churn=8, S_tmin=3.0, S_tmax=3.1), {}),
        (ancestral(eta=0, S_noise=1.1), {}),
        ({"solver": "heun", "steps": 1}, {"solver": "euler", "steps": 1}),
    ]
    for one, other in pairs:
        images = [
            harness.sample(denoiser(), Sampler.model_validate({"steps": 5, **each}), [0, 1]).images
            for each in (one, other)
        ]
        assert notes({"steps": 5, **one})
        assert torch.equal(*images)


def test_levels_that_repeat_are_counted():
    # 1 to 8 in six steps of equal ratio are rounded to powers of two
    told = notes({"discretization": {"kind": "ve", "sigma_min": 1.0, "sigma_max": 8.0}, "steps": 6}, Rounding())
    assert told == ["2 of 6 noise levels repeat the one before: those steps cost evaluations and take away no noise."]
    assert notes({"discretization": {"kind": "ve", "sigma_min": 1.0, "sigma_max": 8.0}, "steps": 4}, Rounding()) == []
    restart = {"kind": "restart", "intervals": [{"t_min": 1.0, "t_max": 2.0, "steps": 4}]}
    (told,) = notes({"discretization": "ve", "steps": 4, "stochasticity": restart}, Rounding())
    assert told.startswith("2 of 4 noise levels of a restart repeat the one before")


def test_noise_that_rounding_takes_back_is_noted():
    levels = {"discretization": "ve", "steps": 4}
    told = notes(churn(S_churn=1) | levels, Rounding())
    assert told == ["S_churn = 1 raises no noise level to another: churn adds no noise."]


def test_an_end_of_the_range_that_is_not_used_is_noted():
    levels = {"kind": "edm", "sigma_max": 20.0, "sigma_min": 0.5}
    told = notes({"discretization": levels, "steps": 3}, Rounding())
    assert told == [
        "sigma_max = 20 is not within the denoiser's range, and 8 is taken.",
        "sigma_min = 0.5 is not within the denoiser's range, and 1 is taken.",
    ]
    assert notes({"discretization": "edm", "steps": 3}, Rounding()) == []  # defaults are meant to be clamped


@pytest.mark.parametrize(
    "sampler",
    [
        churn(S_churn=1, S_tmin=2, S_tmax=1),
        {"solver": {"kind": "euler_maruyama", "beta": {"kind": "window", "S_tmin": 2, "S_tmax": 1}}},
    ],
)
def test_a_window_upside_down_is_refused(sampler):
    with pytest.raises(ValidationError, match="S_tmin is 2 and S_tmax 1, so noise is added nowhere; exchange them"):
        Sampler.model_validate(sampler)
