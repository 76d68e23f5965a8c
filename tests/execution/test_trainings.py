"""The queue: several recipes, each a task of an executor."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import InputError, RunError, SamplingError
from harness.execution.trainings import TrainingListener, find_recipes, train_all
from harness.hub.cache import locked
from harness.training.loop import TrainingError

CLASSIFIER = "kind: classifier\nname: {name}\nminutes: {minutes}\nchannels: 2\nwidth: 4\nbatch: 4\nimages: 8\n"


def write(folder, name, minutes=1.0, extra=""):
    path = folder / f"{name}.yaml"
    path.write_text(CLASSIFIER.format(name=name, minutes=minutes) + extra)
    return path


class Heard(TrainingListener):
    def __init__(self):
        self.lines, self.seen, self.begun = [], [], None

    def started(self, networks, images):
        self.begun = networks, images

    def at(self, networks, images):
        self.seen.append((networks, images))

    def say(self, text):
        self.lines.append(text)


def test_longest_first(tmp_path):
    for name, minutes in [("a", 1.0), ("b", 9.0), ("c", 5.0)]:
        write(tmp_path, name, minutes)
    assert [recipe.name for recipe in find_recipes(tmp_path)] == ["b", "c", "a"]


def test_no_recipes_and_twice_the_same_name(tmp_path):
    with pytest.raises(InputError, match="no recipes"):
        find_recipes(tmp_path)
    path = write(tmp_path, "a")
    with pytest.raises(InputError, match="named 'a'"):
        find_recipes([path, path])


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_failure_stops_no_other(tmp_path, executor):
    good = write(tmp_path, "good")
    bad = write(tmp_path, "bad", 2.0, "optimizer: {lr: 1e30}\n")
    heard = Heard()
    options = {"work": tmp_path / "work", "device": "cpu", "executor": executor, "workers": 2, "listener": heard}
    with pytest.raises(
        TrainingError, match=r"^training failed: bad: the weights became infinite or NaN in step 1 .*no snapshot yet$"
    ):
        train_all(find_recipes([good, bad]), tmp_path / "out", **options)
    assert (tmp_path / "out" / "good.safetensors").exists()
    assert not (tmp_path / "out" / "bad.safetensors").exists()
    assert heard.lines[0].startswith("bad: starts") and {"bad: failed", "good: done"} <= set(heard.lines)
    assert heard.begun == (2, 16) and heard.seen[-1][0] == 1 and 8 <= heard.seen[-1][1] <= 16
    assert train_all(find_recipes(good), tmp_path / "out", **options) == [tmp_path / "out" / "good.safetensors"]
    assert heard.lines[-1] == "good: done" and heard.seen[-1] == (1, 8)


def test_images_that_cannot_be_drawn_stop_no_training(tmp_path, monkeypatch):
    recipe = tmp_path / "a.yaml"
    recipe.write_text(
        "kind: denoiser\nname: a\npreconditioning: edm\nloss: edm\nbatch: 4\nimages: 8\nsnapshots: [4]\n"
        "network: {kind: SongUNet, model_channels: 4, channel_mult: [1], attn_resolutions: []}\n"
    )

    def fail(*_):
        raise SamplingError("the state is not finite")

    monkeypatch.setattr("harness.execution.trainings.sample_to_files", fail)
    heard = Heard()
    options = {"work": tmp_path / "w", "device": "cpu", "executor": "inline", "listener": heard}
    assert train_all(find_recipes(recipe), tmp_path, **options) == [tmp_path / "a.safetensors"]
    assert any("no images of this snapshot (the state is not finite" in line for line in heard.lines)
    classifier = write(tmp_path, "features", extra="snapshots: [4]\n")
    assert train_all(find_recipes(classifier), tmp_path, **options) == [tmp_path / "features.safetensors"]


def test_one_command_trains_a_recipe_at_a_time(tmp_path):
    recipes = find_recipes(write(tmp_path, "a"))
    with (
        locked(tmp_path / "work" / "a", "held here"),
        pytest.raises(RunError, match=r"a: another command trains it in .*--work"),
    ):
        train_all(recipes, tmp_path, work=tmp_path / "work", device="cpu", executor="inline")


def test_the_command(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, arguments)

    recipe = write(tmp_path, "a")
    options = ["--work", str(tmp_path / "w"), "-o", str(tmp_path), "--executor", "inline", "--device", "cpu"]
    out = run("train", str(recipe), *options)
    assert out.exit_code == 0 and out.stdout.strip() == str(tmp_path / "a.safetensors")
    lines = (tmp_path / "w" / "a" / "stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in lines] == [4, 8]
    assert run("train", str(recipe), *options).exit_code == 0
    refused = run("train", str(recipe), *options, "--micro-batch", "3")
    assert refused.exit_code == 2 and "no multiple of it" in refused.stderr


def test_processes_of_a_launcher_train_one_network(tmp_path):
    """The command under `torchrun`: one result, one log, and one line of output."""
    recipe = tmp_path / "a.yaml"
    recipe.write_text(
        "kind: denoiser\nname: a\npreconditioning: edm\nloss: edm\nbatch: 4\nimages: 8\nsnapshots: [4]\n"
        "network: {kind: SongUNet, model_channels: 4, channel_mult: [1], attn_resolutions: []}\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "harness", "train", str(recipe), "-o", str(tmp_path), "--work", str(tmp_path / "w")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "a.safetensors")]
    files = sorted(path.name for path in (tmp_path / "w" / "a").rglob("*") if path.is_file())
    assert files == ["a-000000004.png", "a-000000004.safetensors", "levels.json", "stats.jsonl"]
    assert len((tmp_path / "w" / "a" / "stats.jsonl").read_text().splitlines()) == 2
