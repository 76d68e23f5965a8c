"""score_sde_pytorch, guided-diffusion and improved-diffusion: converted, they give the originals' own numbers.

The originals were run (tests/golden/families/README.md): their bare networks and their whole chain to a denoised image.
"""

import math
import re

import numpy as np
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.checkpoints.convert import import_file, load_foreign
from harness.denoisers.checkpoints.formats import openai, read_checkpoint
from harness.denoisers.checkpoints.formats.base import Settings
from harness.denoisers.inspect import inspect
from harness.denoisers.load import describe
from tests.denoisers import families
from tests.denoisers.test_networks import TOLERANCE, worst

FLAGS = ("num_heads", "num_head_channels", "use_new_attention_order")
every_song = pytest.mark.parametrize("name", families.SONG)
every_openai = pytest.mark.parametrize("name", families.OPENAI)
FOURIER = 1e-4  # of the bare networks with Fourier features: phases of 1e3 radians in float32, as the README there says


def options(name):
    """What the files do not say and a user has to."""
    meta = families.sidecar(name)
    if name in families.SONG:
        return {"image_size": meta["config"]["image_size"]}
    arguments, diffusion = meta["arguments"], meta["diffusion"]
    return {
        "image_size": 16,
        "noise_schedule": diffusion["noise_schedule"],
        "diffusion_steps": diffusion["steps"],
        "rescale_timesteps": diffusion.get("rescale_timesteps", False),
        **{key: arguments[key] for key in FLAGS if key in arguments},
    }


def state(name):
    return families.song_state(name) if name in families.SONG else families.openai_state(name)


def test_there_are_nine():
    assert (len(families.SONG), len(families.OPENAI)) == (4, 5)


@pytest.mark.parametrize("name", families.NAMES)
@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_denoised_as_the_original_does(name, layout, tmp_path):
    path = families.write(tmp_path / "net.pt", state(name), layout)
    io, net = families.arrays(name), load_foreign(path, options=options(name))
    with torch.no_grad():
        assert worst(net(io["x"], io["sigma"], io.get("labels")), io["D"]) < TOLERANCE
    written = import_file(path, tmp_path / "net.safetensors", options(name))
    again = harness.load_denoiser(written.path)
    with torch.no_grad():
        assert torch.equal(again(io["x"], io["sigma"], io.get("labels")), net(io["x"], io["sigma"], io.get("labels")))
    assert (again.sigma_min, again.sigma_max) == (net.sigma_min, net.sigma_max)


@pytest.mark.parametrize("name", families.NAMES)
def test_denoised_in_double(name, tmp_path):
    """Against the original in double precision: equal, but for its float32 table of sines where it has one."""
    path = families.write(tmp_path / "net.pt", state(name))
    io, net = families.arrays(name), load_foreign(path, dtype=torch.float64, options=options(name))
    x, sigma = (io.get(f"{field}_float64", io[field]) for field in ("x", "sigma"))
    with torch.no_grad():
        error = worst(net(x, sigma, io.get("labels")), io["D_float64"])
    assert error < (1e-13 if name.startswith("ve") else TOLERANCE)


@pytest.mark.parametrize("name", families.NAMES)
def test_raw_network(name, tmp_path):
    io = families.arrays(name)
    net = load_foreign(families.write(tmp_path / "net.pt", state(name)), options=options(name))
    fourier = net.config.get("embedding_type") == "fourier"
    if fourier:  # the original takes sigma, and images in [0, 1]; it divides by sigma
        sigma = io["F.time_cond"]
        raw = net.model(2 * io["F.x"] - 1, sigma.log()) / sigma.reshape(-1, 1, 1, 1)
    else:
        raw = net.model(io["F.x"], io.get("F.time_cond", io.get("F.time")).float(), io.get("labels"))
    assert worst(raw, io["F.out"]) < (FOURIER if fourier else TOLERANCE)


@every_openai
def test_levels_of_discrete_time(name, tmp_path):
    io = families.arrays(name)
    net = load_foreign(families.write(tmp_path / "net.pt", state(name)), options=options(name))
    levels = io["levels"]
    assert torch.allclose(net.levels, levels, rtol=1e-9, atol=0)
    assert (net.sigma_min, net.sigma_max) == (float(net.levels[0]), float(net.levels[-1]))
    assert torch.equal(net.round_sigma(net.levels), net.levels)
    between = (levels[1:] + levels[:-1]) / 2
    assert torch.allclose(net.round_sigma(between * 0.9999999), levels[:-1], rtol=1e-6)
    assert torch.allclose(net.round_sigma(between * 1.0000001), levels[1:], rtol=1e-6)
    harness.check_denoiser(net)


@every_song
def test_continuous_time(name, tmp_path):
    net = load_foreign(families.write(tmp_path / "net.pth", state(name)), options=options(name))
    expected = (0.02, 100.0) if name.startswith("ve") else (0.0009765625, 152.16697692871094)
    assert (net.sigma_min, net.sigma_max) == expected
    harness.check_denoiser(net)


def test_the_moving_average_is_used(tmp_path):
    """And not the weights of the last step, which are in the file as well."""
    found = read_checkpoint(families.write(tmp_path / "net.pth", families.song_state("vp_ddpmpp")), {"image_size": 16})
    saved = families.song_state("vp_ddpmpp")
    ours = torch.from_numpy(found.tensors["model.map_layer0.weight"].read().copy())
    assert torch.equal(ours, saved["ema"]["shadow_params"][0])
    assert not torch.equal(ours, saved["model"]["module.all_modules.0.weight"])
    assert found.facts == {"training": {"step": 7}}
    assert found.assumed["process"] == "vp"
    assert "optimizer" in found.ignored


def test_published_configurations_are_guessed(tmp_path):
    """Without options, what all published files have: attention at 16 pixels."""
    found = read_checkpoint(families.write(tmp_path / "net.pth", families.song_state("ve_ncsnpp")))
    assert found.arguments["img_resolution"] == 32
    assert found.arguments["attn_resolutions"] == [16]
    assert found.arguments["resample_filter"] == [1, 3, 3, 1]
    assert found.assumed["image_size"] == 32


@pytest.mark.parametrize("architecture", openai.PUBLISHED, ids=lambda a: openai.PUBLISHED[a][0])
def test_published_architectures_are_recognised(architecture):
    """Every published network, built without storage, is recognised from its shapes alone; its flags follow."""
    from harness.denoisers.checkpoints.pickles.stored import LazyTensor
    from harness.denoisers.networks.openai import OpenAIUNet

    name, flags = openai.PUBLISHED[architecture]
    classes, resblocks, shift = architecture.label_dim, architecture.resblock_updown, architecture.scale_shift
    with torch.device("meta"):
        net = OpenAIUNet(
            flags.image_size,
            3,
            6,
            classes,
            architecture.model_channels,
            architecture.channel_mult,
            architecture.num_blocks,
            architecture.attn_levels,
            resblock_updown=resblocks,
            scale_shift=shift,
        )
    root = {key: LazyTensor("F32", tuple(value.shape), dict) for key, value in net.state_dict().items()}
    found = openai.read_state_dict(root, "file.pt", Settings({}, "file.pt"), [])
    assert found.facts == {"architecture of": name}
    assert found.arguments["img_resolution"] == flags.image_size
    assert found.arguments["split_first"] == flags.use_new_attention_order
    assert found.arguments["learn_sigma"]
    assert found.assumed == flags._asdict()


def test_options_for_what_describes_itself():
    for source in ("digits-vp", "ideal"):
        with pytest.raises(InputError, match=f"'{source}' describes itself; leave out the option 'fir'"):
            harness.load_denoiser(source, options={"fir": True})


def test_options_are_checked(tmp_path):
    path = families.write(tmp_path / "net.pt", families.openai_state("guided_adm"))
    for given, message in [
        ({"image_sise": 16}, "option 'image_sise' means nothing for such a file; it has: image_size, num_heads"),
        ({"image_size": "big"}, "option image_size is a whole number, such as 64; we got 'big'"),
        ({"noise_schedule": "cubic"}, "noise_schedule is linear or cosine; we got 'cubic'"),
        ({"image_size": 15}, "cannot be halved"),
        ({"num_heads": 7}, "cannot be cut into attention heads of 7"),
    ]:
        with pytest.raises(InputError, match=message):
            load_foreign(path, options=given)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["ema"]["shadow_params"].pop(), "parameters that learn, its average"),
        (lambda s: s["ema"]["shadow_params"].reverse(), r"the model has \[.*\], its average \[.*\]"),
        (lambda s: s["ema"].clear(), "holds something else than tensors"),
        (lambda s: s["model"].update({"module.all_modules.0.weight": 3}), "holds something else than tensors"),
        (lambda s: drop(s, "all_modules.4.Conv_0.weight"), "part all_modules.4: 'Conv_0.weight' is missing"),
        (lambda s: drop(s, "all_modules.2.bias"), "part all_modules.2: 'bias' is missing"),
        (lambda s: alter(s, "all_modules.2.weight", torch.zeros(())), "the first convolution is none"),
        (lambda s: alter(s, "all_modules.2.weight", torch.zeros(0, 3, 3, 3)), "the first convolution is none"),
        (lambda s: alter(s, "all_modules.3.Conv_0.weight", torch.zeros(())), "a convolution that is none"),
        (lambda s: alter(s, "all_modules.6.NIN_3.b", torch.zeros(())), "projections are not square"),
    ],
)
def test_song_files_that_contradict_themselves(tmp_path, spoil, message):
    saved = families.song_state("vp_ddpmpp")
    spoil(saved)
    with pytest.raises(InputError, match=message):
        load_foreign(families.write(tmp_path / "net.pth", saved), options={"image_size": 16})


def alter(saved, name, tensor):
    """Put another tensor into a model and its average."""
    learned = [key for key in saved["model"] if not key.endswith("sigmas")]
    saved["ema"]["shadow_params"][learned.index(f"module.{name}")] = tensor
    saved["model"][f"module.{name}"] = tensor


def drop(saved, name):
    """Take a parameter out of the model and its average."""
    learned = [key for key in saved["model"] if not key.endswith("sigmas")]
    saved["ema"]["shadow_params"].pop(learned.index(f"module.{name}"))
    del saved["model"][f"module.{name}"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("out.2.weight"), r"'out\.2\.weight' is missing or no matrix"),
        (lambda s: s.pop("middle_block.1.qkv.weight"), r"'model\.middle_block\.1\.qkv\.weight': the network has"),
        (lambda s: s.update({"out.2.weight": torch.zeros(5, 32, 3, 3)}), "3 channels in and 5 out"),
        (
            lambda s: s.update({"input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)}),
            "6 channels in and 6 out",
        ),
        (
            lambda s: s.update(
                {"input_blocks.0.0.weight": torch.zeros(32, 2, 3, 3), "out.2.weight": torch.zeros(2, 32, 3, 3)}
            ),
            "2 channels in and 2 out",
        ),
        (lambda s: s.update({"time_embed.0.weight": torch.zeros(())}), "'time_embed.0.weight' is missing or no matrix"),
        (lambda s: s.update({f"input_blocks.{'9' * 5000}.0.weight": torch.zeros(1)}), "no such tensor"),
        (lambda s: s.update({"input_blocks.9.0.weight": torch.zeros(1)}), "do not make a U-Net"),
        (lambda s: s.update({"out.2.bias": torch.zeros(7)}), r"'model\.out\.2\.bias': the network has \[6\], .*\[7\]"),
    ],
)
def test_openai_files_that_are_no_denoisers(tmp_path, spoil, message):
    saved = families.openai_state("guided_adm")
    spoil(saved)
    with pytest.raises(InputError, match=message):
        load_foreign(families.write(tmp_path / "net.pt", saved), options=options("guided_adm"))


def test_files_of_torch_that_hold_something_else(tmp_path):
    for value, message in [({"weight": torch.ones(1)}, "it holds weight"), ([1], "it holds list")]:
        with pytest.raises(InputError, match=message):
            load_foreign(families.write(tmp_path / "net.pt", value))


def test_half_precision_files(tmp_path):
    """guided-diffusion's files may be float16; D is that of the same weights in float32."""
    halves = {key: value.half() for key, value in families.openai_state("guided_plain").items()}
    net = load_foreign(families.write(tmp_path / "net.pt", halves), options=options("guided_plain"))
    io = families.arrays("guided_plain")
    with torch.no_grad():
        assert worst(net(io["x"], io["sigma"]), io["D"]) < TOLERANCE  # the golden weights are halves as they are
    assert net.dtype == torch.float32
    assert math.isfinite(net.sigma_max)


def positional(name):
    """An NCSN++ with positional in place of Fourier features: one part fewer, and half the width."""
    saved, model = families.song_state(name), {}
    for key, tensor in saved["model"].items():
        if key.endswith("all_modules.0.W"):
            continue
        renamed = re.sub(r"all_modules\.(\d+)\.", lambda part: f"all_modules.{int(part[1]) - 1}.", key)
        first = renamed == "module.all_modules.0.weight"
        model[renamed] = tensor[:, : tensor.shape[1] // 2].contiguous() if first else tensor
    shadow = [tensor for key, tensor in model.items() if not key.endswith("sigmas")]
    return {**saved, "model": model, "ema": {"shadow_params": shadow}}


BETAS = np.linspace(0.1, 20, 1000) / 1000
ABAR = np.cumprod(1 - BETAS)


def mean(step):
    """The original's scale of the image at t = step / 999 (`marginal_prob`)."""
    t = step / 999
    return math.exp(-0.25 * t**2 * 19.9 - 0.05 * t)


PROCESS = {
    "vp": lambda step: (mean(step), math.sqrt(1 - mean(step) ** 2)),
    "sub-vp": lambda step: (mean(step), 1 - mean(step) ** 2),
    "vp-discrete": lambda step: (math.sqrt(ABAR[step]), math.sqrt(1 - ABAR[step])),
}
"""Scale of the image and of the noise at a step of 1000, the network's label."""


@pytest.mark.parametrize("process", PROCESS)
@pytest.mark.parametrize("source", ["vp_ddpmpp", "ve_ncsnpp"])
def test_processes_of_noise_that_keep_variance(tmp_path, process, source):
    """D = (x_t - std F(x_t, label)) / scale, as the original's score and Tweedie's formula give it."""
    saved = positional(source) if source == "ve_ncsnpp" else families.song_state(source)
    path = families.write(tmp_path / "net.pth", saved)
    net = load_foreign(path, dtype=torch.float64, options={"image_size": 16, "process": process})
    assert net.kind == {"vp-discrete": "ddpm"}.get(process, process)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for step in (1, 300, 999):
        scale, std = PROCESS[process](step)
        expected = (x - std * net.model(x, torch.tensor([float(step)], dtype=torch.float64))) / scale
        assert worst(net(x / scale, torch.tensor(std / scale, dtype=torch.float64)), expected) < 1e-6, step
    harness.check_denoiser(net)


@pytest.mark.parametrize("word", ["ve", "ve-discrete"])
def test_discrete_ve(tmp_path, word):
    """D = 2 (x01 + sigma01 h) - 1 with the network's h, which is told the level's index, 0 the largest."""
    path = families.write(tmp_path / "net.pth", positional("ve_ncsnpp"))
    net = load_foreign(path, dtype=torch.float64, options={"image_size": 16, "process": word})
    assert (net.kind, net.sigma_min, net.sigma_max, len(net.levels)) == ("ve-discrete", 0.02, 100.0, 1000)
    sigmas = np.exp(np.linspace(np.log(50), np.log(0.01), 1000))
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    for index in (0, 500, 999):
        h = net.model(2 * x - 1, torch.tensor([float(index)], dtype=torch.float64))
        ours = net(2 * x - 1, torch.tensor(2 * sigmas[index]))
        assert worst(ours, 2 * (x + sigmas[index] * h) - 1) < 1e-9
    assert net.config["resample_filter"] == [1, 3, 3, 1]
    assert read_checkpoint(path, {"process": word}).assumed == {"image_size": 32}
    harness.check_denoiser(net)
    written = import_file(path, tmp_path / "net.safetensors", {"image_size": 16, "process": word})
    assert torch.equal(harness.load_denoiser(written.path).levels, net.levels)
    assert describe(written.path).rounds


def test_what_is_assumed_can_be_said(tmp_path):
    """Every line that an import prints as assumed is accepted by --set."""
    path = families.write(tmp_path / "net.pth", families.song_state("vp_ddpmpp"))
    assumed = read_checkpoint(path).assumed
    assert assumed["process"] == "vp"
    assert read_checkpoint(path, assumed).assumed == {}
    path = families.write(tmp_path / "net.pt", families.openai_state("guided_adm"))
    assumed = read_checkpoint(path).assumed
    assert assumed["null_class"] == "none"
    assert read_checkpoint(path, assumed).assumed == {}


def test_a_pyramid_without_fourier_features_needs_the_process(tmp_path):
    path = families.write(tmp_path / "net.pth", positional("ve_ncsnpp"))
    with pytest.raises(InputError, match=r"the same network for VP, sub-VP and VE .* give --set process="):
        load_foreign(path)
    assert "give --set process=vp, vp-discrete, sub-vp or ve-discrete" in inspect(path)["usable"]
    for name, process, message in [
        ("ve_ncsnpp", "vp", "option process is one of ve; we got 'vp'"),
        ("vp_ddpmpp", "edm", "process is one of vp, vp-discrete, sub-vp, ve-discrete, ve; we got 'edm'"),
    ]:
        with pytest.raises(InputError, match=message):
            load_foreign(families.write(tmp_path / "net.pth", families.song_state(name)), options={"process": process})


def test_the_table_of_levels_is_what_the_file_says(tmp_path):
    saved = positional("ve_ncsnpp")
    saved["model"]["module.sigmas"] = torch.from_numpy(np.geomspace(20, 0.05, 40))
    path = families.write(tmp_path / "net.pth", saved)
    net = load_foreign(path, options={"process": "ve-discrete"})
    assert (net.sigma_min, net.sigma_max, len(net.levels)) == (0.1, 40.0, 40)
    assert load_foreign(path, options={"process": "vp-discrete"}).config["beta_end"] == 0.5
    saved["model"]["module.sigmas"] = torch.linspace(20, 0.05, 40)
    path = families.write(tmp_path / "net.pth", saved)
    with pytest.raises(InputError, match="'sigmas' is no falling geometric series"):
        load_foreign(path, options={"process": "ve-discrete"})
    del saved["model"]["module.sigmas"]
    path = families.write(tmp_path / "net.pth", saved)
    assert read_checkpoint(path, {"process": "ve-discrete"}).assumed["num_scales"] == 1000


def test_the_model_is_used_where_there_is_no_average(tmp_path):
    saved = families.song_state("vp_ddpmpp")
    path = families.write(tmp_path / "net.pth", {"model": saved["model"], "step": 7})
    read = read_checkpoint(path)
    assert read.format == "score_sde_pytorch checkpoint, its 'model'"
    first = torch.from_numpy(read.tensors["model.map_layer0.weight"].read().copy())
    assert torch.equal(first, saved["model"]["module.all_modules.0.weight"])


@pytest.mark.parametrize(
    ("name", "format"),
    [("guided_adm", "guided-diffusion"), ("guided_plain", "guided- or improved-diffusion")],
)
def test_programs_are_told_apart_only_where_they_can_be(tmp_path, name, format):
    path = families.write(tmp_path / "net.pt", families.openai_state(name))
    assert read_checkpoint(path).format == f"{format} checkpoint"
