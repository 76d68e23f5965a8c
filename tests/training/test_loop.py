"""The loop: what a step, an average and a snapshot are, and clear words when it cannot go on."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from harness.denoisers.load import load_denoiser
from harness.metrics.features.digits import load_digit_features
from harness.training import loop, state
from harness.training.averages import HalfLifeEMA, PowerEMA
from harness.training.loop import TrainingError, train
from harness.training.networks import DhariwalUNetConfig
from harness.training.recipe import Adam, ClassifierRecipe, DenoiserRecipe, load_recipe
from harness.training.tasks import task_of
from tests.training.tiny import RECIPES, TINY, changed, first_losses

GOLDEN = Path(__file__).parents[1] / "golden" / "training.json"


@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text())["recipes"])
def test_recipes_of_before_still_give_the_losses_of_before(tmp_path, monkeypatch, name):
    monkeypatch.setattr(loop, "REPORTS", 10**9)  # a report a step
    golden = json.loads(GOLDEN.read_text())["recipes"][name]
    seen = first_losses(load_recipe(RECIPES / f"{name}.yaml"), tmp_path, len(golden["losses"]))
    assert [at.loss for at in seen] == pytest.approx(golden["losses"], rel=1e-5)
    assert [at.rate for at in seen] == pytest.approx(golden["rates"], rel=1e-12)


def test_same_recipe_same_bytes_and_torchs_stream_is_left_alone(tmp_path):
    torch.manual_seed(3)
    first = train(TINY, tmp_path / "a", work=tmp_path / "w")
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    assert first.read_bytes() == train(TINY, tmp_path / "b", work=tmp_path / "w").read_bytes()
    other = train(changed(seed=1), tmp_path / "c", work=tmp_path / "w")
    assert first.read_bytes() != other.read_bytes()


def test_result_is_the_average_with_its_origin(tmp_path):
    seen = []
    path = train(TINY, tmp_path, work=tmp_path / "w", progress=seen.append)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    assert header["recipe_fingerprint"] == TINY.fingerprint()
    origin = json.loads(header["provenance"])
    assert (origin["steps"], origin["images"], origin["recipe"]["name"]) == (12, 48, "tiny")
    log = [json.loads(line) for line in (tmp_path / "w" / "tiny" / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13)) == [report.step for report in seen]
    assert all(line["images_per_second"] > 0 for line in log)
    denoiser = load_denoiser(path)
    assert denoiser(torch.zeros(2, 1, 8, 8), torch.tensor(1.0)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("ema", [HalfLifeEMA(halflife_images=4.0, ramp=None), PowerEMA(sigma_rel=(0.2, 0.1))])
def test_averages_follow_their_definition(tmp_path, ema):
    recipe = changed(ema=ema)
    weights = []
    for stop in range(4):
        train(recipe, tmp_path, work=tmp_path, stop_after=stop)
        weights.append(load_file(tmp_path / "tiny" / state.STATE))
    name = "model.enc.8x8_conv.weight"
    for index in range(len(ema.names)):
        expected = weights[0][f"network.{name}"].double()
        for step, later in enumerate(weights[1:]):
            keep = ema.decays(4 * step, 4)[index]
            expected = keep * expected + (1 - keep) * later[f"network.{name}"].double()
        assert torch.allclose(weights[-1][f"average.{index}.{name}"].double(), expected, atol=1e-7)


def test_snapshots_are_networks_at_stated_counts(tmp_path):
    found = []
    recipe = changed(snapshots=[10, 24, 48], ema=PowerEMA())
    path = train(recipe, tmp_path, work=tmp_path, on_snapshot=found.append)
    assert [(at.images, at.average) for at in found] == [(n, a) for n in (10, 24, 48) for a in ("0.05", "0.1")]
    assert recipe.fingerprint() == changed(ema=PowerEMA()).fingerprint()
    last, result = load_file(found[-2].path), load_file(path)
    assert all(torch.equal(last[name], result[name]) for name in result)
    with safe_open(found[0].path, "pt") as file:
        origin = json.loads(file.metadata()["provenance"])
    assert (origin["images"], origin["steps"], origin["average"]) == (12, 3, "0.05")  # the first whole batch after 10
    plain = train(changed(ema=PowerEMA()), tmp_path / "plain", work=tmp_path / "plain")
    assert plain.read_bytes() == path.read_bytes()
    assert load_denoiser(found[0].path).shape == (1, 8, 8)
    stopped = train(changed(ema=PowerEMA()), tmp_path / "b", work=tmp_path / "b", stop_after=6)
    assert not stopped.exists()
    with pytest.raises(ValueError, match=r"60 images are more than the run has \(48\)"):
        changed(snapshots=[60])


def test_class_conditional_adm(tmp_path):
    recipe = DenoiserRecipe(
        name="tiny",
        preconditioning="iddpm",
        network=DhariwalUNetConfig(model_channels=8, channel_mult=(1,), attn_resolutions=()),
        loss={"kind": "iddpm"},
        label_policy="class",
        batch=2,
        images=4,
    )
    assert load_denoiser(train(recipe, tmp_path, work=tmp_path / "w")).label_dim == 10


def test_classifier(tmp_path):
    recipe = ClassifierRecipe(name="tiny-features", channels=4, width=8, batch=8, images=16)
    features = load_digit_features(train(recipe, tmp_path, work=tmp_path / "w"))
    assert features(torch.zeros(3, 1, 8, 8)).shape == (3, 8)
    assert 0 <= features.facts["test_accuracy"] <= 1


def test_infinite_loss_stops_with_the_step_and_the_last_good_snapshot(tmp_path):
    wild = changed(optimizer=Adam(lr=1e30))
    with pytest.raises(TrainingError, match=r"tiny: the .* became .* in step \d+ .*lower `lr`.*no snapshot yet"):
        train(wild, tmp_path, work=tmp_path / "w")
    later = changed(optimizer=Adam(lr=1e30, ramp_images=10**6), images=48, snapshots=[4])
    with pytest.raises(TrainingError, match=r"last good snapshot is .*tiny-000000004\.safetensors"):
        train(later, tmp_path, work=tmp_path / "w")


def test_a_loss_that_is_not_finite_names_its_own_step_and_is_never_saved(tmp_path, monkeypatch):
    """The device is asked for many losses at a time; the step of the first bad one is named all the same."""
    monkeypatch.setattr(loop, "REPORTS", 2)
    train(TINY, tmp_path, work=tmp_path, stop_after=6)
    before = (tmp_path / "tiny" / state.STATE).read_bytes()
    step = loop._Run._step
    monkeypatch.setattr(
        loop._Run, "_step", lambda self, *a: step(self, *a) * (float("nan") if self.state.step == 8 else 1)
    )
    with pytest.raises(TrainingError, match=r"became nan in step 9 \(32 images\)"):
        train(TINY, tmp_path, work=tmp_path)
    assert (tmp_path / "tiny" / state.STATE).read_bytes() == before


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    """A last step may have a finite loss and spoil the weights."""
    step = loop._Run._step

    def spoil(self, *arguments):
        loss = step(self, *arguments)
        if self.state.step == 11:
            next(self.state.network.parameters()).data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(loop._Run, "_step", spoil)
    with pytest.raises(TrainingError, match=r"the weights became infinite or NaN in step 12 \(44 images\)"):
        train(TINY, tmp_path, work=tmp_path)
    assert not (tmp_path / "tiny.safetensors").exists()


def test_averages_keep_no_graph(tmp_path, monkeypatch):
    """A graph of all steps would grow until there is no memory."""
    seen = []
    save = loop._Run.save
    monkeypatch.setattr(loop._Run, "save", lambda self: seen.append(self.state) or save(self))
    train(TINY, tmp_path, work=tmp_path, stop_after=3)
    assert all(p.grad_fn is None and p.is_leaf for average in seen[0].averages for p in average.parameters())


def test_the_classifier_says_what_the_shipped_one_says(tmp_path):
    """The file's bytes are the identity of FD-digits: its header has the same texts."""
    shipped = RECIPES.parent / "digits-features.safetensors"
    recipe = load_recipe(RECIPES / "digits-features.yaml")
    task = task_of(recipe)
    task.save(task.build(), tmp_path / "ours.safetensors")
    headers = []
    for path in (shipped, tmp_path / "ours.safetensors"):
        with safe_open(path, "pt") as file:
            headers.append(file.metadata())
    facts = [json.loads(header.pop("facts")) for header in headers]
    assert headers[0] == headers[1] and facts[0].keys() == facts[1].keys()
    origins = [{**fact["origin"], "torch": ""} for fact in facts]
    assert origins[0] == origins[1]


def test_mixed_precision_and_translation_are_choices_of_the_recipe(tmp_path):
    plain, mixed = TINY.fingerprint(), changed(precision="bf16")
    assert len({plain, mixed.fingerprint(), changed(compile=True).fingerprint()}) == 3
    exact = [at.loss for at in first_losses(TINY, tmp_path / "a", 3)]
    rough = [at.loss for at in first_losses(mixed, tmp_path / "b", 3)]
    assert exact != rough and exact == pytest.approx(rough, rel=0.05)


def test_compile_is_asked_of_torch(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda network: asked.append(network) or network)
    first_losses(TINY, tmp_path / "a", 1)
    assert not asked
    first_losses(changed(compile=True), tmp_path / "b", 1)
    assert len(asked) == 1


def test_mirrored_images_are_half_of_all(tmp_path):
    images = np.zeros((6, 1, 8, 8), np.uint8)
    images[..., 0] = 255  # the left edge
    np.save(tmp_path / "edge.npy", images)
    recipe = changed(dataset=str(tmp_path / "edge.npy"), flip=True, batch=2000)
    drawn = task_of(recipe).draw(torch.Generator().manual_seed(0)).images
    left = (drawn[..., 0] == 1).all(-1).float().mean().item()
    right = (drawn[..., -1] == 1).all(-1).float().mean().item()
    assert left + right == 1 and left == pytest.approx(0.5, abs=0.05)
    plain = task_of(changed(dataset=str(tmp_path / "edge.npy"), batch=50)).draw(torch.Generator().manual_seed(0))
    assert (plain.images[..., 0] == 1).all()


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    """With a package of that name installed, the run writes its curves there."""
    written = []

    class Writer:
        def __init__(self, folder, purge_step):
            written.append(folder)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            written.append("closed")

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr("harness.training.tensorboard.find_spec", lambda name: name == "tensorboard")
    seen = first_losses(TINY, tmp_path, 2)
    assert written[0] == str(tmp_path / "tiny") and written[-1] == "closed"
    assert ("loss", seen[1].loss, 8) in written and ("rate", seen[0].rate, 4) in written
