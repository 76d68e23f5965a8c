"""Properties that hold for every discretization, schedule, scaling and solver in the unions."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.sampling import discretizations, schedules
from harness.sampling.discretizations import Range
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import Solver
from harness.sampling.trajectory import sample
from tests.problems import Gaussian


def members(union):
    return get_args(get_args(union)[0])


def name(cls):
    return cls.__name__


ranges = st.tuples(st.floats(1e-3, 1.0), st.floats(1.5, 200.0)).map(lambda pair: Range(*pair))


@pytest.mark.parametrize("cls", members(discretizations.Discretization), ids=name)
@given(within=ranges, n=st.integers(2, 60))
def test_levels_fall_and_stay_in_the_range(cls, within, n):
    if cls is discretizations.VPLevels:  # over a narrow range its curve turns round; see the next test
        within = Range(within.low * 1e-2, within.high)
    levels = cls()(n, within)
    assert levels.dtype == torch.float64
    assert levels.shape == (n,)
    assert bool((levels[1:] < levels[:-1]).all())
    assert levels[0] <= within.high * (1 + 1e-9)
    assert levels[-1] >= within.low * (1 - 1e-5)
    if cls is not discretizations.IDDPM:  # that one picks from a fixed table
        assert levels[0].item() == pytest.approx(within.high, rel=1e-9)
        assert levels[-1].item() == pytest.approx(within.low, rel=1e-5)


def test_levels_that_rise_are_refused():
    sampler = Sampler.model_validate({"discretization": {"kind": "vp", "sigma_min": 0.1, "sigma_max": 10.0}})
    with pytest.raises(InputError, match="noise levels rise from 10 to"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), sampler, [0])


@pytest.mark.parametrize("cls", members(discretizations.Discretization), ids=name)
def test_one_level_is_the_highest(cls):
    choice = cls()
    within = choice.clamp(0.0, math.inf)
    assert choice(1, within).tolist() == [choice(10, within)[0].item()]


@given(rho=st.floats(0.5, 50.0))
def test_edm_levels_are_equal_steps_in_the_root(rho):
    levels = discretizations.EDM(rho=rho)(20, Range(0.01, 50.0)) ** (1 / rho)
    steps = levels[:-1] - levels[1:]
    assert torch.allclose(steps, steps[0].expand_as(steps), rtol=1e-6)


@given(asked=ranges, supported=ranges)
def test_ranges_are_clamped_to_the_denoiser(asked, supported):
    choice = discretizations.EDM(sigma_min=asked.low, sigma_max=asked.high)
    within = choice.clamp(*supported)
    assert within == Range(max(asked.low, supported.low), min(asked.high, supported.high))


def test_ranges_with_nothing_in_common():
    with pytest.raises(InputError, match="no noise range is left"):
        discretizations.EDM(sigma_min=1.0, sigma_max=2.0).clamp(3.0, 4.0)


@pytest.mark.parametrize("cls", members(schedules.Schedule), ids=name)
@given(within=ranges, where=st.floats(0.0, 1.0))
def test_schedules_invert_and_differentiate(cls, within, where):
    curve = cls().fit(within.low, within.high, 1e-3)
    sigma = torch.tensor(within.low * (within.high / within.low) ** where, dtype=torch.float64)
    t = curve.t(sigma)
    assert t > 0
    assert curve.sigma(t).item() == pytest.approx(sigma.item(), rel=1e-9)
    assert curve.t(curve.sigma(t)).item() == pytest.approx(t.item(), rel=1e-9)
    h = t * 1e-6
    finite = (curve.sigma(t + h) - curve.sigma(t - h)) / (2 * h)
    assert curve.sigma_dot(t).item() == pytest.approx(finite.item(), rel=1e-4)


@given(within=ranges)
def test_vp_meets_both_ends(within):
    curve = schedules.VP().fit(within.low, within.high, 1e-3)
    ends = curve.sigma(torch.tensor([1e-3, 1.0], dtype=torch.float64))
    assert ends.tolist() == pytest.approx(list(within), rel=1e-9)


def test_vp_defaults_return_the_original_betas():
    choice = discretizations.VPLevels()
    within = choice.clamp(0.0, math.inf)
    curve = schedules.VP().fit(*within, choice.vp_epsilon)
    assert (curve.beta_d, curve.beta_min) == pytest.approx((19.9, 0.1), rel=1e-9)


@pytest.mark.parametrize("cls", members(schedules.Scaling), ids=name)
@given(sigma=st.floats(1e-3, 200.0))
def test_scalings_differentiate(cls, sigma):
    scaling, sigma = cls(), torch.tensor(sigma, dtype=torch.float64)
    h = sigma * 1e-6
    finite = (scaling.s(sigma + h) - scaling.s(sigma - h)) / (2 * h)
    one = torch.ones_like(sigma)
    assert scaling.s_dot(sigma, one).item() == pytest.approx(finite.item(), rel=1e-4, abs=1e-9)
    assert scaling.s_dot(sigma, 3 * one).item() == pytest.approx(3 * scaling.s_dot(sigma, one).item(), rel=1e-9)


@pytest.mark.parametrize("cls", members(Solver), ids=name)
@given(steps=st.integers(2, 12), seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
@settings(max_examples=10)
def test_solvers_keep_shape_type_and_count(cls, steps, seeds):
    denoiser = Gaussian(0.1, 0.4, (2, 3, 3))
    out = sample(denoiser, Sampler(solver=cls(), steps=steps), seeds)
    assert out.images.shape == (len(seeds), 2, 3, 3)
    assert out.images.dtype == torch.float64
    assert torch.isfinite(out.images).all()
    assert out.nfe.dtype == torch.int64
    assert out.nfe.tolist() == [sum(denoiser.rows) // len(seeds)] * len(seeds)


def test_the_defaults_are_the_papers():
    chosen = Sampler()
    kinds = [
        getattr(chosen, axis).kind for axis in ("solver", "discretization", "schedule", "scaling", "stochasticity")
    ]
    assert kinds == ["rk2", "edm", "linear", "none", "deterministic"]
    assert (chosen.steps, chosen.discretization.rho, chosen.solver.alpha) == (18, 7.0, 1.0)
    assert (chosen.discretization.sigma_min, chosen.discretization.sigma_max) == (0.002, 80.0)
