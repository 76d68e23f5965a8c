"""From a card's name to a file that runs use: fetched, pinned, imported, checked ever after."""

import hashlib

import pytest
import torch
import yaml
from typer.testing import CliRunner

import harness
from harness.cache import files_dir, pins_file, read_pins
from harness.cli import app
from harness.data_files import sha256_of
from harness.denoisers import cards
from harness.denoisers.cards import checked_path, load_cards
from harness.denoisers.load import describe, identity, verify
from harness.errors import InputError
from harness.fetching import fetch, fetchable
from tests.denoisers.snapshots import small, write_snapshot
from tests.server import ranged, running

STATISTICS = b"statistics" * 1000
SHA = hashlib.sha256(STATISTICS).hexdigest()
COMMON = {"dataset": "toys", "licence": "MIT", "recipe": "none"}


@pytest.fixture(scope="module")
def server():
    with running() as found:
        yield found


@pytest.fixture
def world(tmp_path, server, monkeypatch):
    """A cache, a server with a snapshot and a file, and their cards; no hash is known of either."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pretrained"
    folder.mkdir()
    monkeypatch.setattr(cards, "data_dir", lambda name: folder)
    server.asked.clear()
    snapshot = write_snapshot(tmp_path / "toy.pkl", small()).read_bytes()
    net = {"kind": "denoiser", "url": server.serve("/toy.pkl", ranged(snapshot)), **COMMON, "format": "edm-snapshot"}
    net |= {"preconditioning": "edm", "shape": [1, 8, 8], "label_dim": 3, "labels": "uniform"}
    net |= {"sigma_min": 0.0, "sigma_max": "inf"}
    numbers = {"kind": "reference", "url": server.serve("/toy.npz", ranged(STATISTICS)), **COMMON, "width": 8}
    numbers |= {"extractor": "toy-features"}

    def write(**changes):
        listed = {"toy": net, "toy-numbers": numbers}
        for name, change in changes.items():
            listed[name.replace("_", "-")] = {**listed[name.replace("_", "-")], **change}
        (folder / "cards.yaml").write_text(yaml.safe_dump({"cards": listed}))

    write()
    write.snapshot, write.folder = snapshot, folder
    return write


def quick(*names, **options):
    return fetch(list(names), pause=0.01, timeout=2.0, **options)


def test_a_file_without_a_known_hash_is_pinned(world, server):
    (first,) = quick("toy-numbers")
    assert (first.sha256, first.new, first.pinned) == (SHA, True, True)
    assert first.path.read_bytes() == STATISTICS
    assert read_pins()[server.url + "/toy.npz"].sha256 == SHA
    server.asked.clear()
    (again,) = quick("toy-numbers")
    assert (again.new, again.pinned, again.sha256) == (False, False, SHA)
    assert server.asked == []
    assert checked_path("toy-numbers", load_cards()["toy-numbers"]) == first.path


def test_another_file_at_a_pinned_address_is_refused(world, server):
    (first,) = quick("toy-numbers")
    server.serve("/toy.npz", ranged(STATISTICS[::-1]))
    with pytest.raises(InputError, match=f"SHA-256 should be {SHA}.*(?s:.*)pinned at the first download.*pins.json"):
        quick("toy-numbers", force=True)
    assert first.path.read_bytes() == STATISTICS
    server.serve("/toy.npz", ranged(STATISTICS[:-1]))
    with pytest.raises(InputError, match="the file should have 10,000 bytes"):
        quick("toy-numbers", force=True)
    pins_file().unlink()
    assert quick("toy-numbers", force=True)[0].pinned


def test_a_known_hash_and_size(world):
    world(toy_numbers={"sha256": SHA, "size": len(STATISTICS)})
    (done,) = quick("toy-numbers")
    assert not done.pinned
    assert read_pins() == {}
    world(toy_numbers={"sha256": "0" * 64, "size": len(STATISTICS)})
    with pytest.raises(InputError, match=r"SHA-256 is .*, and it was 0000"):
        checked_path("toy-numbers", load_cards()["toy-numbers"])
    with pytest.raises(InputError, match="SHA-256 should be 0000"):
        quick("toy-numbers")


def test_a_file_that_was_changed_since(world):
    (done,) = quick("toy-numbers")
    done.path.write_bytes(b"changed")
    with pytest.raises(InputError, match=f"it was {SHA} when it was fetched; `harness fetch toy-numbers --force`"):
        checked_path("toy-numbers", load_cards()["toy-numbers"])
    assert quick("toy-numbers")[0].new
    assert done.path.read_bytes() == STATISTICS


def test_a_snapshot_is_imported_and_runs_use_that(world, server):
    message = "'toy' is not here yet; `harness fetch toy` gets it"
    for ask in (harness.load_denoiser, describe, identity, verify):
        with pytest.raises(InputError, match=message):
            ask("toy")
    (done,) = quick("toy")
    assert [path.name for path in files_dir().iterdir() if path.suffix != ".lock"] == ["toy.safetensors"]
    assert done.sha256 == hashlib.sha256(world.snapshot).hexdigest()
    net, x, sigma = harness.load_denoiser("toy"), torch.randn(2, 1, 8, 8), torch.tensor([0.2, 3.0])
    assert torch.equal(net(x, sigma), small()(x, sigma))
    assert identity("toy") == f"sha256:{sha256_of(done.path)}"
    assert describe("toy").shape == (1, 8, 8) and describe("toy").label_dim == 3
    verify("toy")
    server.asked.clear()
    assert not quick("toy")[0].new and server.asked == []
    done.path.write_bytes(done.path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="harness fetch toy --force"):
        verify("toy")


def test_importing_gives_the_same_identity_everywhere(world, tmp_path, monkeypatch):
    quick("toy")
    first = identity("toy")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "elsewhere"))
    quick("toy")
    assert identity("toy") == first


def test_a_card_that_describes_another_network(world):
    for change, message in [
        ({"label_dim": 0, "labels": "none"}, "classes of the fetched network is 3, and the card says 0"),
        ({"shape": [3, 8, 8]}, r"shape of the fetched network is \(1, 8, 8\)"),
        ({"preconditioning": "vp"}, "preconditioning of the fetched network is edm, and the card says vp"),
    ]:
        world(toy=change)
        with pytest.raises(InputError, match=message):
            quick("toy", force=True)
        assert not (files_dir() / "toy.safetensors").exists()


def test_a_hostile_file_under_an_official_name(world, server):
    import os
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.system, ("true",)

    server.serve("/toy.pkl", ranged(pickle.dumps({"ema": Bomb()}, protocol=4)))
    with pytest.raises(InputError, match=r"asks for 'posix\.system'"):
        quick("toy")
    assert [path.name for path in files_dir().iterdir() if path.suffix != ".lock"] == []
    assert read_pins() == {}


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_the_command(world, server):
    listed = run("fetch", "--list")
    assert listed.exit_code == 0
    assert "toy-numbers" in listed.stdout and "not here" in listed.stdout
    done = run("fetch", "toy-numbers")
    assert done.exit_code == 0, done.output
    assert f"SHA-256 {SHA} (pinned: its hash is known from now on)" in done.stdout
    assert "(was here already)" in run("fetch", "toy-numbers").stdout
    assert "here" in next(line for line in run("fetch").stdout.splitlines() if line.startswith("toy-numbers"))


def test_mistakes_exit_with_2_and_leave_nothing(world, server):
    server.serve("/toy.npz", lambda handler, headers: handler.send_error(404))
    failed = run("fetch", "toy-numbers")
    assert failed.exit_code == 2
    assert "the server answers 404" in failed.output
    assert run("fetch", "nothing").exit_code == 2
    assert not (files_dir() / "toy.npz").exists()
    with pytest.raises(InputError, match="'nothing' is no card's name; `harness fetch --list`"):
        quick("nothing")


def test_the_official_cards():
    """What the paper's repository offers, and nothing without a licence, over https alone."""
    known = load_cards()
    official = fetchable()
    assert len([name for name, card in official.items() if card.kind == "denoiser"]) == 18
    assert len([name for name, card in official.items() if card.kind == "reference"]) == 5
    assert all(card.url.startswith("https://nvlabs-fi-cdn.nvidia.com/") and card.licence for card in official.values())
    for name, card in official.items():
        if card.kind == "denoiser":
            assert card.url.endswith(f"/{name}.pkl") and ("/baseline/" in card.url) == name.startswith("baseline-")
            assert (card.label_dim > 0) == ("-cond-" in name)
        if card.kind == "reference":
            assert card.extractor in known
    inception = official["inception-2015-12-05"]
    assert inception.sha256 == "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    assert inception.size == 95_607_719
    with pytest.raises(InputError, match=r"`harness fetch inception-2015-12-05` gets it \(95,607,719 bytes\)"):
        checked_path("inception-2015-12-05", inception)


def test_a_grid_says_what_to_fetch(world, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "title: A\ndescription: B\nsamples: 4\nnfe: [5]\ndenoisers: {net: {source: toy}}\n"
        "series:\n  - {name: Heun, role: ours}\n"
    )
    planned = run("plan", str(grid), "--store", str(tmp_path / "s.sqlite"))
    assert planned.exit_code == 2
    assert "`harness fetch toy` gets it" in planned.output
