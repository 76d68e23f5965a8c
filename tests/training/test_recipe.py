"""Recipes: what they refuse, and what their schedules say."""

import json
import math
from pathlib import Path

import pytest
import torch

from harness.core.errors import InputError
from harness.hub.digits import load_digits
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


DENOISERS = ("digits-vp", "digits-ve", "digits-adm", "digits-edm")


def test_all_are_there():
    rungs = {f"{name}-{images}" for name in DENOISERS for images in ("64k", "256k")}
    assert {path.stem for path in FILES} == {*DENOISERS, *rungs, "digits-features"}


@pytest.mark.parametrize("name", DENOISERS)
def test_the_rungs_of_a_ladder_differ_in_images_only(name):
    recipes = {path.stem: load_recipe(path) for path in FILES}
    other = {"name", "images", "minutes", "weights"}
    whole = recipes[name].model_dump(exclude=other)
    for images in (64, 256):
        rung = recipes[f"{name}-{images}k"]
        assert (rung.images, rung.weights) == (images * 1000, "float16")
        assert rung.model_dump(exclude=other) == whole


def test_weights_in_float32_change_no_fingerprint(tmp_path):
    """Recipes from before the field keep theirs."""
    text = json.loads(read(tmp_path, TINY).canonical())
    assert "weights" not in text
    assert json.loads(read(tmp_path, TINY + "weights: float16\n").canonical()) == text | {"weights": "float16"}


def test_an_edm_network_takes_the_sigma_data_of_its_loss():
    recipe = load_recipe(next(path for path in FILES if path.stem == "digits-edm"))
    assert recipe.loss.sigma_data == task_of(recipe).build().sigma_data
    assert recipe.loss.sigma_data == pytest.approx(load_digits().images.std().item(), abs=5e-4)


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
