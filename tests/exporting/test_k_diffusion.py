"""Samplers for k-diffusion: what is written runs with functions of its shape, and gives our images."""

import sys
import types

import pytest

import harness
from harness.core.errors import InputError
from tests.exporting import sampling_functions
from tests.exporting.running import defined, gap, latents, network, ours, sampler

SAMPLERS = [
    (sampler(solver="euler"), "sample_euler"),
    (sampler(solver="ddim", schedule="flow", scaling="flow"), "sample_euler"),
    (sampler(solver="heun"), "sample_heun"),
    (sampler(solver="heun", end="sigma_min"), "sample_heun"),
    (sampler(solver="heun", clip_denoised=True), "sample_heun"),
    (
        sampler(
            solver="heun", stochasticity={"kind": "churn", "S_churn": 2, "S_tmin": 0.05, "S_tmax": 50, "S_noise": 1.01}
        ),
        "s_churn=2.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.01",
    ),
    (sampler(solver="euler", stochasticity={"kind": "churn", "S_churn": 9}), 's_tmax=float("inf")'),
    (sampler(solver="dpm_2", stochasticity={"kind": "churn", "S_churn": 1.2}, end="sigma_min"), "s_churn=1.0,"),
    (sampler(solver="dpm_2"), "sample_dpm_2("),
    (sampler(solver="ddim", stochasticity={"kind": "ancestral", "eta": 0.7, "S_noise": 1.1}), "sample_euler_ancestral"),
    (sampler(solver="dpm_2", stochasticity="ancestral"), "sample_dpm_2_ancestral"),
    (sampler(solver="dpmpp_2s", stochasticity={"kind": "ancestral", "eta": 0.5}), "sample_dpmpp_2s_ancestral"),
    (sampler(solver="dpmpp_2s"), "eta=0.0"),
    (sampler(solver="dpmpp_2m"), "sample_dpmpp_2m("),
    (sampler(solver="dpmpp_2m", stochasticity={"kind": "ancestral", "eta": 0}), "sample_dpmpp_2m("),
    (sampler(solver={"kind": "dpmpp_2m_sde", "eta": 0.5, "S_noise": 1.01, "form": "heun"}), "solver_type='heun'"),
    (sampler(solver="dpmpp_2m_sde"), "solver_type='midpoint'"),
    (sampler(solver="dpmpp_3m_sde", steps=8), "sample_dpmpp_3m_sde"),
    (sampler(solver={"kind": "dpmpp_sde", "clock": "sigma", "r": 0.4}), "r=0.4"),
    (sampler(solver="ddpm"), "sample_euler_ancestral"),
    (sampler(solver={"kind": "lms", "order": 1}), "sample_euler"),
]


@pytest.fixture
def library(monkeypatch):
    """`k_diffusion.sampling` as the functions of the tests."""
    monkeypatch.setitem(sys.modules, "k_diffusion", types.ModuleType("k_diffusion"))
    monkeypatch.setitem(sys.modules, "k_diffusion.sampling", sampling_functions)


def noises(chosen, drawn):
    """The noises that are used: churn draws one a step, also where it adds none."""
    churn = chosen.stochasticity
    if churn.kind != "churn":
        return iter(drawn)
    levels = chosen.sigmas(harness.load_denoiser("digits-edm")).tolist()
    return iter([z for z, sigma in zip(drawn, levels, strict=False) if churn.gamma(sigma, chosen.steps) > 0])


@pytest.mark.parametrize(
    ("chosen", "written"), SAMPLERS, ids=[f"{at}-{s.solver.kind}" for at, (s, _) in enumerate(SAMPLERS)]
)
def test_the_function_gives_our_images(library, chosen, written):
    denoiser = harness.load_denoiser("digits-edm", dtype="float64")
    text = harness.export(chosen, denoiser, to="k-diffusion")
    assert written in text
    images, drawn = ours(denoiser, chosen)
    options = {}
    if drawn:
        used = noises(chosen, drawn)
        options["noise_sampler"] = lambda high, low: next(used)
    assert gap(defined(text)["sample"](network(denoiser), latents(denoiser), **options), images) < 1e-5


REFUSED = [
    (sampler(solver="heun", stochasticity="ancestral"), "ancestral noise with solver 'heun'"),
    (sampler(solver="heun", schedule="vp", scaling="vp"), "solver 'rk2' in the time of schedule 'vp'"),
    (sampler(solver="heun", schedule="flow", scaling="flow"), "schedule 'flow'"),
    (sampler(solver="midpoint"), "alpha 0.5"),
    (sampler(solver="heun", afs=True), "afs"),
    (sampler(solver="heun", stochasticity={"kind": "restart", "intervals": {"t_min": 0.1, "t_max": 1}}), "'restart'"),
    (sampler(solver="euler", stochasticity="langevin"), "'langevin'"),
    (sampler(solver={"kind": "dpm_2", "r": 0.3}), "r 0.3"),
    (sampler(solver="dpmpp_2s", stochasticity={"kind": "churn", "S_churn": 2}), "churn with solver 'dpmpp_2s'"),
    (sampler(solver={"kind": "dpmpp_2m", "form": "heun"}), "form heun"),
    (sampler(solver={"kind": "dpmpp_2m", "lower_order_final": True}), "lower_order_final"),
    (sampler(solver="dpmpp_sde"), "clock sde"),
    (sampler(solver="lms"), "order: 1"),
    (sampler(solver="unipc"), "--to diffusers"),
    (sampler(solver={"kind": "ddpm", "variance": "large"}), "variance: small"),
    (sampler(solver="rk45", steps=2), "solver: heun"),
    (sampler(solver="rk4"), "--to python"),
]


@pytest.mark.parametrize(
    ("chosen", "said"), REFUSED, ids=[f"{at}-{s.solver.kind}" for at, (s, _) in enumerate(REFUSED)]
)
def test_what_it_cannot_do_is_refused_with_the_nearest(chosen, said):
    with pytest.raises(InputError, match=said) as refused:
        harness.export(chosen, harness.load_denoiser("digits-edm"), to="k-diffusion")
    assert "the nearest that it can: " in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_denoiser_that_rounds_the_raised_levels_is_refused():
    churn = sampler(solver="heun", stochasticity={"kind": "churn", "S_churn": 2})
    with pytest.raises(InputError, match="rounds the raised levels"):
        harness.export(churn, harness.load_denoiser("digits-adm"), to="k-diffusion")
