"""Samplers for diffusers: what is written runs with its own schedulers and gives our images, and comes back again."""

import importlib
import json

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.exporting.scheduler_config import import_scheduler
from tests.exporting.running import defined, gap, latents, network, ours, sampler

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array:DeprecationWarning", "ignore::FutureWarning", "ignore:The `scale"
)

SAMPLERS = [
    (sampler(solver="euler"), "EulerDiscreteScheduler"),
    (sampler(solver="euler", end="sigma_min"), "EulerDiscreteScheduler"),
    (sampler(solver="ddim", discretization={"kind": "polyexponential", "rho": 1.3}), "EulerDiscreteScheduler"),
    (sampler(solver="ddim", stochasticity="ancestral"), "EulerAncestralDiscreteScheduler"),
    (sampler(solver="ddpm"), "EulerAncestralDiscreteScheduler"),
    (sampler(solver="heun"), "HeunDiscreteScheduler"),
    (sampler(solver="heun", clip_denoised=True), "HeunDiscreteScheduler"),
    (sampler(solver="dpm_2"), "KDPM2DiscreteScheduler"),
    (sampler(solver="lms", steps=8), "LMSDiscreteScheduler"),
    (sampler(solver={"kind": "lms", "order": 3, "lower_order_final": True}), "LMSDiscreteScheduler"),
    (sampler(solver="dpmpp_2m"), "DPMSolverMultistepScheduler"),
    (sampler(solver={"kind": "dpmpp_2m", "form": "heun"}, steps=16), "DPMSolverMultistepScheduler"),
    (sampler(solver="dpmpp_3m", steps=16), "DPMSolverMultistepScheduler"),
    (sampler(solver="dpmpp_2m_sde"), "DPMSolverMultistepScheduler"),
    (sampler(solver={"kind": "dpmpp_2m_sde", "form": "heun"}), "DPMSolverMultistepScheduler"),
    (sampler(solver={"kind": "unipc", "order": 1}), "UniPCMultistepScheduler"),
    (sampler(solver={"kind": "unipc", "order": 2}, steps=16), "UniPCMultistepScheduler"),
    (sampler(solver={"kind": "unipc", "order": 2, "corrector": False}), "UniPCMultistepScheduler"),
    (sampler(solver="euler", schedule="flow", scaling="flow"), "FlowMatchEulerDiscreteScheduler"),
    (sampler(solver="heun", schedule="flow", scaling="flow"), "FlowMatchHeunDiscreteScheduler"),
]
IDS = [f"{at}-{chosen.solver.kind}" for at, (chosen, _) in enumerate(SAMPLERS)]


@pytest.mark.parametrize(("chosen", "name"), SAMPLERS, ids=IDS)
@pytest.mark.parametrize("card", ["digits-edm", "digits-vp"])
def test_the_scheduler_gives_our_images(monkeypatch, chosen, name, card):
    denoiser = harness.load_denoiser(card, dtype="float64")
    made = defined(harness.export(chosen, denoiser, to="diffusers"))
    scheduler = made["scheduler"]
    assert type(scheduler).__name__ == name
    images, drawn = ours(denoiser, chosen)
    x, used = latents(denoiser), iter(drawn)
    if drawn:  # the step to 0 draws as well, and adds nothing
        module = importlib.import_module(type(scheduler).__module__)
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(used, torch.zeros_like(x)))
    assert gap(made["sample"](network(denoiser), x), images) < 1e-5


@pytest.mark.parametrize(("chosen", "name"), SAMPLERS, ids=IDS)
def test_the_saved_configuration_is_the_sampler_again(tmp_path, chosen, name):
    """Same levels, and the same images; solvers that are one under other names may come back under the other."""
    denoiser = harness.load_denoiser("digits-edm")
    made = defined(harness.export(chosen, denoiser, to="diffusers"))
    made["scheduler"].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert config["_class_name"] == name
    again = import_scheduler(config)
    assert again.differences == []
    back = again.sampler.model_copy(update={"clip_denoised": chosen.clip_denoised})
    assert back.sigmas(denoiser).tolist() == chosen.sigmas(denoiser).tolist()
    assert back.end == chosen.end
    same = {"ddim": "euler", "ddpm": "ddim"}
    kinds = {chosen.solver.kind, same.get(chosen.solver.kind)}
    assert back.solver == chosen.solver or back.solver.kind in kinds
    assert gap(ours(denoiser, back)[0], ours(denoiser, chosen)[0]) < 1e-9


def test_every_list_ends_in_one_zero():
    """Euler's list ends in 0, and flow matching adds it."""
    denoiser = harness.load_denoiser("digits-edm")
    euler = defined(harness.export(sampler(solver="euler"), denoiser, to="diffusers"))["scheduler"]
    assert len(euler.timesteps) == 6
    assert euler.sigmas[-1] == 0
    flow = sampler(solver="euler", schedule="flow", scaling="flow")
    scheduler = defined(harness.export(flow, denoiser, to="diffusers"))["scheduler"]
    assert len(scheduler.sigmas) == 7
    assert scheduler.sigmas[-1] == 0


REFUSED = [
    (sampler(solver="heun", stochasticity={"kind": "churn", "S_churn": 2}), "stochasticity: deterministic"),
    (sampler(solver="ddim", stochasticity={"kind": "ancestral", "eta": 0.5}), "eta: 1.0"),
    (sampler(solver="dpm_2", stochasticity="ancestral"), "solver: ddim"),
    (sampler(solver="heun", end="sigma_min"), "end: zero"),
    (sampler(solver="euler", end="sigma_min", schedule="flow", scaling="flow"), "end: zero"),
    (sampler(solver="ddim", end="sigma_min", stochasticity="ancestral"), "end: zero"),
    (sampler(solver={"kind": "dpm_2", "r": 0.4}), "r: 0.5"),
    (sampler(solver={"kind": "dpmpp_2m", "lower_order_final": True}), "lower_order_final: false"),
    (sampler(solver={"kind": "dpmpp_3m", "weights": "taylor"}), "weights: published"),
    (sampler(solver={"kind": "dpmpp_2m_sde", "eta": 0.5}), "eta: 1.0"),
    (sampler(solver={"kind": "unipc", "variant": "bh1", "order": 2}), "variant: bh2"),
    (sampler(solver="unipc"), "order: 2"),
    (sampler(solver="ipndm"), "solver: lms"),
    (sampler(solver="deis"), "solver: lms"),
    (sampler(solver="dpmpp_3m_sde"), "solver: dpmpp_2m_sde"),
    (sampler(solver="euler_maruyama"), "--to python"),
    (sampler(solver="heun", discretization="vp", schedule="vp", scaling="vp"), "schedule linear"),
]


@pytest.mark.parametrize(
    ("chosen", "nearest"), REFUSED, ids=[f"{at}-{s.solver.kind}" for at, (s, _) in enumerate(REFUSED)]
)
def test_what_it_cannot_do_is_refused_with_the_nearest(chosen, nearest):
    with pytest.raises(InputError, match="the nearest that it can: ") as refused:
        harness.export(chosen, harness.load_denoiser("digits-edm"), to="diffusers")
    assert nearest in str(refused.value)
