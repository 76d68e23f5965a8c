"""The loop: same bits again, after an interruption too, and clear words when it cannot go on."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from harness.core.errors import InputError, RunError
from harness.denoisers.load import load_denoiser
from harness.metrics.features.digits import load_digit_features
from harness.training import loop, state
from harness.training.averages import HalfLifeEMA, PowerEMA
from harness.training.loop import TrainingError, train
from harness.training.networks import DhariwalUNetConfig, SongUNetConfig
from harness.training.recipe import Adam, ClassifierRecipe, DenoiserRecipe, load_recipe
from harness.training.tasks import task_of

TINY = DenoiserRecipe(
    name="tiny",
    preconditioning="edm",
    network=SongUNetConfig(model_channels=4, channel_mult=(1, 2), dropout=0.2),
    loss={"kind": "edm"},
    batch=4,
    images=48,
    optimizer=Adam(lr=1e-2, ramp_images=16, decay_fraction=0.5, clip=1.0),
    ema=HalfLifeEMA(halflife_images=12.0),
)
GOLDEN = Path(__file__).parents[1] / "golden" / "training.json"
RECIPES = Path(__file__).parents[2] / "pretrained" / "recipes"


def changed(**fields):
    return DenoiserRecipe.model_validate(TINY.model_dump() | fields)


def first_losses(recipe, folder, steps, **options):
    seen = []
    train(recipe, folder, work=folder, progress=seen.append, stop_after=steps, **options)
    return seen


@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text())["recipes"])
def test_recipes_of_before_still_give_the_losses_of_before(tmp_path, monkeypatch, name):
    monkeypatch.setattr(loop, "REPORTS", 10**9)  # a report a step
    golden = json.loads(GOLDEN.read_text())["recipes"][name]
    seen = first_losses(load_recipe(RECIPES / f"{name}.yaml"), tmp_path, len(golden["losses"]))
    assert [at.loss for at in seen] == pytest.approx(golden["losses"], rel=1e-5)
    assert [at.rate for at in seen] == pytest.approx(golden["rates"], rel=1e-12)


def test_interrupted_and_resumed_is_bitwise_uninterrupted(tmp_path):
    whole = train(TINY, tmp_path / "a", work=tmp_path / "wa")
    for stop in (5, 9):
        train(TINY, tmp_path / "b", work=tmp_path / "wb", stop_after=stop)
        assert not (tmp_path / "b" / "tiny.safetensors").exists()
        torch.rand(7)  # whatever else uses torch's stream between two parts of a run
    notes = []
    parts = train(TINY, tmp_path / "b", work=tmp_path / "wb", note=notes.append)
    assert whole.read_bytes() == parts.read_bytes()
    assert list((tmp_path / "wb").rglob("state*")) == []
    assert notes == ["tiny: goes on from step 9 of 12"]
    log = [json.loads(line) for line in (tmp_path / "wb" / "tiny" / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 13))


def test_the_log_says_each_step_once(tmp_path):
    """A run that was killed after its last state does those steps again."""
    train(TINY, tmp_path, work=tmp_path, stop_after=3)
    log = tmp_path / "tiny" / "stats.jsonl"
    log.write_text(log.read_text() + json.dumps({"step": 4, "images": 16}) + "\n" + '{"step": 5, "ima')
    train(TINY, tmp_path, work=tmp_path)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 13))


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


def test_finished_result_is_left_alone_unless_fresh(tmp_path, monkeypatch):
    path = train(TINY, tmp_path, work=tmp_path / "w")
    monkeypatch.setattr(loop, "_to_end", lambda *_: pytest.fail("trained again"))
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


def test_batches_that_are_drawn_ahead_are_the_same(tmp_path, monkeypatch):
    """On a GPU a thread draws the next batch during a step; a state in between resumes before it."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    draws = loop._draws
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(loop, "_draws", lambda task, state, ahead: draws(task, state, True))
    for stop in (3, 8):
        train(TINY, tmp_path / "b", work=tmp_path / "b", stop_after=stop)
    assert train(TINY, tmp_path / "b", work=tmp_path / "b").read_bytes() == whole.read_bytes()


def test_what_an_earlier_run_of_the_name_left_is_removed(tmp_path):
    train(changed(snapshots=[4, 8]), tmp_path, work=tmp_path)
    train(changed(snapshots=[8], seed=1), tmp_path, work=tmp_path)
    left = [path.name for path in (tmp_path / "tiny" / "snapshots").iterdir()]
    assert left == ["tiny-000000008.safetensors"]


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


def test_state_of_another_recipe_is_refused(tmp_path):
    train(TINY, tmp_path, work=tmp_path / "w", stop_after=2)
    with pytest.raises(InputError, match=r"another recipe.*--fresh"):
        train(changed(seed=1), tmp_path, work=tmp_path / "w")
    train(changed(seed=1), tmp_path, resume=False, work=tmp_path / "w", stop_after=2)


def test_state_of_another_layout_is_refused(tmp_path):
    train(TINY, tmp_path, work=tmp_path / "w", stop_after=2, micro_batch=2)
    with pytest.raises(InputError, match=r"had 1 processes with 2 images .*, and now has 1 with 4 on cpu.*--fresh"):
        train(TINY, tmp_path, work=tmp_path / "w")
    assert train(TINY, tmp_path, work=tmp_path / "w", micro_batch=2).exists()


@pytest.mark.parametrize("damage", ["empty", "text", "short", "flipped"])
def test_damaged_state(tmp_path, damage):
    """The state before it is used, and said; without one the run is refused. The result is the same bits."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    train(TINY, tmp_path, work=tmp_path, stop_after=2)
    train(TINY, tmp_path, work=tmp_path, stop_after=5)
    file = tmp_path / "tiny" / state.STATE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(
        {"empty": b"", "text": b"not it", "short": bytes(content[:-100]), "flipped": bytes(content)}[damage]
    )
    notes = []
    path = train(TINY, tmp_path, work=tmp_path, note=notes.append)
    assert path.read_bytes() == whole.read_bytes()
    assert "damaged state" in notes[0] and notes[0].endswith("goes on from the state before it, of step 2")
    train(TINY, tmp_path / "c", work=tmp_path / "c", stop_after=2)
    file = tmp_path / "c" / "tiny" / state.STATE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"state\.safetensors.*damaged.*--fresh"):
        train(TINY, tmp_path / "c", work=tmp_path / "c")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_whole_state_is_there_whenever_a_save_is_interrupted(tmp_path, monkeypatch, damaged):
    """Also right after a damaged state was passed over."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    for stop in (2, 5):
        train(TINY, tmp_path, work=tmp_path, stop_after=stop)
    if damaged:
        file = tmp_path / "tiny" / state.STATE
        file.write_bytes(file.read_bytes()[:-50])
    replace = Path.replace
    for fatal in (state.STATE, state.NEXT):

        def killed(self, target, fatal=fatal):
            if self.name == fatal:
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", killed)
        with contextlib.suppress(KeyboardInterrupt):
            train(TINY, tmp_path, work=tmp_path, stop_after=7)
        monkeypatch.setattr(Path, "replace", replace)
    assert train(TINY, tmp_path, work=tmp_path).read_bytes() == whole.read_bytes()


def test_killed_between_two_names_of_the_state(tmp_path):
    """The newest state became the one before, and the new one was not written yet."""
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    train(TINY, tmp_path, work=tmp_path, stop_after=5)
    (tmp_path / "tiny" / state.STATE).rename(tmp_path / "tiny" / state.BEFORE)
    assert train(TINY, tmp_path, work=tmp_path).read_bytes() == whole.read_bytes()


def test_full_disk_is_said_and_loses_nothing(tmp_path, monkeypatch):
    train(TINY, tmp_path, work=tmp_path, stop_after=4)
    before = (tmp_path / "tiny" / state.STATE).read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(state, "write_tensors", full)
    with pytest.raises(RunError, match=r"state\.safetensors: cannot be written \(No space left on device\).*again"):
        train(TINY, tmp_path, work=tmp_path, stop_after=6)
    monkeypatch.undo()
    assert before == (tmp_path / "tiny" / state.STATE).read_bytes()
    whole = train(TINY, tmp_path / "a", work=tmp_path / "a")
    assert train(TINY, tmp_path, work=tmp_path).read_bytes() == whole.read_bytes()


EXACT = changed(
    precision="float64",
    network=SongUNetConfig(model_channels=8, channel_mult=(1, 2)),
    batch=128,
    images=128 * 24,
    augmentation="nonleaky",
    label_policy="class",
)


def last_weights(recipe, folder, **options):
    train(recipe, folder, work=folder, stop_after=20, **options)
    return load_file(folder / "tiny" / state.STATE)


def worst(found, expected, prefix):
    return max(
        ((found[name] - expected[name]).norm() / expected[name].norm().clamp(min=1e-30)).item()
        for name in expected
        if name.startswith(prefix)
    )


def gradient(recipe, folder, **options):
    """The gradient of the first step, as Adam's running mean (1 - beta1) g after it."""
    train(recipe, folder, work=folder, stop_after=1, **options)
    return load_file(folder / "tiny" / state.STATE)


def test_accumulation_equals_the_whole_batch(tmp_path):
    recipe = EXACT.model_copy(update={"optimizer": Adam(lr=1e-3)})
    whole, parts = (gradient(recipe, tmp_path / name, micro_batch=n) for name, n in (("a", None), ("b", 32)))
    assert worst(parts, whole, "adam.exp_avg.") < 1e-12
    whole, parts = (last_weights(recipe, tmp_path / name, micro_batch=n) for name, n in (("a", None), ("b", 32)))
    assert worst(parts, whole, "network.") < 1e-8
    with pytest.raises(InputError, match="--micro-batch 48: the 128 images of a process are no multiple"):
        train(recipe, tmp_path, micro_batch=48)


TOGETHER = """
import shutil, sys
from pathlib import Path
import torch
from harness.training.loop import train
from harness.training.processes import training_process
from harness.training.recipe import RECIPES

torch.set_num_threads(1)
recipe, folder = RECIPES.read_json(sys.argv[1]), Path(sys.argv[2])
with training_process("cpu") as process:
    for steps in (1, 20):  # the second goes on from the first
        train(recipe, folder, work=folder, stop_after=steps, process=process)
        process.wait()
        if process.is_first:
            shutil.copy(folder / "tiny" / "state.safetensors", folder / f"after-{steps}.safetensors")
"""


def together(recipe, folder, port):
    """The states after 1 and 20 steps of two processes, as a launcher starts them."""
    folder.mkdir()
    arguments = [sys.executable, "-c", TOGETHER, recipe.model_dump_json(), str(folder)]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(arguments, env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    return [load_file(folder / f"after-{steps}.safetensors") for steps in (1, 20)]


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_processes_equal_one(tmp_path, port):
    recipe = EXACT.model_copy(update={"optimizer": Adam(lr=1e-3)})
    first, last = together(recipe, tmp_path / "b", port)
    assert worst(first, gradient(recipe, tmp_path / "a"), "adam.exp_avg.") < 1e-12
    assert worst(last, last_weights(recipe, tmp_path / "a"), "network.") < 1e-8
    with pytest.raises(InputError, match="had 2 processes with 64 images a pass on cpu, and now has 1 with 128"):
        train(recipe, tmp_path / "b", work=tmp_path / "b")


@pytest.mark.slow
def test_killed_five_times_the_weights_are_those_of_an_uninterrupted_run(tmp_path):
    recipe = changed(images=4 * 1500)
    whole = train(recipe, tmp_path / "a", work=tmp_path / "a")
    program = (
        "import sys; from pathlib import Path; from harness.training.loop import train; "
        "from harness.training.recipe import RECIPES; import torch; torch.set_num_threads(1)\n"
        "train(RECIPES.read_json(sys.argv[1]), Path(sys.argv[2]), work=Path(sys.argv[2]), save_every=0.2)"
    )
    arguments = [sys.executable, "-c", program, recipe.model_dump_json(), str(tmp_path / "b")]
    kills, steps = 0, [0]
    while True:
        process = subprocess.Popen(arguments)
        file = tmp_path / "b" / "tiny" / state.STATE
        if kills < 5:
            while process.poll() is None and step_of(file) < steps[-1] + 150:
                time.sleep(0.05)
            assert process.poll() is None, "it must be killed while it trains"
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills, steps = kills + 1, [*steps, step_of(file)]
        else:
            assert process.wait(120) == 0
            break
    assert len(set(steps)) == 6
    assert (tmp_path / "b" / "tiny.safetensors").read_bytes() == whole.read_bytes()


def step_of(file):
    for one in (file, file.with_name(state.BEFORE)):
        try:
            with safe_open(one, "pt") as opened:
                return json.loads(opened.metadata()["counters"])["step"]
        except Exception:  # being renamed
            continue
    return 0


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


def test_a_file_that_is_no_state_of_ours(tmp_path):
    (tmp_path / "tiny").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "tiny" / state.STATE)
    with pytest.raises(InputError, match=r"not the state of a training run of this version.*--fresh"):
        train(TINY, tmp_path, work=tmp_path)
