"""Every solver of the union converges as it declares; a new one is covered unasked."""

from typing import Literal

import pytest
import torch

from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS, Solver
from tests.sampling.orders import SIGMA_FROM, SIGMA_TO, end_point, exact, latents, make, mixture, rms, slope

STEPS = (128, 256, 512)
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7)

DEFAULTS = [member() for member in SOLVERS.members]
VARIANTS = [
    *({"kind": kind, "order": order} for kind in ("lms", "ipndm", "deis") for order in (1, 2, 3, 4)),
    *({"kind": "deis", "variable": "log_sigma", "order": order} for order in (2, 3, 4)),
    *(
        {"kind": "unipc", "order": order, "variant": variant, "corrector": corrector}
        for order in (1, 2, 3)
        for variant in ("bh1", "bh2")
        for corrector in (True, False)
    ),
    *({"kind": kind, "r": 0.3} for kind in ("dpm_2", "dpmpp_2s")),
    {"kind": "dpmpp_2m", "form": "heun"},
    {"kind": "dpmpp_3m", "weights": "taylor"},
    {"kind": "reverse_diffusion", "probability_flow": True},
    *("heun", "midpoint", "ralston", "ipndm_v", "deis_tab3"),
    *({"kind": "solve_ivp", "method": method} for method in ("RK23", "DOP853")),
]
STRONG_VARIANTS = [
    {"kind": "euler_maruyama", "beta": {"kind": "constant", "scale": 0.2}},
    {"kind": "euler_maruyama", "beta": {"kind": "window", "S_tmin": 1.0, "S_tmax": 5.0}},
    {"kind": "dpmpp_sde", "eta": 0.5},
    {"kind": "dpmpp_2m_sde", "eta": 0.5, "form": "heun"},
]


def solvers(variants):
    return DEFAULTS + [Sampler.model_validate({"solver": variant}).solver for variant in variants]


def name(solver):
    return ",".join(str(value) for value in solver.model_dump().values())


def chosen(found, keep):
    unique = {solver.model_dump_json(): solver for solver in found if keep(solver)}
    return pytest.mark.parametrize("solver", unique.values(), ids=name)


@pytest.fixture(scope="module")
def problem():
    denoiser = mixture()
    unit = latents(denoiser, 6)
    return denoiser, unit, exact(denoiser, unit, [SIGMA_FROM, SIGMA_TO])[-1]


@chosen(solvers(VARIANTS), lambda solver: solver.convergence_order and not solver.is_stochastic and not solver.adaptive)
def test_ode_solvers_with_fixed_steps(problem, solver):
    denoiser, unit, truth = problem
    errors = [rms(end_point(denoiser, make(solver.model_dump()), n, unit)[0] - truth) for n in STEPS]
    assert abs(-slope(STEPS, errors) - solver.convergence_order) < 0.3, errors


@pytest.mark.parametrize("scaling", ["none", "vp"])
@pytest.mark.parametrize("schedule", ["linear", "ve", "vp"])
@pytest.mark.parametrize("kind", ["euler", "heun", "midpoint", "ralston", "rk4"])
def test_solvers_in_x_and_t_under_every_schedule_and_scaling(problem, kind, schedule, scaling):
    denoiser, unit, truth = problem
    sampler = make(kind, schedule, scaling)
    errors = [rms(end_point(denoiser, sampler, n, unit)[0] - truth) for n in (32, 64, 128)]
    assert abs(-slope((32, 64, 128), errors) - sampler.solver.convergence_order) < 0.3, errors


@chosen(solvers(VARIANTS), lambda solver: solver.convergence_order and not solver.is_stochastic and solver.adaptive)
def test_adaptive_solvers_against_tolerance(problem, solver):
    denoiser, unit, truth = problem
    errors = []
    for tolerance in TOLERANCES:
        sampler = make(solver.model_copy(update={"rtol": tolerance, "atol": tolerance}).model_dump())
        x, nfe = end_point(denoiser, sampler, 1, unit)
        errors.append(rms(x - truth))
        assert nfe.unique().numel() > 1 or tolerance > 1e-6  # steps differ by sample
    assert abs(slope(TOLERANCES, errors) - solver.convergence_order) < 0.3, errors


@chosen(solvers([]), lambda solver: solver.convergence_order and solver.is_stochastic)
def test_strong_order_on_a_shared_brownian_path(solver):
    denoiser = mixture()
    unit = latents(denoiser, 64)
    sampler = make(solver.model_dump())
    fine, _ = end_point(denoiser, sampler, 1024, unit, from_exact=False)
    steps = (16, 32, 64, 128)
    errors = [rms(end_point(denoiser, sampler, n, unit, from_exact=False)[0] - fine) for n in steps]
    assert abs(-slope(steps, errors) - solver.convergence_order) < 0.3, errors
    other, _ = end_point(denoiser, sampler, 128, latents(denoiser, 65)[1:], from_exact=False)
    assert rms(other[:-1] - fine[1:]) > 5 * errors[-1]  # not the same path: the first seed's noise meets other latents


@pytest.mark.slow
@chosen(solvers(STRONG_VARIANTS)[len(DEFAULTS) :], bool)
def test_strong_order_of_variants(solver):
    test_strong_order_on_a_shared_brownian_path(solver)


def test_every_solver_that_claims_no_order_draws_noise():
    for solver in DEFAULTS:
        assert solver.convergence_order is not None or solver.is_stochastic, solver.kind


def test_the_adaptive_solvers_agree(problem):
    """Our steps, sample by sample, are SciPy's: the same states and as many evaluations."""
    denoiser, unit, _ = problem
    for tolerance in (1e-3, 1e-6):
        mine, count = end_point(denoiser, make({"kind": "rk45", "rtol": tolerance, "atol": tolerance}), 1, unit)
        theirs, scipys = end_point(denoiser, make({"kind": "solve_ivp", "rtol": tolerance, "atol": tolerance}), 1, unit)
        assert (mine - theirs).abs().max() < 1e-10
        assert torch.equal(count + 1, scipys)


def test_a_solver_that_lacks_a_part_cannot_be_made():
    class Halfway(Solver):
        kind: Literal["halfway"] = "halfway"

    with pytest.raises(TypeError, match=r"abstract methods? .*__call__.*convergence_order.*last"):
        Halfway()
