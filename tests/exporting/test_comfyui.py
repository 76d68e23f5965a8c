"""Samplers for ComfyUI: its nodes are read as it reads them, and its functions give our images."""

import json
import re

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.exporting.comfyui import written
from tests.exporting import sampling_functions
from tests.exporting.running import gap, latents, network, ours, sampler

SAMPLERS = [
    sampler(solver="euler"),
    sampler(solver="heun"),
    sampler(solver="heun", end="sigma_min"),
    sampler(solver="dpm_2"),
    sampler(solver="dpm_2", stochasticity="ancestral"),
    sampler(solver="ddim", stochasticity={"kind": "ancestral", "eta": 0.7}),
    sampler(solver="dpmpp_2s"),
    sampler(solver="dpmpp_2m"),
    sampler(solver={"kind": "dpmpp_2m_sde", "form": "heun"}),
    sampler(solver="dpmpp_3m_sde"),
    sampler(solver={"kind": "dpmpp_sde", "clock": "sigma"}),
    sampler(solver="lms", steps=9),
    sampler(solver={"kind": "lms", "order": 2}),
    sampler(solver="ipndm", steps=9),
    sampler(solver="euler", schedule="flow", scaling="flow"),
    sampler(solver="heun", schedule="flow", scaling="flow"),
]


def read(text):
    """Function, arguments and levels, as ComfyUI gets them from the nodes."""
    nodes = json.loads(text)
    node, fields = nodes["sampler"], dict(nodes["sampler"]["inputs"])
    assert nodes["sigmas"]["class_type"] == "ManualSigmas"
    found = re.findall(r"[-+]?(?:\d*\.*\d+)", nodes["sigmas"]["inputs"]["sigmas"])  # the node's own pattern
    name = fields.pop("sampler_name", None) or node["class_type"].removeprefix("Sampler").lower()
    name = {"eulerancestral": "euler_ancestral"}.get(name, name)
    fields.pop("noise_device", None)
    return getattr(sampling_functions, f"sample_{name}"), fields, torch.FloatTensor([float(each) for each in found])


@pytest.mark.parametrize("chosen", SAMPLERS, ids=[f"{at}-{s.solver.kind}" for at, s in enumerate(SAMPLERS)])
def test_the_nodes_give_our_images(chosen):
    denoiser = harness.load_denoiser("digits-edm", dtype="float64")
    function, fields, sigmas = read(harness.export(chosen, denoiser, to="comfyui"))
    images, drawn = ours(denoiser, chosen)
    model, x = network(denoiser), latents(denoiser)
    if chosen.schedule.kind == "flow":  # a model of flow matching has its time as sigma
        inner = model
        model = lambda x, t: inner(x / (1 - t[0]), t / (1 - t))  # noqa: E731
    used = iter(drawn)
    noise = {"noise_sampler": lambda high, low: next(used)} if drawn else {}
    assert gap(function(model, x * sigmas[0].double(), sigmas.double(), **fields, **noise), images) < 1e-5


def test_levels_are_written_without_exponents():
    for value in (1e-05, 2.5e-7, 0.002, 80.0, 1e6, 0.1 + 0.2, 1 / 3):
        assert float(written(value)) == value
        assert "e" not in written(value)
        assert re.fullmatch(r"\d+\.\d+", written(value))


REFUSED = [
    (sampler(solver="heun", stochasticity={"kind": "churn", "S_churn": 2}), "churn, for which no node has a field"),
    (sampler(solver="heun", clip_denoised=True), "clip_denoised"),
    (sampler(solver="dpm_2", stochasticity={"kind": "ancestral", "eta": 0.5}), "eta 0.5"),
    (sampler(solver={"kind": "ipndm", "order": 3}), "order 3"),
    (sampler(solver="dpmpp_2m", schedule="flow", scaling="flow"), "flow matching"),
    (sampler(solver="ddim", stochasticity={"kind": "ancestral", "S_noise": 200.0}), "s_noise 200"),
    (sampler(solver="unipc"), "solver 'unipc'"),
]


@pytest.mark.parametrize(
    ("chosen", "said"), REFUSED, ids=[f"{at}-{s.solver.kind}" for at, (s, _) in enumerate(REFUSED)]
)
def test_what_it_cannot_do_is_refused_with_the_nearest(chosen, said):
    with pytest.raises(InputError, match=said) as refused:
        harness.export(chosen, harness.load_denoiser("digits-edm"), to="comfyui")
    assert "the nearest that it can: " in str(refused.value)
