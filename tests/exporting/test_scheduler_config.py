"""Schedulers of diffusers as samplers: each beside diffusers' own run of it, on a network and from the same start."""

import json

import numpy as np
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.conventions import Noise, wrap
from harness.exporting.scheduler_config import MOST_TIME, import_scheduler, read_config
from harness.sampling.discretizations.explicit import ROUNDING
from tests.exporting.running import gap, latents, network, ours

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning", "ignore::FutureWarning")

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
"""The betas of Stable Diffusion."""

VP = ("DDIM", "DDPM", "PNDM", "DPMSolverMultistep", "UniPCMultistep")
"""Schedulers whose x is scaled by 1 / sqrt(1 + sigma^2)."""

CONFIGS = [
    ("EulerDiscreteScheduler", SD),
    ("EulerDiscreteScheduler", SD | {"timestep_spacing": "leading", "steps_offset": 1}),
    ("EulerDiscreteScheduler", SD | {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "sigma_min": 0.02, "sigma_max": 20.0}),
    ("EulerDiscreteScheduler", {"use_exponential_sigmas": True, "beta_schedule": "squaredcos_cap_v2"}),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "sigma_min"}),
    ("EulerDiscreteScheduler", {"trained_betas": np.linspace(1e-4, 0.03, 500).tolist(), "num_train_timesteps": 500}),
    ("EulerAncestralDiscreteScheduler", SD),
    ("HeunDiscreteScheduler", {"use_karras_sigmas": True, "clip_sample": True}),
    ("HeunDiscreteScheduler", {"timestep_spacing": "trailing"}),
    ("KDPM2DiscreteScheduler", {}),
    ("KDPM2AncestralDiscreteScheduler", SD),
    ("DPMSolverMultistepScheduler", SD),
    ("DPMSolverMultistepScheduler", SD | {"use_karras_sigmas": True, "solver_type": "heun"}),
    ("DPMSolverMultistepScheduler", SD | {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", SD | {"algorithm_type": "sde-dpmsolver++", "solver_order": 1}),
    ("DPMSolverMultistepScheduler", {"solver_order": 1, "timestep_spacing": "trailing"}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3, "lower_order_final": False, "timestep_spacing": "leading"}),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min", "solver_order": 3}),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min", "lower_order_final": False}),
    ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}),
    ("DPMSolverMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}),
    ("UniPCMultistepScheduler", SD | {"timestep_spacing": "leading"}),
    ("UniPCMultistepScheduler", {"solver_order": 1, "use_karras_sigmas": True}),
    ("UniPCMultistepScheduler", {"disable_corrector": list(range(20))}),
    ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "flow_shift": 5.0, "prediction_type": "flow_prediction"}),
    ("UniPCMultistepScheduler", {"final_sigmas_type": "sigma_min", "solver_order": 3}),
    ("DDIMScheduler", SD | {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}),
    ("DDIMScheduler", {"timestep_spacing": "trailing"}),
    ("DDPMScheduler", {"beta_schedule": "squaredcos_cap_v2"}),
    ("DDPMScheduler", {"variance_type": "fixed_large", "clip_sample": False}),
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ("FlowMatchEulerDiscreteScheduler", {"shift_terminal": 0.1}),
    ("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
]


def made(name, config, steps):
    """diffusers' scheduler, and its configuration as it saves it."""
    scheduler = getattr(diffusers, name)(**config)
    scheduler.set_timesteps(steps)
    return scheduler, json.loads(scheduler.to_json_string())


def level(scheduler, call, t):
    """The noise level at which diffusers has the network evaluated, and the scale of its x."""
    name = type(scheduler).__name__
    if name in ("DDIMScheduler", "DDPMScheduler"):
        abar = scheduler.alphas_cumprod[t].double()
        return float(((1 - abar) / abar).sqrt()), float(abar.sqrt())
    sigma = float(scheduler.sigmas[call])
    if name.startswith("KDPM2") and call % 2:
        sigma = float(scheduler.sigmas_interpol[call - ("Ancestral" in name)])
    if name.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas"):
        sigma = min(sigma, MOST_TIME)
        return sigma / (1 - sigma), 1 - sigma
    return sigma, (1 + sigma**2) ** -0.5 if name.startswith(VP) else 1.0


def theirs(scheduler, denoise, xbar, noises):
    """diffusers' own run from a state without scaling, the noise given to it in order."""
    sigma, scale = level(scheduler, 0, scheduler.timesteps[0])
    is_flow = type(scheduler).__name__.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas")
    x, noises = xbar * scale, iter(noises)
    scheduler.set_begin_index(0) if hasattr(scheduler, "set_begin_index") else None
    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    before = getattr(module, "randn_tensor", None)
    module.randn_tensor = lambda *_, **__: next(noises, torch.zeros_like(xbar))
    try:
        for call, t in enumerate(scheduler.timesteps):
            sigma, scale = level(scheduler, call, t)
            denoised = denoise(x / scale, sigma)
            time = sigma / (1 + sigma)
            output = (x - denoised) / time if is_flow else (x / scale - denoised) / sigma
            x = scheduler.step(output, t, x).prev_sample.double()
    finally:
        module.randn_tensor = before
    return x


@pytest.mark.parametrize(("name", "config"), CONFIGS, ids=[f"{at}-{name}" for at, (name, _) in enumerate(CONFIGS)])
@pytest.mark.parametrize("steps", [10, 20])
def test_the_sampler_takes_the_schedulers_steps(name, config, steps):
    """From the same state, with the same noise, the same images to the precision of diffusers' float32."""
    scheduler, saved = made(name, config, steps)
    imported = import_scheduler(saved, steps)
    denoiser = harness.load_denoiser({"kind": "mixture", "means": [-0.7, 0.4], "weights": [1, 2], "std": 0.2})
    sigmas, z = imported.sampler.sigmas(denoiser), latents(denoiser)
    images, drawn = ours(denoiser, imported.sampler, z)
    images_there = theirs(scheduler, network(denoiser), z * sigmas[0], drawn)
    if imported.sampler.end == "sigma_min" and name.startswith(VP):  # our image is freed of the scale
        images_there = images_there * (1 + sigmas[-1] ** 2).sqrt()
    assert imported.differences == []
    assert gap(images_there, images) < 1e-5


def test_the_levels_are_diffusers_own():
    for name, config in CONFIGS:
        scheduler, saved = made(name, config, 10)
        if not hasattr(scheduler, "sigmas") or name.startswith(("Heun", "KDPM2", "FlowMatchHeun")):
            continue
        denoiser = harness.load_denoiser({"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2]})
        sigmas = scheduler.sigmas[:10].double()
        if name.startswith("FlowMatch") or config.get("use_flow_sigmas"):
            sigmas = sigmas.clip(max=MOST_TIME)
            sigmas = sigmas / (1 - sigmas)
        own = import_scheduler(saved, 10).sampler.sigmas(denoiser)[:10]
        sigmas = sigmas[: len(own)]
        assert own.tolist() == pytest.approx(sigmas.tolist(), rel=3e-5 if "Flow" in name else 3e-6), name


REFUSED = [
    ({"_class_name": "DPMSolverMultistepScheduler", "thresholding": True}, "thresholding True"),
    ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}, "algorithm_type 'dpmsolver'"),
    ({"_class_name": "DPMSolverMultistepScheduler", "use_lu_lambdas": True}, "use_lu_lambdas True"),
    ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "lower_order_final True"),
    (
        {"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "algorithm_type": "sde-dpmsolver++"},
        "solver_order 3",
    ),
    ({"_class_name": "UniPCMultistepScheduler", "solver_order": 3}, "lower_order_final True"),
    ({"_class_name": "UniPCMultistepScheduler", "solver_type": "bh1"}, "solver_type 'bh1'"),
    ({"_class_name": "UniPCMultistepScheduler", "disable_corrector": [0]}, r"disable_corrector \[0\]"),
    ({"_class_name": "UniPCMultistepScheduler", "predict_x0": False}, "predict_x0 False"),
    ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}, "rescale_betas_zero_snr True"),
    ({"_class_name": "DDIMScheduler", "timestep_spacing": "linspace"}, "timestep_spacing 'linspace'"),
    ({"_class_name": "DDIMScheduler", "clip_sample_range": 3.0}, "clip_sample_range 3.0"),
    ({"_class_name": "DDPMScheduler", "variance_type": "learned_range"}, "variance_type 'learned_range'"),
    ({"_class_name": "PNDMScheduler", "skip_prk_steps": True}, "skip_prk_steps True"),
    ({"_class_name": "LMSDiscreteScheduler"}, "order 4 in the step to 0"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True}, "use_dynamic_shifting True"),
    ({"_class_name": "EulerDiscreteScheduler", "beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid'"),
    ({"_class_name": "EulerDiscreteScheduler", "beta_end": "x"}, "beta_end of EulerDiscreteScheduler must be a number"),
    ({"_class_name": "EulerDiscreteScheduler", "beta_end": 2.0}, "betas"),
    ({"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 5}, "cannot make 10 steps"),
    ({"_class_name": "EulerDiscreteScheduler", "sigmas": [1.0, "x"]}, "list of at least two numbers"),
    ({"_class_name": "EulerDiscreteScheduler", "sigmas": [1.0, 2.0, 0.0]}, "9 steps|2 steps"),
    ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler has no counterpart"),
    ({"beta_start": 0.1}, "no `_class_name`"),
]


@pytest.mark.parametrize(("config", "said"), REFUSED, ids=[str(at) for at in range(len(REFUSED))])
def test_what_has_no_counterpart_is_named(config, said):
    with pytest.raises(InputError, match=said) as refused:
        import_scheduler(config, 10)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["PNDMScheduler", "LMSDiscreteScheduler"])
def test_the_nearest_can_be_taken(name):
    config = {"_class_name": name, **SD, "steps_offset": 1, "skip_prk_steps": True}
    imported = import_scheduler(config, 20, nearest=True)
    assert imported.sampler.solver.kind == {"PNDMScheduler": "ipndm", "LMSDiscreteScheduler": "lms"}[name]
    assert len(imported.differences) == 1


def test_files_and_folders_are_read(tmp_path):
    diffusers.DDIMScheduler(**SD).save_pretrained(tmp_path)
    assert read_config(tmp_path) == read_config(tmp_path / "scheduler_config.json")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "bad.json").write_text("{")
    for name, said in (("list.json", "a JSON object"), ("bad.json", "cannot be read"), ("none.json", "cannot be read")):
        with pytest.raises(InputError, match=said):
            read_config(tmp_path / name)


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize(
    "betas", [{}, SD, {"beta_schedule": "squaredcos_cap_v2"}], ids=["linear", "scaled_linear", "cosine"]
)
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_it_runs_on_a_denoiser_of_the_same_betas(name, betas, spacing):
    """Tables of diffusers are float32, so that their ends lie beyond a denoiser's by rounding."""
    config = {"_class_name": name, **betas, "timestep_spacing": spacing}
    names = {"beta_schedule": "schedule", "beta_start": "start", "beta_end": "end"}
    schedule = {"schedule": "linear"} | {names[key]: value for key, value in betas.items()}
    denoiser = wrap(lambda x, t: x, Noise(betas=schedule), shape=(1, 2, 2))
    sampler = import_scheduler(config, 8).sampler
    sigmas = sampler.sigmas(denoiser)
    low, high = denoiser.sigma_min, denoiser.sigma_max
    assert all(low <= sigma <= high for sigma in sigmas.tolist() if sigma)
    listed = torch.tensor(sampler.discretization.sigmas, dtype=torch.float64)
    torch.testing.assert_close(sigmas[: len(listed)], denoiser.round_sigma(listed), rtol=ROUNDING, atol=0)


def test_a_level_further_beyond_the_end_is_refused():
    denoiser = wrap(lambda x, t: x, Noise(betas="linear"), shape=(1, 2, 2), sigma_min=0.1, sigma_max=10.0)
    beyond = {"kind": "explicit", "sigmas": [10.0 * (1 + 2 * ROUNDING), 1.0]}
    with pytest.raises(InputError, match="outside the denoiser's range"):
        harness.Sampler.model_validate({"discretization": beyond}).sigmas(denoiser)
