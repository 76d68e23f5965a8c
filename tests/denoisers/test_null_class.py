"""Tables of classes: a class that stands for none is not drawn, is what no labels mean, and can be named."""

import diffusers
import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.cached import CachedDenoiser
from harness.denoisers.checkpoints.convert import import_file, load_foreign
from harness.denoisers.checkpoints.formats import read_checkpoint
from harness.denoisers.load import describe
from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.experiments.checks import misfit
from harness.sampling.initial_state import resolve_labels
from harness.sampling.noise import Noise
from harness.search.validate import check_guidance
from tests.denoisers import families

CLASSES = 5
SIGMA = torch.tensor(2.0)
X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
ONE_HOT = torch.eye(CLASSES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pipeline of diffusers with a table of classes."""
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=CLASSES,
    )
    path = tmp_path_factory.mktemp("pipe")
    net.save_pretrained(path / "unet")
    diffusers.DDPMScheduler().save_pretrained(path / "scheduler")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file of guided-diffusion with a table of classes."""
    state = families.openai_state("guided_adm")
    state["label_emb.weight"] = torch.randn(CLASSES, state["label_emb.weight"].shape[1])
    return families.write(tmp_path_factory.mktemp("guided") / "net.pt", state)


ADM = {"image_size": 16, "num_head_channels": 16}


@pytest.fixture(params=["folder", "file"])
def source(request):
    """A checkpoint with a table of classes, and its other options."""
    return request.getfixturevalue(request.param), ADM if request.param == "file" else {}


@pytest.mark.parametrize("null", [0, 2, 4])
def test_no_labels_are_the_null_class(source, tmp_path, null):
    path, options = source
    written = import_file(path, tmp_path / "net.safetensors", {**options, "null_class": null})
    net = harness.load_denoiser(written.path)
    assert (net.label_dim, net.null_class, net.needs_class) == (CLASSES, null, False)
    assert "null_class" not in written.source.assumed
    expected = net(X, SIGMA, ONE_HOT[[null] * 3])
    assert torch.allclose(net(X, SIGMA), expected, atol=1e-5)
    assert torch.allclose(net(X, SIGMA, torch.zeros(3, CLASSES)), expected, atol=1e-5)
    other = (null + 1) % CLASSES
    assert not torch.allclose(net(X, SIGMA, ONE_HOT[[other] * 3]), expected, atol=1e-5)
    mixed = net(X, SIGMA, torch.stack([torch.zeros(CLASSES), ONE_HOT[other], ONE_HOT[null]]))
    assert torch.allclose(mixed[[0, 2]], expected[[0, 2]], atol=1e-5)
    guide = harness.load_denoiser({"kind": "cfg", "denoiser": str(written.path), "weight": 0.0})
    assert torch.allclose(guide(X, SIGMA, ONE_HOT[[other] * 3]), expected, atol=1e-5)
    harness.check_denoiser(net)
    facts = describe({"kind": "cfg", "denoiser": str(written.path)})
    assert (facts.null_class, facts.needs_class) == (null, False)


@pytest.mark.parametrize("null", [0, 2, 4])
def test_it_is_never_drawn(null):
    noise = Noise(range(400), (1, 1, 1))
    noise.latents()
    drawn = noise.classes(CLASSES, null)
    assert sorted(set(drawn.tolist())) == [label for label in range(CLASSES) if label != null]
    counts = drawn.bincount(minlength=CLASSES)
    assert counts[null] == 0 and counts.sum() == 400


def test_samples_are_of_the_other_classes(folder):
    net = load_foreign(folder, options={"null_class": 4})
    seen = []

    class Recorded(CachedDenoiser):
        def __call__(self, x, sigma, labels=None):
            seen.append(labels)
            return super().__call__(x, sigma, labels)

    sampler = harness.Sampler(solver="euler", steps=1)
    harness.sample(Recorded(net), sampler, range(24))
    assert {int(row.argmax()) for row in seen[0]} <= {0, 1, 2, 3}
    named = harness.sample(net, sampler, range(2), labels=4).images
    unconditional = harness.sample(net, sampler, range(2), labels="unconditional").images
    assert torch.allclose(named, unconditional, atol=1e-4)


def test_without_one_the_stream_of_classes_is_as_ever():
    first, second = Noise(range(50), (1, 1, 1)), Noise(range(50), (1, 1, 1))
    first.latents()
    second.latents()
    assert torch.equal(first.classes(CLASSES), resolve_labels(None, second, CLASSES).argmax(1))


def test_networks_that_need_a_class_say_so(source, tmp_path):
    path, options = source
    written = import_file(path, tmp_path / "net.safetensors", options)
    assert written.source.assumed["null_class"] == "none"
    net, facts = harness.load_denoiser(written.path), describe(written.path)
    assert (net.null_class, net.needs_class, facts.needs_class) == (None, True, True)
    assert "null_class" not in net.config
    with pytest.raises(InputError, match=r"classifier-free guidance needs .* --set null_class=K"):
        harness.load_denoiser({"kind": "cfg", "denoiser": str(written.path)})
    with pytest.raises(InputError, match=r"classifier-free guidance needs .* --set null_class=K"):
        describe({"kind": "cfg", "denoiser": str(written.path)})
    with pytest.raises(InputError, match="images without a class were asked for"):
        harness.sample(net, harness.Sampler(steps=2), [0], labels="unconditional")
    assert "--set null_class=K" in misfit(facts, "unconditional", None)[1]
    assert misfit(facts, "random", None) is misfit(facts, 3, None) is None
    with pytest.raises(InputError, match="--set null_class=K"):
        check_guidance({"denoiser": {"kind": "cfg"}}, facts, guided=False)


def test_a_class_left_out_in_training(source):
    path, options = source
    net = load_foreign(path, options={**options, "null_class": "zeros"})
    assert (net.null_class, net.needs_class, net.config["null_class"]) == (None, False, "zeros")
    bare = load_foreign(path, options=options)
    assert torch.equal(net(X, SIGMA), bare(X, SIGMA))
    assert read_checkpoint(path, {**options, "null_class": "zeros"}).assumed.get("null_class") is None


def test_labels_dropped_in_training_are_seen():
    size = {"model_channels": 32, "channel_mult": [1], "num_blocks": 1, "model_type": "OpenAIUNet"}
    assert PRECONDITIONINGS["ddpm"](8, 1, 3, **size).needs_class
    assert not PRECONDITIONINGS["ddpm"](8, 1, 3, **size, label_dropout=0.1).needs_class
    assert not PRECONDITIONINGS["ddpm"](8, 1, 0, **size).needs_class


def test_guidance_leads_towards_a_class(folder, tmp_path):
    written = import_file(folder, tmp_path / "net.safetensors", {"null_class": 4})
    guided = describe({"kind": "cfg", "denoiser": str(written.path)})
    assert misfit(guided, 4, None) == (
        "labels",
        "classifier-free guidance leads towards a class, and class 4 stands for none",
    )
    assert misfit(guided, 3, None) is None
    assert misfit(describe(written.path), 4, None) is None
    assert misfit(describe(written.path), "unconditional", None) is None


@pytest.mark.parametrize("given", [5, -1, "ten", 1.5, True])
def test_null_classes_that_cannot_be(folder, given):
    with pytest.raises(InputError, match="option null_class is"):
        load_foreign(folder, options={"null_class": given})


def test_networks_without_a_table_know_no_null_class():
    size = {"model_channels": 32, "channel_mult": [1], "num_blocks": 1}
    for model, classes, message in [
        ("SongUNet", 3, "null_class"),
        ("OpenAIUNet", 0, "without classes"),
        ("OpenAIUNet", 3, "one of several classes, 0 to 2; we got 3"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            PRECONDITIONINGS["ddpm"](8, 1, classes, model_type=model, null_class=3, **size)
