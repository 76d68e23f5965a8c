"""A grid over training configurations: it trains what is missing, measures every network, and tells the report."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import InputError
from harness.experiments.grid import load_grid
from harness.experiments.plan import check_before_training, plan
from harness.experiments.trained_networks import needed_trainings
from harness.store.database import Store

RECIPE = """\
kind: denoiser
name: tiny-{column}-{row}
preconditioning: {preconditioning}
loss: {loss}
network: {{kind: SongUNet, model_channels: 4, channel_mult: [1], attn_resolutions: []}}
batch: 8
images: 48
snapshots: [16, 32]
"""
CLAIM = "{statement: A, source: B, tests: [{kind: configuration, metric: fid, row: A, than: E}]}"
GRID = """\
title: Configurations
metrics: fd-digits
samples: 80
nfe: 5
training:
  recipes: recipes/tiny-{column}-{row}.yaml
  rows: {A: baseline, E: loss}
  columns: {VP: cifar10_uncond_vp}
  seeds: [0, 3]
  snapshots: [16]
series: [{name: Deterministic, sampler: {solver: heun}}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    for row, kind in (("a", "vp"), ("e", "edm")):
        text = RECIPE.format(column="vp", row=row, preconditioning=kind, loss=kind)
        Path(f"recipes/tiny-vp-{row}.yaml").write_text(text)
    Path("grid.yaml").write_text(GRID)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, [*arguments, "--executor", "inline", "--device", "cpu"])


def test_trains_what_is_missing_and_measures_all(folder):
    with pytest.raises(
        InputError, match=r"grid\.yaml:5: .*4 of 4 trainings are not done yet: tiny-vp-a-s0, .*does them first"
    ):
        plan("grid.yaml")
    done = run("run", "grid.yaml")
    assert done.exit_code == 0, done.output
    assert "4 networks to train first, 192 images in all" in done.stderr
    assert done.stdout.startswith("grid: 8 of 8 trials done, 0 failed")
    trained = Path("results/training")
    assert sorted(path.name for path in trained.glob("*.safetensors")) == [
        f"tiny-vp-{row}-s{seed}.safetensors" for row in "ae" for seed in (0, 3)
    ]
    snapshots = trained / "tiny-vp-a-s0" / "snapshots"
    assert sorted(path.name for path in snapshots.iterdir()) == [
        f"tiny-vp-a-s0-0000000{images}.{kind}" for images in (16, 32) for kind in ("png", "safetensors")
    ]
    with Image.open(snapshots / "tiny-vp-a-s0-000000016.png") as sheet:
        assert sheet.size == (71, 71)  # 8 x 8 images and lines between

    with Store() as store:
        record = store.grid("grid")["training"]
    assert record["rows"] == [{"name": "A", "about": "baseline"}, {"name": "E", "about": "loss"}]
    assert record["columns"] == [{"name": "VP", "paper": "cifar10_uncond_vp"}]
    assert [network["panel"] for network in record["networks"][:3]] == [
        "A · VP · seed 0 · 16 images",
        "A · VP · seed 0",
        "A · VP · seed 3 · 16 images",
    ]
    assert [(one["images"], one["is_last"]) for one in record["networks"][:2]] == [(16, False), (48, True)]
    levels = record["levels"]
    assert [(one["row"], one["seed"]) for one in levels] == [("A", 0), ("A", 3), ("E", 0), ("E", 3)]
    assert {len(levels[0][name]) for name in ("sigma", "before", "after", "density", "effective_weight")} == {25}
    assert levels[2]["effective_weight"] == pytest.approx([1.0] * 25, rel=1e-6)
    assert levels[2]["before"] != levels[2]["after"]

    again = run("run", "grid.yaml")
    assert "to train first" not in again.stderr and " 0 chunks and 0 network evaluations" in again.stdout
    before = (trained / "tiny-vp-e-s3.safetensors").read_bytes()
    (trained / "tiny-vp-e-s3.safetensors").unlink()
    assert needed() == {"tiny-vp-e-s3": False}
    assert run("run", "grid.yaml").exit_code == 0
    assert (trained / "tiny-vp-e-s3.safetensors").read_bytes() == before


def needed():
    return {one.recipe.name: one.lacks_snapshot for one in needed_trainings(load_grid("grid.yaml")[0].training)}


def test_a_snapshot_that_is_gone_and_a_recipe_that_changed_are_trained_again(folder):
    Path("grid.yaml").write_text(GRID.replace("{A: baseline, E: loss}", "{A: baseline}").replace("[0, 3]", "[0]"))
    assert run("run", "grid.yaml").exit_code == 0 and needed() == {}
    trained = Path("results/training")
    result, snapshot = (
        trained / "tiny-vp-a-s0.safetensors",
        next((trained / "tiny-vp-a-s0" / "snapshots").glob("*16.*s")),
    )
    before = result.read_bytes(), snapshot.read_bytes()
    snapshot.unlink()
    assert needed() == {"tiny-vp-a-s0": True}
    assert run("run", "grid.yaml").exit_code == 0
    assert (result.read_bytes(), snapshot.read_bytes()) == before
    recipe = Path("recipes/tiny-vp-a.yaml")
    recipe.write_text(recipe.read_text().replace("batch: 8", "batch: 4"))
    assert needed() == {"tiny-vp-a-s0": False}
    assert "1 network to train first" in run("run", "grid.yaml").stderr
    assert result.read_bytes() != before[0] and needed() == {}


def test_levels_are_of_the_weights_that_are_there(folder):
    Path("grid.yaml").write_text(GRID.replace("{A: baseline, E: loss}", "{A: baseline}").replace("[0, 3]", "[0]"))
    assert run("run", "grid.yaml").exit_code == 0
    file = Path("results/training/tiny-vp-a-s0/levels.json")
    first = json.loads(file.read_text())
    stamp = file.stat().st_mtime_ns
    assert run("run", "grid.yaml").exit_code == 0 and file.stat().st_mtime_ns == stamp
    file.write_text(json.dumps(first | {"weights": "of others"}))
    assert run("run", "grid.yaml").exit_code == 0
    assert json.loads(file.read_text()) == first


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("snapshots: [16]", "snapshots: [20]", "no snapshot at 20 images; add it to its `snapshots`"),
        ("recipes/tiny", "recipes/other", r"recipes/other-vp-a\.yaml: no such recipe; mend `recipes`"),
        ("seeds: [0, 3]", "seeds: [0, 0]", "0 is there twice"),
        ("seeds: [0, 3]", "seeds: []", r"grid\.yaml:9: training\.seeds"),
        ("series:", "denoisers: [digits-vp]\nseries:", "a grid has `denoisers`, or `training`, which makes them"),
        ("rows: {A: baseline, E: loss}", "rows: {}", r"grid\.yaml:7: training\.rows"),
        ("{column}-{row}.yaml", "{column}-a.yaml", "the network of E and VP is named 'tiny-vp-a', and so is that of"),
        ("cifar10_uncond_vp", "cifar100", "VP: the paper's Table 2 has no 'cifar100'; it has: .*cifar10_uncond_vp"),
        ("  snapshots: [16]", "  snapshot: [16]", "unknown key"),
    ],
)
def test_mistakes_are_named_before_anything_is_trained(folder, old, new, message):
    Path("grid.yaml").write_text(GRID.replace(old, new))
    with pytest.raises(InputError, match=message):
        needed_trainings(load_grid("grid.yaml")[0].training)
    done = run("run", "grid.yaml")
    assert done.exit_code == 2 and not Path("results/training").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("solver: heun", "solver: hoin", r"grid\.yaml:\d+: .*unknown kind 'hoin'"),
        ("metrics: fd-digits", "metrics: {kind: fd-digits, series: [None]}", "names 'None'"),
        (
            "series:",
            f"claims: [{CLAIM}]\nseries:",
            "no metric 'fid'",
        ),
    ],
)
def test_a_grid_is_checked_before_its_networks_are_trained(folder, old, new, message):
    Path("grid.yaml").write_text(GRID.replace(old, new))
    with pytest.raises(InputError, match=message):
        check_before_training("grid.yaml")
    assert run("run", "grid.yaml").exit_code == 2 and not Path("results/training").exists()


def test_a_grid_needs_denoisers_or_a_training(folder):
    Path("grid.yaml").write_text("title: None\nnfe: 5\nseries: [{name: A}]\n")
    with pytest.raises(InputError, match="a grid needs `denoisers`, at least one"):
        load_grid("grid.yaml")
