"""How a run ends: the order that falls, the step to zero or none; and results from before keep their identity."""

import itertools

import pytest
import torch

import harness
from harness.experiments.nfe import count_nfe
from harness.experiments.trial import Trial
from harness.sampling.initial_state import initial_state
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory
from tests.problems import Gaussian, Mixture

SEEDS = range(256)
TWO = Mixture(
    torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1), torch.ones(2, dtype=torch.float64) / 2, 0.1
)
MULTISTEP = ["dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm", "lms"]


def run(solver, steps, denoiser=TWO, **fields):
    return sample(denoiser, Sampler.model_validate({"solver": solver, "steps": steps, **fields}), SEEDS)


@pytest.fixture(scope="module")
def truth():
    return run("heun", 256).images


def error(images, truth):
    return (images - truth).square().mean().sqrt().item()


@pytest.mark.parametrize("kind", ["dpmpp_3m", "unipc"])
def test_a_falling_order_mends_runs_of_few_steps(kind, truth):
    """The long last steps of few carry a high order far out; with twenty steps there is nothing to mend."""
    plain, lowered = (
        {n: error(run({"kind": kind, "lower_order_final": low}, n).images, truth) for n in (6, 10, 20)}
        for low in (False, True)
    )
    assert lowered[6] < 0.3 * plain[6] and plain[6] > 0.7
    assert lowered[10] < plain[10]
    assert lowered[20] < 0.06 and plain[20] < 0.04


def states(solver, steps):
    sampler = Sampler.model_validate({"solver": solver, "steps": steps})
    begun = initial_state(TWO, sampler, range(4))
    return [step.x for step in trajectory(begun.dynamics, sampler, begun.time_steps.times, begun.x)]


@pytest.mark.parametrize("kind", MULTISTEP)
def test_the_order_falls_in_the_last_steps_alone(kind):
    history = Sampler.model_validate({"solver": kind}).solver.history
    plain, lowered = states(kind, 9), states({"kind": kind, "lower_order_final": True}, 9)
    same = [torch.equal(one, other) for one, other in zip(plain, lowered, strict=True)]
    # 8 steps of its own: the first that is lowered has fewer steps left than it would use points
    points = {"unipc": 3}.get(kind, history + 1)
    assert same.index(False) == 8 - (points - 1)


@pytest.mark.parametrize("kind", MULTISTEP)
def test_the_last_step_of_its_own_is_of_first_order(kind):
    """From one state, Euler's step in sigma and the lowered one agree; here that is DDIM from the state before."""
    lowered = states({"kind": kind, "lower_order_final": True}, 2)  # one step, then to zero
    assert torch.allclose(lowered[0], states("ddim", 2)[0], rtol=1e-12)


@pytest.mark.parametrize("kind", MULTISTEP)
def test_a_falling_order_costs_nothing(kind):
    plain = Sampler.model_validate({"solver": kind, "steps": 9})
    lowered = Sampler.model_validate({"solver": {"kind": kind, "lower_order_final": True}, "steps": 9})
    assert count_nfe(lowered, 0.002, 80.0) == count_nfe(plain, 0.002, 80.0) == 9


@pytest.mark.parametrize(
    ("solver", "steps", "nfe"),
    [("heun", 10, 18), ("euler", 10, 9), ("unipc", 10, 9), ("dpmpp_2s", 10, 18), ("rk4", 4, 12)],
)
def test_a_run_that_stops_at_sigma_min_has_a_step_less(solver, steps, nfe):
    out = run(solver, steps, end="sigma_min")
    assert set(out.nfe.tolist()) == {nfe}
    assert count_nfe(Sampler.model_validate({"solver": solver, "steps": steps, "end": "sigma_min"}), 0.002, 80.0) == nfe


@pytest.mark.parametrize("scales", [{}, {"schedule": "vp", "scaling": "vp"}, {"schedule": "ve"}])
def test_it_stops_where_the_exact_trajectory_is_at_sigma_min(scales):
    denoiser = harness.load_denoiser({"kind": "gaussian", "mean": 0.2, "std": 0.5, "shape": [1, 2, 2]})
    levels = {"kind": "edm", "sigma_min": 0.3}
    out = run("heun", 200, denoiser, discretization=levels, end="sigma_min", **scales)
    begun = initial_state(denoiser, Sampler.model_validate({"discretization": levels}), SEEDS)
    assert torch.allclose(out.images, denoiser.flow(begun.x, 80.0, 0.3), rtol=2e-3, atol=2e-3)


def test_a_sampler_that_stops_at_sigma_min_encodes():
    sampler = Sampler.model_validate(
        {"solver": "heun", "steps": 64, "end": "sigma_min", "scaling": "vp", "schedule": "vp"}
    )
    denoiser = harness.load_denoiser({"kind": "gaussian", "mean": 0.2, "std": 0.5, "shape": [1, 2, 2]})
    images = harness.sample(denoiser, sampler, seeds=range(8)).images
    encoded = harness.encode(denoiser, sampler, images)
    again = harness.sample(denoiser, sampler, seeds=range(8), latents=encoded.latents).images
    assert encoded.nfe.tolist() == [126] * 8
    assert torch.allclose(again, images, atol=2e-3)


@pytest.mark.parametrize("clock", ["sde", "sigma"])
def test_the_clock_of_dpmpp_sde(clock):
    """On Gaussian data all is linear in the noises of a step, whose correlation is that of a path in the clock."""
    std, steps = 0.5, 8
    sampler = Sampler.model_validate({"solver": {"kind": "dpmpp_sde", "clock": clock}, "steps": steps})
    sigmas = [*sampler.sigmas(Gaussian(0.0, std, (1, 1, 1))).tolist(), 0.0]
    variance, power = sigmas[0] ** 2, -2 if clock == "sde" else 1
    for high, low in itertools.pairwise(sigmas[:-1]):
        middle, shrink = (high * low) ** 0.5, std**2 / (std**2 + high**2)
        alike = abs((middle**power - high**power) / (low**power - high**power)) ** 0.5

        def to(level, high=high):
            up = min(level, level * (1 - (level / high) ** 2) ** 0.5)
            return (level**2 - up**2) ** 0.5 / high, up

        (keep, up), (keep_middle, up_middle) = to(low), to(middle)
        at_middle = shrink + keep_middle * (1 - shrink)  # of x; and up_middle of the first noise
        seen = std**2 / (std**2 + middle**2)
        of_x = keep + (1 - keep) * seen * at_middle
        of_first, of_second = (1 - keep) * seen * up_middle, up
        variance = of_x**2 * variance + of_first**2 + of_second**2 + 2 * alike * of_first * of_second
    last = std**2 / (std**2 + sigmas[-2] ** 2)
    out = sample(Gaussian(0.0, std, (1, 4, 4)), sampler, range(3000)).images
    assert out.std().item() == pytest.approx(last * variance**0.5, rel=0.015)  # 0.37 and 0.41


def test_results_from_before_keep_their_identity():
    """Fields that came later are left out at their defaults, so fingerprints are what they were without them."""
    before = {
        "dpmpp_2m": "02ec5919f4a5ed57",
        "dpmpp_3m": "0b38748c86c097f0",
        "unipc": "28351f62e3c4520d",
        "dpmpp_sde": "1804046662dd56ee",
        "heun": "3e2900a92f9d643f",
    }
    for kind, begins in before.items():
        sampler = Sampler.model_validate({"solver": kind})
        assert Trial(denoiser="ideal", weights="w", sampler=sampler).fingerprint[:16] == begins
        other = sampler.model_copy(update={"end": "sigma_min"})
        assert Trial(denoiser="ideal", weights="w", sampler=other).fingerprint[:16] != begins
        assert Sampler.model_validate_json(other.model_dump_json()) == other
