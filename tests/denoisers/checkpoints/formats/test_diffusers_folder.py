"""Folders of diffusers: converted, a UNet2DModel with its scheduler gives what the library itself predicts.

The original runs here: the library's network, and the scheduler's own step to the denoised image (needs the extra).
"""

import json

import diffusers
import numpy as np
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.checkpoints.convert import import_file, load_foreign
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.inspect import inspect
from harness.denoisers.networks import diffusers_unet
from harness.denoisers.preconditioning.discrete import betas, noise_levels
from tests.denoisers.test_networks import TOLERANCE, worst

PREDICTIONS = ["epsilon", "v_prediction", "sample"]
SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]


def unet(classes=None, **changes):
    torch.manual_seed(0)
    options = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "num_class_embeds": classes,
    }
    return diffusers.UNet2DModel(**{**options, **changes}).eval().requires_grad_(False)


def scheduler(**changes):
    return diffusers.DDPMScheduler(clip_sample=False, **changes)


def folder(tmp_path, net, plan):
    net.save_pretrained(tmp_path / "pipe" / "unet")
    plan.save_pretrained(tmp_path / "pipe" / "scheduler")
    return tmp_path / "pipe"


def original(net, plan, x_t, step, labels=None):
    """The library's own denoised images at one step, clipping off."""
    out = net(x_t, step, labels, return_dict=False)[0]
    return plan.step(out, step, x_t).pred_original_sample


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_denoised_as_the_library_does(tmp_path, prediction, schedule):
    net, plan = unet(), scheduler(prediction_type=prediction, beta_schedule=schedule)
    path = folder(tmp_path, net, plan)
    written = import_file(path, tmp_path / "net.safetensors")
    ours = harness.load_denoiser(written.path)
    assert np.allclose(ours.levels.numpy(), ((1 - plan.alphas_cumprod) / plan.alphas_cumprod).sqrt(), rtol=2e-3)
    for step in [0, 300, 700, 990]:
        x_t = torch.randn(2, 3, 16, 16)
        expected = original(net, plan, x_t, step)
        left = float(plan.alphas_cumprod[step])  # of the library's own float32 table, so that both see one sigma
        sigma = torch.tensor(((1 - left) / left) ** 0.5, dtype=torch.float64)
        with torch.no_grad():
            found = ours(x_t.double() / left**0.5, sigma)
        assert worst(found, expected) < TOLERANCE, step
    assert written.source.assumed == {}
    assert written.source.facts["scheduler"]["prediction_type"] == prediction


def test_classes_learned_variance_and_weights_in_bin(tmp_path):
    net, plan = unet(classes=4, out_channels=6), scheduler()
    path = folder(tmp_path, net, plan)
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(net.state_dict(), path / "unet" / "diffusion_pytorch_model.bin")
    ours = load_foreign(path)
    x_t, step, labels = torch.randn(3, 3, 16, 16), 400, torch.tensor([0, 3, 1])
    out = net(x_t, step, labels, return_dict=False)[0][:, :3]
    left = float(plan.alphas_cumprod[step])
    expected = (x_t - (1 - left) ** 0.5 * out) / left**0.5
    sigma = torch.tensor(((1 - left) / left) ** 0.5, dtype=torch.float64)
    found = ours(x_t.double() / left**0.5, sigma, torch.eye(4)[labels])
    assert worst(found, expected) < TOLERANCE
    assert (ours.label_dim, ours.shape) == (4, (3, 16, 16))
    harness.check_denoiser(ours)


def test_a_network_alone_and_what_is_then_assumed(tmp_path):
    unet().save_pretrained(tmp_path / "net")
    found = read_checkpoint(tmp_path / "net")
    assert found.assumed == {
        "prediction_type": "epsilon",
        "beta_schedule": "linear",
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
    }
    changed = load_foreign(tmp_path / "net", options={"prediction_type": "v_prediction", "num_train_timesteps": 50})
    assert (changed.kind, len(changed.levels)) == ("ddpm-v", 50)
    facts = inspect(tmp_path / "net")
    assert (facts["format"], facts["architecture"], facts["usable"]) == ("diffusers folder", "DiffusersUNet", "yes")


def test_half_precision_weights(tmp_path):
    net, plan = unet().half(), scheduler()
    ours = load_foreign(folder(tmp_path, net, plan))
    for name, tensor in net.state_dict().items():
        assert torch.equal(ours.state_dict()[f"model.unet.{name}"], tensor.float())


def test_listed_betas_and_no_signal_at_the_end(tmp_path):
    listed = np.linspace(0.001, 0.3, 40).tolist()
    plan = scheduler(trained_betas=listed, num_train_timesteps=40)
    ours = load_foreign(folder(tmp_path, unet(), plan))
    left = plan.alphas_cumprod.double()
    assert torch.allclose(ours.levels, ((1 - left) / left).sqrt(), rtol=1e-5)
    plan = scheduler(rescale_betas_zero_snr=True)
    zero = load_foreign(folder(tmp_path, unet(), plan))
    left = plan.alphas_cumprod.double()[:-1]  # the library keeps a small number for the last, which has no signal
    assert len(zero.levels) == 999
    assert torch.allclose(zero.levels, ((1 - left) / left).sqrt(), rtol=2e-3)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_betas(schedule):
    plan = scheduler(beta_schedule=schedule)
    words = {"squaredcos_cap_v2": "cosine"}.get(schedule, schedule)
    ours = betas(words, 1000, 0.0001, 0.02)
    assert np.allclose(ours, plan.betas.numpy(), rtol=1e-4, atol=1e-8)
    assert (np.diff(noise_levels(ours)) > 0).all()


def test_the_list_of_arguments_is_the_librarys():
    import inspect as python

    known = set(python.signature(diffusers.UNet2DModel.__init__).parameters) - {"self"}
    assert known == diffusers_unet.KNOWN | set(diffusers_unet.FROM_OURS)


def rewrite(path, **changes):
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "a UNet2DConditionModel; only UNet2DModel"),
        ("unet/config.json", {"block_out_channels": [32, 32]}, r"tensor 'model\.unet\..*the network has"),
        ("unet/config.json", {"layers_per_block": 10**6}, "far too large"),
        ("unet/config.json", {"time_embedding_type": "fourier"}, "only positional times and plain classes"),
        ("unet/config.json", {"in_channels": 4}, "4 channels in and 3 out"),
        ("scheduler/scheduler_config.json", {"_class_name": "ScoreSdeVeScheduler"}, "models of discrete steps"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "prediction_type 'flow' with beta_schedule"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "cubic"}, "with beta_schedule 'cubic' is not known"),
        ("scheduler/scheduler_config.json", {"trained_betas": [2.0, 3.0]}, r"betas must be 2 numbers in \(0, 1\]"),
    ],
)
def test_folders_that_are_refused(tmp_path, file, changes, message):
    path = folder(tmp_path, unet(), scheduler())
    rewrite(path / file, **changes)
    with pytest.raises(InputError, match=message):
        load_foreign(path)


def test_damaged_folders(tmp_path):
    path = folder(tmp_path, unet(), scheduler())
    weights = path / "unet" / "diffusion_pytorch_model.safetensors"
    raw = weights.read_bytes()
    weights.write_bytes(raw[:-10])
    with pytest.raises(InputError, match="truncated or damaged"):
        load_foreign(path)
    weights.unlink()
    with pytest.raises(InputError, match=r"no weights; there should be diffusion_pytorch_model\.safetensors or"):
        load_foreign(path)
    (path / "unet" / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        load_foreign(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"a folder without config\.json"):
        load_foreign(tmp_path / "empty")


def test_without_the_library_the_remedy_is_named(tmp_path, monkeypatch):
    path = folder(tmp_path, unet(), scheduler())
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(InputError, match="pip install 'diffusion-harness\\[diffusers\\]'"):
        load_foreign(path)
    assert read_checkpoint(path).arguments["model_type"] == "DiffusersUNet"
