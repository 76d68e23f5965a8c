"""Several processes, and parts of a batch, train as one process with the whole batch does."""

import os
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from harness.core.errors import InputError
from harness.training import state
from harness.training.loop import train
from harness.training.networks import SongUNetConfig
from harness.training.recipe import Adam
from tests.training.tiny import changed

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
