"""Recipes: what they refuse, and what their schedules say."""

import math
from pathlib import Path

import pytest
import torch

from harness.core.errors import InputError
from harness.training.losses import EDMLoss
from harness.training.recipe import EMA, RECIPES, Adam, load_recipe
from harness.training.tasks import task_of

FILES = sorted((Path(__file__).parents[2] / "pretrained" / "recipes").glob("*.yaml"))
TINY = """\
kind: denoiser
name: tiny
preconditioning: edm
network: {kind: SongUNet, model_channels: 4, channel_mult: [1]}
loss: edm
batch: 8
images: 100
"""


def read(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return load_recipe(path)


def test_defaults(tmp_path):
    recipe = read(tmp_path, TINY)
    assert recipe.loss == EDMLoss()
    assert recipe.steps == 13
    assert recipe.network.channel_mult == (1,)
    assert RECIPES.read(recipe.model_dump(mode="json")) == recipe


def test_fingerprint_is_of_the_meaning(tmp_path):
    first = read(tmp_path, TINY).fingerprint()
    same = read(tmp_path, "# a comment\n" + TINY.replace("loss: edm", "loss: {kind: edm, P_std: 1.2}") + "minutes: 5\n")
    assert same.fingerprint() == first
    assert read(tmp_path, TINY + "seed: 1\n").fingerprint() != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("loss: edm", "loss: hinge"), r"recipe.yaml:5: .*hinge.*'vp', 've', 'iddpm', 'edm'"),
        (("batch: 8", "batch: 0"), r"recipe.yaml:6: batch"),
        (("batch: 8", "batsch: 8"), r"recipe.yaml:6: batsch: unknown key"),
        (("kind: SongUNet", "kind: UNet"), r"recipe.yaml:4: network.*UNet.*SongUNet"),
        (("name: tiny", "name: ../tiny"), r"recipe.yaml:2: name"),
        (("kind: denoiser", "kind: noiser"), r"recipe.yaml:1: kind: unknown kind 'noiser'.*'classifier'"),
        (("images: 100", "images: 1e2"), r"recipe.yaml:7: images"),
        (("images: 100", "optimizer: {lr: -1.0}"), r"recipe.yaml:7: optimizer.lr"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, TINY.replace(*change))


def test_a_list_is_no_recipe(tmp_path):
    with pytest.raises(InputError, match="kind"):
        read(tmp_path, "- 1\n")


def test_learning_rate_rises_holds_and_falls():
    adam = Adam(lr=2.0, ramp_images=10, decay_fraction=0.5)
    assert [adam.rate(seen, 100) for seen in (0, 5, 10, 50, 75, 100)] == pytest.approx([0, 1, 2, 2, 1, 0])
    assert Adam(lr=1.0).rate(99, 100) == 1


def test_average_forgets_by_halves():
    average = EMA(halflife_images=1000.0, ramp=0.1)
    assert average.decay(0, 10) == 0
    assert average.decay(1000, 100) == pytest.approx(0.5)
    assert average.decay(10**6, 1000) == pytest.approx(0.5)
    assert EMA(halflife_images=1000.0, ramp=None).decay(0, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_recipes_are_small_networks(path):
    recipe = load_recipe(path)
    parameters = sum(math.prod(p.shape) for p in task_of(recipe).build().parameters())
    assert recipe.name == path.stem
    assert parameters <= 400_000


def test_all_five_are_there():
    names = {"digits-vp", "digits-ve", "digits-adm", "digits-edm", "digits-features"}
    assert {path.stem for path in FILES} == names


def test_ve_network_supports_what_its_loss_draws_and_fourier_scale_is_in_its_frequencies():
    ve = load_recipe(next(path for path in FILES if path.stem == "digits-ve"))
    usual = ve.model_copy(update={"network": ve.network.model_copy(update={"fourier_scale": 16.0})})
    torch.manual_seed(0)
    network = task_of(ve).build()
    torch.manual_seed(0)
    other = task_of(usual).build()
    assert (network.sigma_min, network.sigma_max) == (ve.loss.sigma_min, ve.loss.sigma_max)
    assert torch.equal(network.model.map_noise.freqs * 64, other.model.map_noise.freqs)
    assert torch.equal(network.model.map_layer0.weight, other.model.map_layer0.weight)
