"""Samplers as a table of weights: what is written runs with nothing imported, and gives our images."""

import ast
import json

import numpy as np
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.exporting.linear_program import linear_program, run_program
from tests.exporting.running import defined, gap, latents, network, ours, sampler

SAMPLERS = [
    *(sampler(solver=kind) for kind in ("euler", "ddim", "heun", "midpoint", "ralston", "rk4", "dpm_2", "dpmpp_2s")),
    *(sampler(solver=kind, steps=8) for kind in ("dpmpp_2m", "dpmpp_3m", "lms", "ipndm", "deis", "unipc")),
    *(sampler(solver=kind) for kind in ("ddpm", "dpmpp_2m_sde", "dpmpp_3m_sde", "euler_maruyama", "reverse_diffusion")),
    sampler(solver={"kind": "unipc", "order": 2, "variant": "bh1", "lower_order_final": True}, steps=8),
    sampler(solver="heun", discretization="vp", schedule="vp", scaling="vp"),
    sampler(solver="heun", schedule="flow", scaling="flow", end="sigma_min"),
    sampler(solver="dpmpp_2m", afs=True),
    sampler(solver="heun", clip_denoised=True),
    sampler(solver="heun", stochasticity={"kind": "churn", "S_churn": 12, "S_noise": 1.007}),
    sampler(solver="dpm_2", stochasticity={"kind": "ancestral", "eta": 0.8}),
    sampler(solver="unipc", stochasticity={"kind": "ancestral", "eta": 0.8}, steps=8),
    sampler(solver="ddim", stochasticity={"kind": "ancestral", "eta": 3.0}),
    sampler(solver="heun", stochasticity={"kind": "restart", "intervals": {"t_min": 0.2, "t_max": 2, "K": 2}}),
    sampler(solver="ddim", stochasticity={"kind": "langevin", "corrections": 2}),
]


@pytest.mark.parametrize("chosen", SAMPLERS, ids=[f"{at}-{s.solver.kind}" for at, s in enumerate(SAMPLERS)])
@pytest.mark.parametrize("card", ["digits-edm", "digits-vp"])
def test_the_text_gives_our_images(chosen, card):
    denoiser = harness.load_denoiser(card, dtype="float64")
    text = harness.export(chosen, denoiser, to="python")
    images, drawn = ours(denoiser, chosen)
    used = iter(drawn)
    found = defined(text)["sample"](network(denoiser), latents(denoiser), lambda: next(used))
    assert next(used, None) is None, "as many noises are drawn as the sampler draws"
    assert gap(found, images) < 1e-5


def test_noises_without_weight_are_not_drawn():
    """Churn draws one a step, also outside of its window."""
    churn = {"kind": "churn", "S_churn": 2, "S_tmin": 0.05, "S_tmax": 50}
    text = harness.export(sampler(stochasticity=churn), harness.load_denoiser("digits-edm"), to="python")
    assert "4 draws of noise" in text


def test_overlapping_noises_of_a_path_are_independent_parts():
    """The two noises of a step of `dpmpp_sde` begin at one level: the later one contains the earlier."""
    denoiser = harness.load_denoiser({"kind": "gaussian", "std": 0.5, "shape": [1, 64, 64]})
    for clock in ("sde", "sigma"):
        chosen = sampler(solver={"kind": "dpmpp_sde", "clock": clock, "eta": 0.7}, steps=4)
        program = linear_program(denoiser, chosen)
        generator, x = torch.Generator().manual_seed(0), latents(denoiser)
        draw = lambda: torch.randn(x.shape, dtype=x.dtype, generator=generator)  # noqa: B023, E731
        found = run_program(program, network(denoiser), x, draw)
        images, _ = ours(denoiser, chosen)
        assert found.std().item() == pytest.approx(images.std().item(), rel=0.03)
        assert [row.fresh for row in program] == [0, 1, 1, 1, 1, 1, 1, 0]


def test_the_text_imports_nothing_and_takes_any_array():
    chosen, denoiser = sampler(solver="dpmpp_2m", steps=4), harness.load_denoiser({"kind": "gaussian", "std": 0.5})
    text = harness.export(chosen, denoiser, to="python")
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    sample = defined(text)["sample"]
    gaussian = lambda x, sigma: x * 0.25 / (0.25 + sigma**2)  # noqa: E731
    wanted = sample(gaussian, 1.5)
    assert sample(gaussian, np.full(3, 1.5)) == pytest.approx([wanted] * 3)
    assert len(text.splitlines()) < 45


def test_the_rows_are_short():
    """A state is written by the one before it and few others, so little has to be kept."""
    denoiser = harness.load_denoiser("digits-edm")
    kept = {"heun": 2, "dpmpp_2m": 2, "rk4": 4, "lms": 5, "ipndm": 5, "deis": 5, "unipc": 4, "euler_maruyama": 1}
    for solver, most in kept.items():
        program = linear_program(denoiser, sampler(solver=solver, steps=40))
        assert max(len(row.images) for row in program) <= most
        assert max(len(row.states) for row in program) <= (4 if solver in ("lms", "ipndm", "deis") else 1)
        assert max(len(row.noises) for row in program) <= 1


def test_the_levels_alone():
    denoiser = harness.load_denoiser("digits-edm")
    chosen = sampler(solver="heun", steps=5)
    told = json.loads(harness.export(chosen, denoiser))
    assert told["sigmas"] == [*chosen.sigmas(denoiser).tolist(), 0.0]
    assert harness.Sampler.model_validate(told["sampler"]) == chosen
    ends = json.loads(harness.export(sampler(end="sigma_min"), denoiser))
    assert len(ends["sigmas"]) == 6
    assert ends["sigmas"][-1] > 0


def test_levels_that_are_to_be_found_are_found():
    chosen = sampler(discretization={"kind": "optimized", "reference": 16, "seeds": 2}, steps=4)
    denoiser = harness.load_denoiser({"kind": "mixture", "means": [-0.7, 0.4], "weights": [1, 2], "std": 0.2})
    assert len(json.loads(harness.export(chosen, denoiser))["sigmas"]) == 5


REFUSED = [
    (sampler(solver="rk45", steps=2), "python", "chooses its steps as it goes"),
    (sampler(solver="adaptive_sde", steps=2), "python", "chooses its steps as it goes"),
    (sampler(solver="ddim", stochasticity={"kind": "langevin", "step": "norms"}), "python", "depend on the images"),
    (sampler(solver="ddim", steps=1001), "python", "at most 1,000"),
    (sampler(), "automatic1111", "--to takes one of sigmas, diffusers"),
]


@pytest.mark.parametrize(("chosen", "to", "said"), REFUSED)
def test_what_cannot_be_written_out_is_refused(chosen, to, said):
    with pytest.raises(InputError, match=said):
        harness.export(chosen, harness.load_denoiser("digits-edm"), to=to)
