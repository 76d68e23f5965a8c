"""The loop: same bits again, after an interruption too, and clear words when it cannot go on."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from harness.core.errors import InputError
from harness.denoisers.load import load_denoiser
from harness.metrics.features.digits import load_digit_features
from harness.training import loop
from harness.training.loop import TrainingError, train
from harness.training.recipe import EMA, Adam, ClassifierRecipe, DenoiserRecipe, DhariwalUNetConfig, SongUNetConfig

TINY = DenoiserRecipe(
    name="tiny",
    preconditioning="edm",
    network=SongUNetConfig(model_channels=4, channel_mult=(1, 2), dropout=0.2),
    loss={"kind": "edm"},
    batch=4,
    images=48,
    optimizer=Adam(lr=1e-2, ramp_images=16, decay_fraction=0.5, clip=1.0),
    ema=EMA(halflife_images=12.0),
)


def test_interrupted_and_resumed_is_bitwise_uninterrupted(tmp_path):
    whole = train(TINY, tmp_path / "a", work=tmp_path / "wa")
    for stop in (5, 9):
        train(TINY, tmp_path / "b", work=tmp_path / "wb", stop_after=stop)
        assert not (tmp_path / "b" / "tiny.safetensors").exists()
        torch.rand(7)  # whatever else uses torch's stream between two parts of a run
    parts = train(TINY, tmp_path / "b", work=tmp_path / "wb")
    assert whole.read_bytes() == parts.read_bytes()
    assert list((tmp_path / "wb").glob("*.state")) == []


def test_same_recipe_same_bytes_and_torchs_stream_is_left_alone(tmp_path):
    torch.manual_seed(3)
    first = train(TINY, tmp_path / "a", work=tmp_path / "w")
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)
    assert first.read_bytes() == train(TINY, tmp_path / "b", work=tmp_path / "w").read_bytes()
    other = train(TINY.model_copy(update={"seed": 1}), tmp_path / "c", work=tmp_path / "w")
    assert first.read_bytes() != other.read_bytes()


def test_result_is_the_average_with_its_origin(tmp_path):
    seen = []
    path = train(TINY, tmp_path, work=tmp_path / "w", progress=seen.append)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    assert header["recipe_fingerprint"] == TINY.fingerprint()
    origin = json.loads(header["provenance"])
    assert (origin["steps"], origin["images"], origin["recipe"]["name"]) == (12, 48, "tiny")
    log = [json.loads(line) for line in (tmp_path / "w" / "tiny.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13)) == [report.step for report in seen]
    denoiser = load_denoiser(path)
    assert denoiser(torch.zeros(2, 1, 8, 8), torch.tensor(1.0)).shape == (2, 1, 8, 8)


def test_average_follows_the_definition(tmp_path):
    recipe = TINY.model_copy(update={"ema": EMA(halflife_images=4.0, ramp=None)})
    weights = []
    for stop in range(4):
        train(recipe, tmp_path, work=tmp_path, stop_after=stop)
        weights.append(load_file(tmp_path / "tiny.state"))
    name = "model.enc.8x8_conv.weight"
    expected = weights[0][f"network.{name}"].double()
    for later in weights[1:]:  # a batch of 4 at a half-life of 4: half and half
        expected = 0.5 * expected + 0.5 * later[f"network.{name}"].double()
    assert torch.allclose(weights[-1][f"average.{name}"].double(), expected, atol=1e-7)


def test_finished_result_is_left_alone_unless_fresh(tmp_path, monkeypatch):
    path = train(TINY, tmp_path, work=tmp_path / "w")
    monkeypatch.setattr(loop, "task_of", lambda recipe: pytest.fail("trained again"))
    assert train(TINY, tmp_path, work=tmp_path / "w") == path
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        train(TINY, tmp_path, work=tmp_path / "w", resume=False)


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


def test_infinite_loss_stops_with_words(tmp_path):
    wild = TINY.model_copy(update={"optimizer": Adam(lr=1e30)})
    with pytest.raises(TrainingError, match=r"tiny: the loss became .* in step \d+ .*lower `lr`"):
        train(wild, tmp_path, work=tmp_path / "w")


def test_state_of_another_recipe_is_refused(tmp_path):
    train(TINY, tmp_path, work=tmp_path / "w", stop_after=2)
    with pytest.raises(InputError, match=r"another recipe.*--fresh"):
        train(TINY.model_copy(update={"seed": 1}), tmp_path, work=tmp_path / "w")
    train(TINY.model_copy(update={"seed": 1}), tmp_path, resume=False, work=tmp_path / "w", stop_after=2)


@pytest.mark.parametrize("damage", [b"", b"not safetensors at all", None])
def test_damaged_state_is_refused(tmp_path, damage):
    train(TINY, tmp_path, work=tmp_path, stop_after=2)
    state = tmp_path / "tiny.state"
    state.write_bytes(state.read_bytes()[:-100] if damage is None else damage)
    with pytest.raises(InputError, match=r"tiny\.state.*--fresh"):
        train(TINY, tmp_path, work=tmp_path)
