"""Folders of diffusers: converted, a UNet2DModel with its scheduler gives what the library itself predicts.

The original runs here: the library's network, and the scheduler's own step to the denoised image (needs the extra).
"""

import json

import diffusers
import numpy as np
import pytest
import torch

import harness
from harness.core.betas import betas, noise_levels
from harness.core.errors import InputError
from harness.denoisers.checkpoints.convert import import_file, load_foreign
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.inspect import inspect
from harness.denoisers.networks import diffusers_unet
from harness.hub.header import read_header
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
        ("unet/config.json", {"_class_name": "NCSNpp"}, "a NCSNpp; only UNet2DModel"),
        ("unet/config.json", {"block_out_channels": [32, 32]}, r"tensor 'model\.unet\..*the network has"),
        ("unet/config.json", {"layers_per_block": 10**6}, "far too large"),
        ("unet/config.json", {"time_embedding_type": "fourier"}, "only positional times and plain classes"),
        ("unet/config.json", {"in_channels": 4}, "4 channels in and 3 out"),
        ("scheduler/scheduler_config.json", {"_class_name": "ScoreSdeVeScheduler"}, "models of discrete steps"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "UnCLIPScheduler"},
            "a UnCLIPScheduler; models of discrete",
        ),
        ("scheduler/scheduler_config.json", {"_class_name": "IPNDMScheduler"}, "a IPNDMScheduler; models of discrete"),
        ("scheduler/scheduler_config.json", {"timestep_type": "continuous"}, "DDPMScheduler of continuous time"),
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


def saved(folder, net, plan=None):
    """A network, and a scheduler, in one folder."""
    net.save_pretrained(folder)
    if plan is not None:
        plan.save_pretrained(folder)
    return folder


COSINE = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "num_train_timesteps": 500}


def is_cosine(path, **options):
    """Whether the denoiser is that of COSINE, with nothing assumed."""
    net = load_foreign(path, options=options)
    return (net.kind, len(net.levels)) == ("ddpm-v", 500) and not read_checkpoint(path, options).assumed


def test_the_schedulers_file_is_found_beside_the_weights_and_above(tmp_path):
    net, plan = unet(), scheduler(**COSINE)
    pipe = folder(tmp_path, net, plan)
    assert is_cosine(pipe)
    assert is_cosine(pipe / "unet")
    assert is_cosine(saved(tmp_path / "flat", net, plan))
    net.save_pretrained(pipe / "checkpoint-500" / "unet")
    net.save_pretrained(pipe / "checkpoint-500" / "unet_ema")
    assert is_cosine(pipe / "checkpoint-500" / "unet")
    assert is_cosine(pipe / "checkpoint-500" / "unet_ema")
    assert "scheduler file" not in read_checkpoint(pipe / "unet").facts
    assert read_checkpoint(tmp_path / "flat").facts["scheduler file"] == "scheduler_config.json"


def test_schedulers_files_that_contradict_each_other(tmp_path):
    path = saved(tmp_path / "net", unet(), scheduler())
    scheduler().save_pretrained(path / "scheduler")
    assert load_foreign(path).kind == "ddpm"
    scheduler(**COSINE).save_pretrained(path / "scheduler")
    with pytest.raises(InputError, match="say different things of one network"):
        load_foreign(path)


def old_names(net):
    """The state dict as it was saved until 2023."""
    pairs = [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")]
    state = {}
    for name, tensor in net.state_dict().items():
        for new, old in pairs:
            name = name.replace(new, old)
        state[name] = tensor
    return state


@pytest.mark.parametrize("prefix", ["", "module."])
def test_attention_by_its_old_names(tmp_path, prefix):
    net = unet()
    path = saved(tmp_path / "net", net, scheduler())
    (path / "diffusion_pytorch_model.safetensors").unlink()
    old = {prefix + name: tensor for name, tensor in old_names(net).items()}
    assert sum(".proj_attn." in name for name in old) == 8
    torch.save(old, path / "diffusion_pytorch_model.bin")
    assert same_weights(path, net)
    torch.save(old | net.state_dict(), path / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"is there by its old name and its new one|the file has"):
        load_foreign(path)


def same_weights(path, net, **options):
    state = load_foreign(path, options=options).state_dict()
    return all(torch.equal(state[f"model.unet.{name}"], tensor.float()) for name, tensor in net.state_dict().items())


def test_shards(tmp_path):
    net, path = unet(), tmp_path / "net"
    net.save_pretrained(path, max_shard_size="300KB")
    assert len(list(path.glob("*-of-*.safetensors"))) > 1
    assert same_weights(path, net)
    assert read_checkpoint(path).facts == {"weights": "diffusion_pytorch_model.safetensors.index.json"}
    shard = min(path.glob("*-of-*.safetensors"))
    with pytest.raises(InputError, match="one of several files of weights; give the folder"):
        load_foreign(shard)
    shard.unlink()
    with pytest.raises(InputError, match=r"missing, and diffusion_pytorch_model\.safetensors\.index\.json names it"):
        load_foreign(path)


def test_variants(tmp_path):
    full, path = unet(), tmp_path / "net"
    half = unet().half()
    half.save_pretrained(path, variant="fp16")
    assert same_weights(path, half)
    assert read_checkpoint(path).facts == {"weights": "diffusion_pytorch_model.fp16.safetensors"}
    other = unet(layers_per_block=1, norm_eps=1e-5)
    with torch.no_grad():
        other.conv_in.weight += 1
    other.save_pretrained(path, variant="non_ema")
    with pytest.raises(InputError, match="weights of the variants fp16, non_ema; say which by --set variant=WORD"):
        load_foreign(path)
    assert same_weights(path, other, variant="non_ema")
    full.save_pretrained(path)
    assert same_weights(path, full)
    assert read_checkpoint(path).ignored == [
        f"diffusion_pytorch_model.{word}.safetensors" for word in ("fp16", "non_ema")
    ]
    half.save_pretrained(tmp_path / "shards", variant="fp16", max_shard_size="100KB")
    assert same_weights(tmp_path / "shards", half)


def test_one_file_stands_for_its_folder(tmp_path):
    net = unet()
    path = folder(tmp_path, net, scheduler(**COSINE)) / "unet"
    net.half().save_pretrained(path, variant="fp16")
    weights = path / "diffusion_pytorch_model.safetensors"
    assert is_cosine(weights)
    assert inspect(weights)["usable"] == "yes"
    assert harness.load_denoiser(weights).kind == "ddpm-v"
    assert is_cosine(path / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(InputError, match="or try `harness import` on this one"):
        read_header(weights)
    torch.save({"state_dict": net.state_dict()}, path / "last.pt")
    assert is_cosine(path / "last.pt")
    weights.rename(tmp_path / "alone.safetensors")
    with pytest.raises(InputError, match=r"weights of diffusers without the config\.json"):
        load_foreign(tmp_path / "alone.safetensors")
    written = import_file(path / "diffusion_pytorch_model.fp16.safetensors", tmp_path / "net.safetensors")
    assert harness.load_denoiser(written.path).kind == "ddpm-v"


def test_averaged_weights_beside_the_network_are_named(tmp_path):
    path = folder(tmp_path, unet(), scheduler())
    unet().save_pretrained(path / "unet_ema")
    expected = [f"unet_ema, the averaged weights; give {path / 'unet_ema'} to use them"]
    assert read_checkpoint(path).ignored == read_checkpoint(path / "unet").ignored == expected
    assert read_checkpoint(path / "unet_ema").ignored == []


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("vqvae", ["diffusers", "VQModel"]),
        ("vae", ["diffusers", "AutoencoderKL"]),
        ("decoder", ["x", "AutoencoderTiny"]),
    ],
)
def test_latent_pipelines(tmp_path, name, part):
    path = folder(tmp_path, unet(), scheduler())
    index = {"_class_name": "LDMPipeline", "unet": ["diffusers", "UNet2DModel"], name: part}
    (path / "model_index.json").write_text(json.dumps(index))
    for place in (path, path / "unet", path / "unet" / "diffusion_pytorch_model.safetensors"):
        with pytest.raises(InputError, match=f"belongs to a LDMPipeline and denoises the latents of '{name}'"):
            load_foreign(place)


def test_a_latent_pipeline_without_an_index(tmp_path):
    path = folder(tmp_path, unet(), scheduler())
    (path / "vqvae").mkdir()
    (path / "vqvae" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="denoises the latents of 'vqvae'"):
        load_foreign(path / "unet")
    saved(path / "alone", unet(), scheduler())  # a network of its own in a folder that has others
    assert load_foreign(path / "alone").kind == "ddpm"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (
            {"_class_name": "DiTPipeline", "vae": ["diffusers", "AutoencoderKL"]},
            "a DiTPipeline and denoises the latents",
        ),
        ({"_class_name": "PixArtPipeline"}, "a PixArtPipeline; only one with a UNet2DModel in 'unet' is known here"),
    ],
)
def test_pipelines_of_other_networks(tmp_path, index, message):
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text('{"_class_name": "DiTTransformer2DModel"}')
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("size", [[16, 24], [16, 16, 16], "16", 16.0, []])
def test_a_stated_size_is_used_or_refused(tmp_path, size):
    path = folder(tmp_path, unet(), scheduler())
    rewrite(path / "unet" / "config.json", sample_size=size)
    with pytest.raises(InputError, match=r"sample_size is .*; only square images are known"):
        load_foreign(path)
    rewrite(path / "unet" / "config.json", sample_size=[24, 24])
    assert load_foreign(path).shape == (3, 24, 24)
    with pytest.raises(InputError, match="leave out the option 'image_size'"):
        load_foreign(path, options={"image_size": 32})
