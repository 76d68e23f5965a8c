"""Configurations A to F of the paper's Table 2: each differs from the one before in exactly what the paper changed."""

from pathlib import Path

import pytest

from harness.training.recipe import DenoiserRecipe, load_recipe

FOLDER = Path(__file__).parents[2] / "pretrained" / "recipes"
NOT_A_CHOICE = ("name", "minutes")


def configuration(scale, column, row):
    folder = FOLDER / "table2" if scale == "table2" else FOLDER
    recipe = load_recipe(folder / f"{scale}-{column}-{row}.yaml")
    assert isinstance(recipe, DenoiserRecipe) and recipe.name == f"{scale}-{column}-{row}"
    return recipe


def flat(value, path=""):
    if isinstance(value, dict):
        return {key: leaf for name, inner in value.items() for key, leaf in flat(inner, f"{path}.{name}").items()}
    return {path.lstrip("."): value}


def deltas(scale, column, before, after):
    """The choices that differ, each with both values; None where a choice is not there."""
    one, other = (
        flat(configuration(scale, column, row).model_dump(exclude=set(NOT_A_CHOICE))) for row in before + after
    )
    return {key: (one.get(key), other.get(key)) for key in {**one, **other} if one.get(key) != other.get(key)}


def only(found, *prefixes):
    """All that differs lies under these names."""
    assert found and all(key.split(".")[0] in prefixes or key in prefixes for key in found), found


SCALES = pytest.mark.parametrize("scale", ["cifar10", "table2"])
COLUMNS = pytest.mark.parametrize("column", ["vp", "ve"])


@SCALES
@COLUMNS
def test_b_adjusts_hyperparameters(scale, column):
    found = deltas(scale, column, "a", "b")
    large = scale == "cifar10"
    if large:
        assert found.pop("network.dropout") == (0.1, 0.13)
    before = 890_000.0 if column == "vp" else 89_000.0  # decays of 0.9999 and 0.999 a step of 128 images
    assert found == {
        "batch": (128, 512) if large else (64, 256),
        "optimizer.lr": (2e-4, 1e-3) if large else (6e-4, 3e-3),
        "optimizer.ramp_images": (640_000, 10_000_000) if large else (1280, 20_000),
        "optimizer.clip": (1.0, None),
        "ema.halflife_images": (before, 500_000.0) if large else (before * 20 / 500, 20_000.0),
        "ema.ramp": (None, 0.05),
    }


@SCALES
@COLUMNS
def test_c_redistributes_capacity(scale, column):
    before = (1, 2, 2, 2) if scale == "cifar10" else (1, 2, 2)
    assert deltas(scale, column, "b", "c") == {
        "network.channel_mult": (before, before[1:])
    }  # no lowest level, and wider


@SCALES
@COLUMNS
def test_d_is_the_preconditioning(scale, column):
    found = deltas(scale, column, "c", "d")
    only(found, "preconditioning", "sigma_data")
    assert found["preconditioning.kind"] == (column, "edm")
    assert configuration(scale, column, "d").loss == configuration(scale, column, "a").loss


@SCALES
@COLUMNS
def test_e_is_the_loss_and_the_noise_distribution(scale, column):
    found = deltas(scale, column, "d", "e")
    only(found, "loss")
    assert found["loss.kind"] == (column, "edm")
    assert (configuration(scale, column, "e").loss.P_mean, configuration(scale, column, "e").loss.P_std) == (-1.2, 1.2)


@SCALES
@COLUMNS
def test_f_is_the_augmentation_without_unlabelled_flips(scale, column):
    only(deltas(scale, column, "e", "f"), "augmentation", "flip")
    recipe = configuration(scale, column, "f")
    assert 0.12 <= recipe.augmentation.probability <= 0.15 and not recipe.flip
    assert all(configuration(scale, column, row).flip == (scale == "cifar10") for row in "abcde")


@COLUMNS
@pytest.mark.parametrize("row", "abcdef")
def test_the_small_scale_has_the_papers_parts_of_the_run(column, row):
    small, large = configuration("table2", column, row), configuration("cifar10", column, row)
    assert large.images == 200_000_000 and small.images == large.images // 500
    assert small.optimizer.ramp_images / small.images == large.optimizer.ramp_images / large.images
    assert small.optimizer.lr / large.optimizer.lr == pytest.approx(3) and large.batch == 2 * small.batch
    assert small.ema.halflife_images / small.images == 20 * large.ema.halflife_images / large.images


@COLUMNS
def test_architectures_are_those_of_the_columns(column):
    network = configuration("cifar10", column, "f").network
    song = {"vp": ("positional", "standard", (1, 1), 1), "ve": ("fourier", "residual", (1, 3, 3, 1), 2)}[column]
    assert (network.embedding_type, network.encoder_type, network.resample_filter, network.channel_mult_noise) == song
    assert (network.model_channels, network.num_blocks, network.attn_resolutions) == (128, 4, (16,))
