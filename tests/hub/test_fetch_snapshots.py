"""Snapshots by their cards' names: fetched, imported, and checked ever after."""

import hashlib
import os
import pickle

import pytest
import torch
import yaml
from typer.testing import CliRunner

import harness
from harness.cli.listing import listing
from harness.cli.main import app
from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.denoisers.fetch import fetch
from harness.denoisers.load import describe, identity, verify
from harness.hub import cards
from harness.hub.cache import files_dir, locked, read_pins
from tests.denoisers.snapshots import small, write_snapshot
from tests.hub.server import ranged

COMMON = {"dataset": "toys", "licence": "MIT", "recipe": "none"}


@pytest.fixture
def world(tmp_path, serve, monkeypatch, connections):
    """A cache, a server with a snapshot, and the snapshot's card, which knows no hash."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pretrained"
    folder.mkdir()
    monkeypatch.setattr(cards, "data_dir", lambda name: folder)
    snapshot = write_snapshot(tmp_path / "toy.pkl", small()).read_bytes()
    site = serve(ranged(snapshot))
    net = {"kind": "denoiser", "url": site.url("/toy.pkl"), **COMMON, "format": "edm-snapshot"}
    net |= {"preconditioning": "edm", "shape": [1, 8, 8], "label_dim": 3, "labels": "uniform"}
    net |= {"sigma_min": 0.0, "sigma_max": "inf"}

    def write(**changes):
        (folder / "cards.yaml").write_text(yaml.safe_dump({"cards": {"toy": {**net, **changes}}}))

    write()
    write.snapshot, write.site = snapshot, site
    return write


def get(**options):
    (done,) = fetch(["toy"], pause=0.0, timeout=2.0, **options)
    return done


def left():
    return sorted(path.name for path in files_dir().iterdir() if not path.name.startswith("."))


def test_a_snapshot_is_imported_and_runs_use_that(world):
    message = "'toy' is not here; `harness fetch toy` gets it"
    for ask in (harness.load_denoiser, describe, identity, verify):
        with pytest.raises(InputError, match=message):
            ask("toy")
    assert (
        dict(listing("denoisers")["denoisers"])["toy"] == "toys, sigma 0 to inf; not here, `harness fetch toy` gets it"
    )
    done = get()
    assert left() == ["toy.safetensors"]
    assert (done.path, done.sha256, done.pinned) == (files_dir() / "toy.safetensors", sha256_of(done.path), True)
    assert read_pins()[world.site.url("/toy.pkl")].sha256 == hashlib.sha256(world.snapshot).hexdigest()
    net, x, sigma = harness.load_denoiser("toy"), torch.randn(2, 1, 8, 8), torch.tensor([0.2, 3.0])
    assert torch.equal(net(x, sigma), small()(x, sigma))
    assert identity("toy") == f"sha256:{done.sha256}"
    assert (describe("toy").shape, describe("toy").label_dim) == ((1, 8, 8), 3)
    verify("toy")
    assert not get().new
    assert len(world.site.requests) == 1
    assert dict(listing("denoisers")["denoisers"])["toy"] == "toys, sigma 0 to inf"


def test_an_import_that_was_changed_since(world):
    done = get()
    done.path.write_bytes(done.path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"when it was fetched it was .*; `harness fetch toy` gets it anew"):
        verify("toy")
    assert get().new
    verify("toy")


def test_importing_gives_the_same_identity_everywhere(world, tmp_path, monkeypatch):
    get()
    first = identity("toy")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "elsewhere"))
    get()
    assert identity("toy") == first


def test_another_snapshot_at_a_pinned_address(world, tmp_path):
    get()
    first = identity("toy")
    world.site.script[:] = [ranged(write_snapshot(tmp_path / "other.pkl", small(dropout=0.5)).read_bytes())]
    with pytest.raises(InputError, match="when it was first fetched it was"):
        get(force=True)
    assert identity("toy") == first


def test_a_known_hash_of_a_snapshot(world):
    world(sha256="0" * 64)
    with pytest.raises(InputError, match=f"and it should be {'0' * 64}"):
        get()
    assert left() == []
    world(sha256=hashlib.sha256(world.snapshot).hexdigest(), size=len(world.snapshot))
    assert not get().pinned
    verify("toy")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_dim": 0, "labels": "none"}, "classes of the fetched network is 3, and the card says 0"),
        ({"shape": [3, 8, 8]}, r"shape of the fetched network is \(1, 8, 8\)"),
        ({"preconditioning": "vp"}, "preconditioning of the fetched network is edm, and the card says vp"),
    ],
)
def test_a_card_that_describes_another_network(world, change, message):
    world(**change)
    with pytest.raises(InputError, match=message):
        get()
    assert left() == []
    assert read_pins() == {}


def test_a_card_of_an_unknown_format(world):
    world(format="pickle")
    with pytest.raises(InputError, match="unknown checkpoint format 'pickle'; known: edm-snapshot, score-sde"):
        get()
    assert world.site.requests == []


def test_a_file_of_another_format_than_the_card_says(world):
    world(format="score-sde")
    with pytest.raises(InputError, match=r"not a checkpoint: it begins with .*; known: score_sde_pytorch \(\.pth\)"):
        get()
    assert left() == []
    assert read_pins() == {}


class Bomb:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_hostile_file_under_an_official_name(world):
    """It is refused, and not remembered: the right file can be fetched afterwards."""
    world.site.script[:] = [ranged(pickle.dumps({"ema": Bomb()}, protocol=4))]
    with pytest.raises(InputError, match=r"asks for 'posix\.system'"):
        get()
    assert left() == []
    assert read_pins() == {}
    world.site.script[:] = [ranged(world.snapshot)]
    assert get().pinned


def test_a_grid_says_what_to_fetch(world, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "title: A\ndescription: B\nsamples: 4\nnfe: [5]\nmetrics: end-point-error\ndenoisers: {net: {source: toy}}\n"
        "series:\n  - {name: Heun, role: ours}\n"
    )
    store = ["--store", tmp_path / "s.sqlite"]
    for command, code, words in (
        (["plan", grid, *store], 0, "Not here yet: `harness fetch toy` gets all of it"),
        (["run", grid, *store], 2, "1 of its files are not here; `harness fetch toy` gets all of it"),
        (["sample", "toy", "-o", tmp_path / "sheet.png"], 2, "`harness fetch toy` gets it"),
    ):
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == code, done.output
        assert words in done.output


def test_an_import_that_was_killed_goes_on_without_a_download(world, monkeypatch):
    """What came is whole and pinned; only the import is missing."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.denoisers.checkpoints.convert.write_tensors", killed)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert left() == ["toy.pkl"]
    assert get().new
    assert len(world.site.requests) == 1
    assert left() == ["toy.safetensors"]


def test_a_full_disk_keeps_what_was_downloaded(world, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("harness.denoisers.checkpoints.convert.write_tensors", full)
        with pytest.raises(
            InputError, match=r"cannot be written \(No space left on device\).*What was downloaded is kept"
        ):
            get()
    assert left() == ["toy.pkl"]
    get()
    assert len(world.site.requests) == 1


def test_a_good_import_outlives_a_bad_one(world):
    get()
    first = identity("toy")
    world(label_dim=0, labels="none")
    with pytest.raises(InputError, match="classes of the fetched network is 3"):
        get(force=True)
    assert left() == ["toy.safetensors"]
    world()
    assert identity("toy") == first


def test_one_process_at_a_time_fetches_and_imports(world):
    files_dir().mkdir(parents=True)
    with (
        locked(files_dir() / "toy.pkl.fetch", "busy"),
        pytest.raises(InputError, match="another process is fetching"),
    ):
        get()
    assert get().new
