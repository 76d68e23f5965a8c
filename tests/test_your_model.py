"""The page on one's own model does what it says: its files are written, its commands are given."""

import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.hub.digits import load_digits
from harness.sampling.noise import Noise
from harness.search.plan import FRESH_SEED

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "your-model.md").read_text()
BLOCKS = re.findall(r"^```(\w+) ?([\w.]*)\n(.*?)^```$", TEXT, re.M | re.S)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the page's files, where nothing is permitted yet and nothing imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))
    monkeypatch.setattr("harness.core.code._imported", {})
    monkeypatch.setattr("sys.path", list(sys.path))
    before = set(sys.modules)
    for _, name, text in BLOCKS:
        if "." in name:
            (tmp_path / name).write_text(text)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("my_", "galaxies")):
            del sys.modules[name]


def consoles():
    return [text.strip().splitlines() for kind, _, text in BLOCKS if kind == "console"]


def give(line):
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, f"{line}\n{done.output}"
    return done.output


def test_the_first_networks_are_short():
    files = {name: text for _, name, text in BLOCKS if name in ("my_nets.py", "my_velocity.py")}
    assert len(files) == 2 and all(len(text.splitlines()) < 15 for text in files.values())


def test_two_networks_run_through_a_grid(folder):
    for line in consoles()[0]:
        give(line)
    table = harness.results(grid="my_grid")
    assert len(table) == 8 and (table["status"] == "done").all() and (folder / "reports" / "my_grid.html").exists()


def test_an_object_runs_through_a_grid():
    (code,) = (text for kind, name, text in BLOCKS if (kind, name) == ("python", "run"))
    names = {}
    exec(code, names)
    table = names["table"]
    assert len(table) == 4 and (table["status"] == "done").all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers with numpy 2
def test_from_a_network_and_a_folder_to_another_tool(folder):
    pytest.importorskip("diffusers")
    (folder / "photos").mkdir()
    digits = load_digits()
    for number, image in enumerate(np.round((digits.images[:120].numpy() + 1) * 127.5).astype(np.uint8)):
        Image.fromarray(image[0]).save(folder / "photos" / f"{number:03d}.png")
    search, show = consoles()[1]
    told = give(search)
    assert "best on fresh seeds" in told
    give(show)
    table = harness.results()
    finals = table[(table["first_seed"] == FRESH_SEED) & (table["solver"] != "")]
    (export,) = consoles()[2]
    written = 0
    for _, row in finals.iterrows():
        line = export.replace("FINGERPRINT", row["fingerprint"][:12])
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        if done.exit_code == 2 and "diffusers" in done.output:
            continue  # refused: diffusers has no such sampler
        assert done.exit_code == 0, done.output
        names = {}
        exec((folder / "my_sampler.py").read_text(), names)
        made = {}
        exec((folder / "my_images.py").read_text(), made)
        network = made["make"]()
        latents = Noise(range(FRESH_SEED, FRESH_SEED + 256), (1, 8, 8)).latents()
        sigma = torch.ones(256)
        images = names["sample"](lambda x, level, net=network, ones=sigma: net(x.float(), level * ones), latents)
        (measured,) = harness.evaluate(images, "{kind: fid, extractor: raw, reference: photos}")
        assert row["low"] <= measured.estimate.value <= row["high"]
        written += 1
    assert written


@pytest.mark.skipif(find_spec("galaxygrad") is None, reason="the package galaxygrad is not installed")
def test_a_network_of_somebody_else(folder):
    """For whoever has installed the package (`pip install --no-deps galaxygrad==0.2.1`).

    It states no licence, so it is no dependency of ours, and its weights are not here. Own networks are tested without
    it above.
    """
    (folder / "docs").symlink_to(DOCS)
    give("harness run docs/examples/galaxies.yaml --samples 8 --allow-code")
    table = harness.results(grid="galaxies").set_index(["series", "nfe"])["value"]
    assert 0.08 < table["Heun", 11] < 0.2 and 0.02 < table["DPM++ 2M", 11] < 0.06
    assert table["DPM++ 2M", 35] < 0.005 < table["Heun", 35]
