"""Pairs of choices that make no sense are refused with rule, value and remedy."""

import pytest

from harness.core.errors import InputError
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from tests.problems import Gaussian

SDE = [member().kind for member in SOLVERS.members if member().is_stochastic]
MULTISTEP = [member().kind for member in SOLVERS.members if member().history]
ADAPTIVE = [member().kind for member in SOLVERS.members if member.adaptive]
RESTART = {"kind": "restart", "intervals": {"t_min": 0.1, "t_max": 1.0}}


def refused(message, **fields):
    with pytest.raises(ValueError, match=message):
        Sampler.model_validate(fields)


@pytest.mark.parametrize("noise", ["churn", "ancestral", RESTART], ids=str)
@pytest.mark.parametrize("solver", SDE)
def test_sde_solvers_take_no_other_noise(solver, noise):
    refused(f"solver '{solver}' adds its own noise and cannot take stochasticity", solver=solver, stochasticity=noise)


def test_probability_flow_has_no_noise_of_its_own():
    flow = {"kind": "reverse_diffusion", "probability_flow": True}
    assert Sampler.model_validate({"solver": flow, "stochasticity": "churn"}).solver.is_stochastic is False


@pytest.mark.parametrize("noise", ["churn", "langevin"])
@pytest.mark.parametrize("solver", MULTISTEP)
def test_multistep_solvers_need_their_trajectory(solver, noise):
    refused("own noise|keeps earlier points", solver=solver, stochasticity=noise)


@pytest.mark.parametrize("solver", MULTISTEP)
def test_multistep_solvers_need_two_levels(solver):
    with pytest.raises(InputError, match=f"solver '{solver}' needs at least 2 levels; we got steps 1"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), Sampler.model_validate({"solver": solver, "steps": 1}), [0])


@pytest.mark.parametrize("solver", SDE + ADAPTIVE)
def test_some_solvers_cannot_start_analytically(solver):
    refused(f"solver '{solver}' cannot start from the analytical first step", solver=solver, afs=True)


def test_afs_needs_a_step_to_save():
    with pytest.raises(InputError, match="afs needs at least 2 levels"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), Sampler(afs=True, steps=1), [0])
    refused("langevin' evaluates before the first step", stochasticity="langevin", afs=True)


def test_a_restart_goes_up():
    down = {"kind": "restart", "intervals": [{"t_min": 1.0, "t_max": 0.5}]}
    refused("t_max must be above t_min", stochasticity=down)
    out_of_reach = {"kind": "restart", "intervals": {"t_min": 0.001, "t_max": 0.0015}}
    with pytest.raises(InputError, match=r"nearest to t_min = 0.001, which is 0.002, up to t_max = 0.0015"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), Sampler.model_validate({"stochasticity": out_of_reach}), [0])
