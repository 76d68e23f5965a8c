"""Recipes: what they refuse, and what their schedules say."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from harness.core.errors import InputError
from harness.hub.digits import load_digits
from harness.training.averages import HalfLifeEMA
from harness.training.losses import EDMLoss
from harness.training.networks import EDM, VE, VP
from harness.training.noise_distributions import LogNormal, LogUniform
from harness.training.recipe import RECIPES, Adam, load_recipe
from harness.training.tasks import task_of
from harness.training.weights import EDMWeight, InverseCOut
from tests.conftest import golden

RECIPE_FOLDER = Path(__file__).parents[2] / "pretrained" / "recipes"
FILES = sorted(RECIPE_FOLDER.glob("digits-*.yaml"))
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
    written_out = TINY.replace("preconditioning: edm", "preconditioning: {kind: edm, sigma_min: 0}") + "flip: false\n"
    assert read(tmp_path, written_out).fingerprint() == first
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
    average = HalfLifeEMA(halflife_images=1000.0, ramp=0.1)
    assert average.decay(0, 10) == 0
    assert average.decay(1000, 100) == pytest.approx(0.5)
    assert average.decay(10**6, 1000) == pytest.approx(0.5)
    assert HalfLifeEMA(halflife_images=1000.0, ramp=None).decay(0, 1000) == pytest.approx(0.5)


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recipes_of_before_keep_their_fingerprint(path):
    """The shipped weights carry it; with another one `make pretrained` would make other files."""
    golden = Path(__file__).parents[1] / "golden" / "training.json"
    assert load_recipe(path).fingerprint() == json.loads(golden.read_text())["fingerprints"][path.stem]
    with safe_open(path.parents[1] / f"{path.stem}.safetensors", "pt") as file:
        assert file.metadata()["recipe_fingerprint"] == load_recipe(path).fingerprint()


FREE = TINY.replace("loss: edm", "noise: {kind: ve, sigma_max: 50}\nweight: c_out")


def test_the_axes_are_free(tmp_path):
    recipe = read(tmp_path, FREE)
    objective = recipe.denoising_loss()
    assert (objective.noise, objective.weight) == (LogUniform(sigma_max=50.0), InverseCOut())
    assert RECIPES.read(recipe.model_dump(mode="json")) == recipe
    assert "loss" not in json.loads(recipe.canonical())
    column = read(tmp_path, TINY).denoising_loss()
    pair = read(tmp_path, TINY.replace("loss: edm", "noise: edm\nweight: edm")).denoising_loss()
    assert (column.weight, column.sigma_data, pair) == (EDMWeight(), 0.5, (LogNormal(), EDMWeight(), None, 0.5))


def read_with(tmp_path, **fields):
    """TINY with some keys changed; None leaves a key out."""
    data = yaml.safe_load(TINY) | fields
    return read(tmp_path, yaml.safe_dump({key: value for key, value in data.items() if value is not None}))


PLAIN = {"kind": "expression", "c_skip": "0", "c_out": "1", "c_in": "1"}
PAIR = "has `noise` and `weight`, or `loss`"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": None, "noise": "edm"}, PAIR),
        ({"loss": None}, PAIR),
        ({"weight": "snr"}, PAIR),
        ({"loss": None, "weight": "snr", "noise": {"kind": "ve", "sigma_min": 9.0, "sigma_max": 3.0}}, "must be below"),
        ({"loss": None, "noise": "flow", "weight": "hinge"}, r"hinge.*'power', 'c_out', 'edm', 'min_snr'"),
        ({"loss": None, "noise": {"kind": "flow", "P_std": 2.0}, "weight": "vp"}, "'flow' has no fields.*'lognormal'"),
        ({"preconditioning": "vq"}, "'vp', 've', 'iddpm', 'edm', 'flow', 'expression'"),
        (
            {"preconditioning": "ve", "loss": "ve", "sigma_data": "auto"},
            "neither preconditioning 've' nor weight 'power'",
        ),
        (
            {"preconditioning": {"kind": "iddpm", "M": 10}, "loss": "iddpm"},
            r"C_1, C_2, M = \(0.001, 0.008, 1000\) and preconditioning 'iddpm' has \(0.001, 0.008, 10\)",
        ),
        ({"preconditioning": PLAIN | {"c_noise": "sigma"}, "loss": "vp", "sigma_data": 0.7}, "'expression' nor weight"),
        ({"snapshots": [50, 50]}, "50 is there twice"),
        ({"snapshots": [101]}, r"101 images are more than the run has \(100\)"),
        ({"ema": {"kind": "power", "sigma_rel": [0.5]}}, "ema.sigma_rel"),
        ({"augmentation": {"kind": "nonleaky", "probability": 2.0}}, "augmentation.probability"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_what_cannot_work_is_refused_with_its_file(tmp_path, fields, message):
    with pytest.raises(InputError, match=rf"recipe\.yaml:\d+: .*{message}"):
        read_with(tmp_path, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "no-such-folder"}, "no-such-folder: no such file or folder"),
        ({"shape": [3, 32, 32]}, r"for images of shape \[3, 32, 32\], and those of digits have \[1, 8, 8\]"),
        ({"classes": 5}, "for 5 classes, and digits has 10"),
        ({"network": {"kind": "SongUNet", "channel_mult": [1, 1, 1, 1, 1]}}, "8 pixels are no multiple of 16"),
        (
            {"loss": None, "noise": {"kind": "ve", "sigma_max": 1e25}, "weight": "vp", "preconditioning": "vp"},
            "noise 'log_uniform' draws sigma = 1e.25, where c_noise is inf",
        ),
        (
            {
                "preconditioning": {
                    "kind": "expression",
                    "c_skip": "0",
                    "c_out": "1",
                    "c_in": "1",
                    "c_noise": "log(sigma - 1)",
                }
            },
            "c_noise",
        ),
        (
            {"preconditioning": {"kind": "expression", "c_skip": "0", "c_out": "1", "c_in": "1", "c_noise": "foo(1)"}},
            "foo",
        ),
    ],
)
def test_what_cannot_work_with_the_data_is_refused_before_any_compute(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        task_of(read_with(tmp_path, **fields)).build()


def test_the_formulas_of_the_document_make_a_network(tmp_path):
    document = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    (block,) = (text for text in re.findall(r"```yaml\n(.*?)```", document, re.DOTALL) if "expression" in text)
    network = task_of(read_with(tmp_path, **yaml.safe_load(block), loss="vp")).build()
    assert network.formulas.c_out == "-sigma"


def test_classes_need_labels(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros((4, 1, 8, 8), np.uint8))
    recipe = read_with(tmp_path, dataset=str(tmp_path / "plain.npy"), label_policy="class")
    with pytest.raises(InputError, match=r"label_policy 'class' needs classes, and plain\.npy has none"):
        task_of(recipe)
    np.save(tmp_path / "wide.npy", np.zeros((4, 1, 8, 6), np.uint8))
    with pytest.raises(InputError, match="square images, and these have 8 x 6"):
        task_of(read_with(tmp_path, dataset=str(tmp_path / "wide.npy")))


def test_a_data_set_is_known_by_its_content(tmp_path):
    """The same images at another place are the same recipe, other images at the same place are not."""
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, images)
    first, second = (read_with(tmp_path, dataset=str(tmp_path / name)) for name in ("a.npy", "b.npy"))
    assert first.fingerprint(task_of(first).identity()) == second.fingerprint(task_of(second).identity())
    np.save(tmp_path / "b.npy", images[::-1])
    assert first.fingerprint(task_of(first).identity()) != second.fingerprint(task_of(second).identity())


def test_bytes_are_the_numbers_of_the_official_training(tmp_path):
    arrays, _ = golden("quantise")
    np.save(tmp_path / "all.npy", np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16))
    recipe = read_with(tmp_path, dataset=str(tmp_path / "all.npy"), batch=1)
    drawn = task_of(recipe).draw(torch.Generator().manual_seed(0)).images
    assert np.array_equal(drawn.flatten().numpy(), arrays["u8_to_train"])


@pytest.mark.parametrize(
    ("fields", "network", "weight"),
    [
        ({}, 0.5, 0.5),
        ({"sigma_data": 0.7}, 0.7, 0.7),
        ({"loss": {"kind": "edm", "sigma_data": 0.7}}, 0.7, 0.7),
        ({"preconditioning": {"kind": "edm", "sigma_data": 0.7}}, 0.7, 0.7),
        ({"preconditioning": {"kind": "edm", "sigma_data": 0.7}, "loss": {"kind": "edm", "sigma_data": 0.6}}, 0.7, 0.6),
        ({"sigma_data": 0.6, "preconditioning": {"kind": "edm", "sigma_data": 0.7}}, 0.7, 0.6),
        ({"sigma_data": "auto"}, 0.7521, 0.7521),
    ],
)
def test_one_sigma_data_unless_two_are_stated(tmp_path, fields, network, weight):
    recipe = RECIPES.read(read(tmp_path, TINY).model_dump(mode="json") | fields)
    task = task_of(recipe)
    denoiser = task.build()
    assert denoiser.sigma_data == pytest.approx(network, abs=5e-5)
    sigma = torch.tensor(1.3)
    expected = (1.3**2 + weight**2) / (1.3 * weight) ** 2
    assert task.objective.weigh(sigma, denoiser).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "meaning"),
    [
        ({"preconditioning": {"kind": "edm", "sigma_data": 0.752}}, (0.752, 0.752)),
        ({"loss": {"kind": "edm", "sigma_data": 0.7}}, (0.7, 0.7)),
        ({}, (0.5, 0.5)),
        (
            {"preconditioning": {"kind": "edm", "sigma_data": 0.5}, "loss": {"kind": "edm", "sigma_data": 0.7}},
            (0.5, 0.7),
        ),
        (
            {"preconditioning": {"kind": "edm", "sigma_data": 0.7}, "loss": {"kind": "edm", "sigma_data": 0.5}},
            (0.7, 0.5),
        ),
    ],
)
def test_another_sigma_data_is_another_fingerprint(tmp_path, fields, meaning):
    """Whatever a recipe says, its fingerprint stands for the numbers that are used."""
    recipe = RECIPES.read(read(tmp_path, TINY).model_dump(mode="json") | fields)
    written = json.loads(recipe.canonical())
    own = written["preconditioning"]
    network = own["sigma_data"] if isinstance(own, dict) and own["sigma_data"] else written["loss"]["sigma_data"]
    assert (network, written["loss"]["sigma_data"]) == meaning
    assert task_of(recipe).build().sigma_data == meaning[0]


def test_what_the_data_must_be_changes_no_fingerprint(tmp_path):
    assert read_with(tmp_path, shape=[1, 8, 8], classes=10).fingerprint() == read(tmp_path, TINY).fingerprint()


def test_classes_are_part_of_what_a_network_that_learns_them_depends_on(tmp_path):
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8)
    identities = {}
    for name, labels in (("a", [0, 1, 2, 3]), ("b", [3, 2, 1, 0])):
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.array(labels))
        for policy in ("none", "class"):
            recipe = read_with(tmp_path, dataset=str(tmp_path / f"{name}.npz"), label_policy=policy)
            identities[name, policy] = task_of(recipe).identity()
    assert identities["a", "none"] == identities["b", "none"]
    assert len(set(identities.values())) == 3


def test_a_levels_range_comes_from_a_log_uniform_distribution(tmp_path):
    stated = VE(sigma_min=0.01).arguments(LogUniform(sigma_max=50.0), 0.5)
    assert stated == {"sigma_min": 0.01, "sigma_max": 50.0}
    assert VE().arguments(LogNormal(), 0.5) == {"sigma_min": 0.02, "sigma_max": 100.0}
    assert VP(M=10).arguments(LogNormal(), 0.5)["M"] == 10
    assert EDM(sigma_max=9.0).arguments(LogNormal(), 0.7) == {"sigma_min": 0.0, "sigma_max": 9.0, "sigma_data": 0.7}


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
