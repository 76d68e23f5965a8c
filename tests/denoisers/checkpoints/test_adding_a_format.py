"""A checkpoint format is one file and one word: recognised, inspected, imported and fetched in a copy of the tree."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import harness
from tests.denoisers.snapshots import small
from tests.hub.server import Site, ranged

PACKAGE = Path(harness.__file__).parent

FORMAT = '''"""Networks as NumPy archives (`.npz`): `config` is the arguments as JSON, the others are tensors."""

import json
import zipfile
from typing import ClassVar, Literal

import numpy as np

from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings
from harness.denoisers.checkpoints.pickles.stored import LazyTensor


class NumpyArchive(CheckpointFormat):
    """A network as a NumPy archive."""

    kind: Literal["numpy-archive"] = "numpy-archive"
    title: ClassVar[str] = "NumPy archives (.npz)"

    def recognise(self, file: CheckpointFile) -> bool:
        return zipfile.is_zipfile(file.path) and "config.npy" in zipfile.ZipFile(file.path).namelist()

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        arrays = dict(np.load(file.path, allow_pickle=False))
        arguments = json.loads(str(arrays.pop("config")))
        tensors = {name: LazyTensor("F32", array.shape, lambda array=array: array) for name, array in arrays.items()}
        return ReadCheckpoint("NumPy archive", "edm", arguments, tensors, facts={"by": "a test"})
'''


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with the format's file and its word."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(PACKAGE, root / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pretrained").mkdir()
    formats = root / "harness" / "denoisers" / "checkpoints" / "formats"
    (formats / "numpy_archive.py").write_text(FORMAT)
    before = (formats / "__init__.py").read_text()
    assert before.count('"diffusers_folder")') == 1
    (formats / "__init__.py").write_text(before.replace('"diffusers_folder")', '"diffusers_folder", "numpy_archive")'))
    return root


@pytest.fixture
def archive(tmp_path):
    net = small()
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    np.savez(tmp_path / "toy.npz", config=np.array(json.dumps(net.config | {"sigma_max": 80.0})), **arrays)
    return tmp_path / "toy.npz"


def run(root, folder, *command):
    environment = os.environ | {"PYTHONPATH": str(root), "HARNESS_CACHE": str(folder / "cache"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(path):
    """Whether a file of ours denoises as the network that was written."""
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.2, 3.0])
    return torch.equal(harness.load_denoiser(path)(x, sigma), small()(x, sigma))


def test_it_is_recognised_and_imported(extended, archive, tmp_path):
    facts = json.loads(run(extended, tmp_path, "inspect", "toy.npz", "--json"))
    assert (facts["format"], facts["training"], facts["usable"]) == ("NumPy archive", {"by": "a test"}, "yes")
    assert "NumPy archive, SHA-256" in run(extended, tmp_path, "import", "toy.npz", "-o", "toy.safetensors")
    assert same(tmp_path / "toy.safetensors")


def test_it_is_fetched_by_a_cards_name(extended, archive, tmp_path):
    site = Site(ranged(archive.read_bytes()))
    card = {"kind": "denoiser", "format": "numpy-archive", "url": site.url("/toy.npz"), "label_dim": 3}
    card |= {"dataset": "toys", "licence": "MIT", "recipe": "none", "preconditioning": "edm", "labels": "uniform"}
    card |= {"shape": [1, 8, 8], "sigma_min": 0.0, "sigma_max": 80.0}
    (extended / "pretrained" / "cards.yaml").write_text(yaml.safe_dump({"cards": {"toy": card}}))
    try:
        assert "fetched" in (told := run(extended, tmp_path, "fetch", "toy")) or "pinned" in told
    finally:
        site.close()
    assert same(tmp_path / "cache" / "files" / "toy.safetensors")
    assert not (tmp_path / "cache" / "files" / "toy.npz").exists()
