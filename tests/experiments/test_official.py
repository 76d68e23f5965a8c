"""The official networks: plans with nothing fetched, the one command that fetches, and a run of stand-ins."""

import hashlib
import io
import re

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from harness.cli.main import app
from harness.denoisers.preconditioning import EDMPrecond
from harness.experiments.grid import load_grid
from harness.experiments.grid_files import grid_names
from harness.hub import cards
from tests.denoisers.snapshots import write_snapshot
from tests.hub.conftest import serve as serve
from tests.hub.server import ranged
from tests.metrics.features.programs import Official, script

OFFICIAL = {name: path for name, path in grid_names().items() if name.startswith("official/")}
FETCH = re.compile(r"`harness fetch ([^`]*)` gets all of it")


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A cache where nothing was fetched, and an empty folder to be in."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def harness(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
    assert done.exit_code == code, done.output + done.stderr
    return done


def test_they_are_all_there():
    words = {"fig2_cifar10", "fig4_cifar10", "fig4_imagenet64", "imagenet64", "table2_af"}
    words |= {f"low_nfe_{data}" for data in ("cifar10", "ffhq", "imagenet64")}
    assert {path.stem for path in OFFICIAL.values()} == words


LONG = {"official/fig2_cifar10", "official/fig4_cifar10"}
"""Whose many budgets of a thousand steps take a minute to count."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in OFFICIAL])
def test_a_plan_needs_nothing_fetched(name, empty):
    said = harness("plan", name).stdout
    grid, _ = load_grid(OFFICIAL[name])
    wanted = {*grid.denoisers, "inception-2015-12-05"} | {metric.source for metric in grid.metrics}
    assert set(FETCH.search(said)[1].split()) == wanted
    assert all(f"│ {panel} " in said for panel in grid.denoisers)
    assert all(metric.range_count == 3 for metric in grid.metrics) and grid.samples == 50_000
    if "cifar10" in name:
        assert re.search(r"│ all .* \d+ h \d\d min │", said)
    assert not list((empty / "here").iterdir())


def test_time_follows_from_the_stated_rate(empty):
    """26.3 images/s at NFE 35 are 920 evaluations/s."""
    said = harness("plan", "official/low_nfe_cifar10").stdout
    evaluations, hours, minutes = re.search(r"│ all .* ([\d,]{9,}) │ .* (\d+) h (\d+) min │", said).groups()
    network = int(evaluations.replace(",", "")) / 920 / 60
    assert network - 1 < int(hours) * 60 + int(minutes) < 1.01 * network  # chunks and trials take their time as well


@pytest.mark.parametrize("name", ["official/fig2_cifar10", "official/imagenet64"])
def test_a_run_says_in_one_line_what_to_fetch(name, empty):
    error = harness("run", name, code=2).stderr.strip()
    assert len(error.splitlines()) == 1 and error.startswith(f"error: {OFFICIAL[name]}: ")
    assert "inception-2015-12-05" in FETCH.search(error)[1]
    assert not list((empty / "here").iterdir())


def test_a_name_that_nothing_has_keeps_its_line(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("title: T\ndenoisers:\n  nobody: {}\nseries: [{name: s}]\n")
    assert f"{path}:3: " in harness("plan", path, code=2).stderr


@pytest.fixture
def stand_ins(empty, serve, monkeypatch):
    """The cards of one official grid, with addresses of a local server that has small files of the same layout."""
    torch.manual_seed(0)
    small = {"model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [], "label_dim": 0}
    net = EDMPrecond(32, 3, model_type="SongUNet", **small).eval()
    program, statistics = empty / "inception.pt", io.BytesIO()
    digest = script(Official(width=2048), program)
    np.savez(statistics, mu=np.zeros(2048), sigma=np.eye(2048))
    content = {
        "edm-cifar10-32x32-uncond-vp": write_snapshot(empty / "net.pkl", net).read_bytes(),
        "inception-2015-12-05": program.read_bytes(),
        "fid-cifar10-32x32": statistics.getvalue(),
    }
    official = yaml.safe_load(cards.cards_file().read_text())["cards"]
    changed = {}
    for name, body in content.items():
        site = serve(ranged(body))
        changed[name] = official[name] | {"url": site.url("/" + official[name]["url"].rpartition("/")[2])}
        changed[name].pop("sha256", None)
        changed[name].pop("size", None)
    changed["inception-2015-12-05"]["sha256"] = digest
    assert hashlib.sha256(content["inception-2015-12-05"]).hexdigest() == digest
    (empty / "pretrained").mkdir()
    (empty / "pretrained" / "cards.yaml").write_text(yaml.safe_dump({"cards": changed}))
    monkeypatch.setattr(cards, "data_dir", lambda name: empty / "pretrained")
    return list(content)


def test_planned_fetched_run_and_shown(stand_ins, empty):
    """The grid as it comes, but for two series at one budget and one range of a few images: a distance of 2,048
    features takes seconds."""
    text = OFFICIAL["official/low_nfe_cifar10"].read_text()
    for old, new in (
        ("samples: 50000", "samples: 8"),
        ("nfe: [3, 4, 5, 6, 7, 8, 9, 10]", "nfe: [5]"),
        ("mosaics: [5, 10]", "mosaics: [5]"),
        ("ranges: 3", "ranges: 1"),
    ):
        assert old in text
        text = text.replace(old, new)
    kept = [line for line in text.splitlines() if not line.startswith("  - {name:") or "name: UniPC-3" in line]
    grid = empty / "low.yaml"
    grid.write_text("\n".join(kept))
    names = FETCH.search(harness("plan", grid).stdout)[1].split()
    assert set(names) == set(stand_ins)
    assert f"harness fetch {' '.join(names)}" in harness("run", grid, code=2).stderr
    harness("fetch", *names)
    done = harness("run", grid, "--device", "cpu", "--executor", "inline", "--batch", "8")
    assert "low: 1 of 1 trials done, 0 failed" in done.stdout
    assert "gets all of it" not in harness("plan", grid).stdout
    (page,) = [line for line in harness("report", "low").stdout.split() if line.endswith(".html")]
    html = (empty / "here" / page).read_text()
    assert "UniPC-3" in html and "fid-cifar10-32x32" in html
