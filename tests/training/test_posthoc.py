"""An average of another width, from the files of a run."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import InputError
from harness.denoisers.load import load_denoiser
from harness.training.averages import PowerEMA
from harness.training.loop import train
from harness.training.networks import SongUNetConfig
from harness.training.posthoc import average_of_run
from harness.training.recipe import Adam, DenoiserRecipe

STEPS = 200
RECIPE = DenoiserRecipe(
    name="tiny",
    preconditioning="edm",
    network=SongUNetConfig(model_channels=4, channel_mult=(1,), attn_resolutions=()),
    loss={"kind": "edm"},
    batch=4,
    images=4 * STEPS,
    optimizer=Adam(lr=1e-3),
    ema=PowerEMA(),
    snapshots=[4 * STEPS * k // 20 for k in range(1, 21)],
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(RECIPE, folder, work=folder)
    return folder / "tiny"


def tracked(sigma_rel, folder):
    """The average of a width that is tracked in training."""
    recipe = RECIPE.model_copy(update={"ema": PowerEMA(sigma_rel=(sigma_rel,)), "snapshots": ()})
    return load_file(train(recipe, folder, work=folder))


@pytest.mark.parametrize("sigma_rel", [0.04, 0.07, 0.15])
def test_equals_the_average_that_is_tracked_in_training(run, tmp_path, sigma_rel):
    made = average_of_run(run, sigma_rel, tmp_path / "made.safetensors")
    assert (made.images, made.snapshots, made.is_rough) == (4 * STEPS, 40, False)
    ours, theirs = load_file(made.path), tracked(sigma_rel, tmp_path)
    assert set(ours) == set(theirs)
    difference = sum((ours[name] - theirs[name]).square().sum() for name in theirs)
    size = sum(theirs[name].square().sum() for name in theirs)
    assert (difference / size).sqrt() < 1e-3
    assert load_denoiser(made.path)(torch.zeros(1, 1, 8, 8), torch.tensor(1.0)).shape == (1, 1, 8, 8)
    with safe_open(made.path, "pt") as file:
        header = file.metadata()
    assert "recipe_fingerprint" not in header
    assert json.loads(header["provenance"])["average"] == f"{sigma_rel:g} post hoc"


def test_an_earlier_time_and_what_is_refused(run, tmp_path):
    out = tmp_path / "made.safetensors"
    assert average_of_run(run, 0.1, out, images=400).images == 400
    assert average_of_run(run, 0.05, out, images=40).is_rough is False  # the tracked width itself
    assert average_of_run(run, 0.25, out, images=40).is_rough
    assert average_of_run(run, 0.1, out, images=398).images == 400  # batches of 4
    with pytest.raises(InputError, match="no snapshot after 401 images; there are: 40, 80"):
        average_of_run(run, 0.1, out, images=401)
    with pytest.raises(InputError, match=r"at most 0\.28; we got 0\.5"):
        average_of_run(run, 0.5, out)
    with pytest.raises(InputError, match="no snapshots of power-function averages; train with `ema: power`"):
        average_of_run(tmp_path, 0.1, out)


def test_snapshots_of_two_trainings_are_not_mixed(run, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(run, folder)
    other = RECIPE.model_copy(update={"seed": 1, "images": 80, "snapshots": (40,)})
    train(other, tmp_path / "b", work=tmp_path / "b")
    for path in (tmp_path / "b" / "tiny" / "snapshots").glob("*"):
        shutil.copy(path, folder / "snapshots" / f"other-{path.name}")
    with pytest.raises(InputError, match=r"are of two trainings; remove those of one"):
        average_of_run(folder, 0.1, tmp_path / "made.safetensors")


def test_the_command(run, tmp_path):
    out = tmp_path / "made.safetensors"
    done = CliRunner().invoke(app, ["average", str(run), "--width", "0.08", "-o", str(out)])
    assert done.exit_code == 0 and done.stdout.startswith(f"{out}: width 0.08 after 800 images, from 40 snapshots")
    rough = CliRunner().invoke(app, ["average", str(run), "--width", "0.25", "-o", str(out), "--images", "40"])
    assert rough.exit_code == 0 and "do not reach this width" in rough.stderr
