"""Cards, and the way from a name to a denoiser."""

import subprocess
import sys

import pytest
import torch
import yaml

from harness.core.embedded import data_dir, sha256_of
from harness.core.errors import InputError
from harness.denoisers.checkpoints.safetensors_file import save
from harness.denoisers.load import describe, identity, load_denoiser
from harness.hub import cards
from harness.hub.cache import Pin, check_pin
from harness.hub.cards import DenoiserCard, card_for, denoiser_cards, features_card, load_cards, write_card
from tests.denoisers.checkpoints.test_checkpoints import PROVENANCE, small


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder `pretrained` of our own with one network, `small`, and its card."""
    monkeypatch.setattr(cards, "data_dir", lambda name: tmp_path)
    save(tmp_path / "small.safetensors", small("vp"), PROVENANCE | {"data": "noise"})
    assert cards.main([str(tmp_path / "small.safetensors")]) == 0
    return tmp_path


def test_card_of_a_file(folder):
    card = denoiser_cards()["small"]
    net = small("vp")
    assert card.sha256 == sha256_of(folder / "small.safetensors")
    assert (card.file, card.dataset, card.licence) == ("small.safetensors", "noise", "Apache-2.0")
    assert card.recipe == "recipe small, 5 steps, 10 images, seed 3, fingerprint abc"
    assert (card.shape, card.label_dim, card.labels, card.preconditioning) == ((1, 8, 8), 3, "uniform", "vp")
    assert (card.sigma_min, card.sigma_max) == (net.sigma_min, net.sigma_max)
    assert card.parameters == sum(p.numel() for p in net.parameters())


def test_cards_are_kept_and_replaced(folder):
    write_card("other", card_for(folder / "small.safetensors", licence="MIT"))
    write_card("small", card_for(folder / "small.safetensors", dataset="changed"))
    found = load_cards()
    assert list(found) == ["other", "small"]
    assert (found["other"].licence, found["small"].dataset) == ("MIT", "changed")


def test_load_by_name_and_by_path(folder):
    by_name, by_path = load_denoiser("small"), load_denoiser(folder / "small.safetensors")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(by_name(x, torch.tensor(1.0)), by_path(x, torch.tensor(1.0)))
    assert describe("small") == describe(str(folder / "small.safetensors"))
    assert identity("small") == "sha256:" + sha256_of(folder / "small.safetensors")
    assert load_denoiser("small", dtype="float64").dtype == torch.float64


def test_altered_file(folder):
    expected = sha256_of(folder / "small.safetensors")
    save(folder / "small.safetensors", small("ve"), PROVENANCE)
    found = sha256_of(folder / "small.safetensors")
    with pytest.raises(InputError, match=f"small.safetensors: SHA-256 is {found}.*'small' says {expected}; restore"):
        load_denoiser("small")


def test_unknown_name_lists_the_known(folder):
    for ask in (load_denoiser, describe, identity):
        with pytest.raises(InputError, match="unknown denoiser 'smal'; known names: small, gaussian, mixture, diracs"):
            ask("smal")
    with pytest.raises(InputError, match="unknown feature network 'small'; known: none"):
        features_card("small")


def test_unknown_kind_of_file(folder):
    (folder / "net.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"net\.pt: not a checkpoint: it begins with b'x'; known: EDM snapshots"):
        load_denoiser(folder / "net.pt")


def test_bad_card_is_located(folder):
    text = cards.cards_file().read_text().replace("label_dim: 3", "label_dim: many")
    cards.cards_file().write_text(text)
    line = text.splitlines().index("    label_dim: many") + 1
    with pytest.raises(InputError, match=rf"cards\.yaml:{line}: cards\.small.*label_dim.*'many'"):
        load_cards()


def test_card_without_place():
    fields = {"sha256": "0" * 64, "dataset": "d", "licence": "l", "recipe": "r", "parameters": 1, "label_dim": 0}
    fields |= {"shape": [1, 8, 8], "labels": "none", "sigma_min": 0.1, "sigma_max": 2.0, "preconditioning": "vp"}
    with pytest.raises(ValueError, match="either `file` or `url`"):
        DenoiserCard(**fields)


FETCHED = {"kind": "denoiser", "url": "https://example.org/net.pkl", "dataset": "d", "licence": "l", "recipe": "r"}
FETCHED |= {"format": "edm-snapshot", "preconditioning": "edm", "shape": [1, 8, 8], "label_dim": 0, "labels": "none"}
FETCHED |= {"sigma_min": 0.0, "sigma_max": "inf"}
PACKED = {"url": None, "file": "net.safetensors", "sha256": "0" * 64, "parameters": 1, "format": "harness-denoiser"}
EXTRACTOR = {"kind": "extractor", "url": "https://example.org/net.pt", "dataset": "d", "licence": "l", "recipe": "r"}
EXTRACTOR |= {"sha256": "0" * 64, "width": 2048}


def in_file(folder, **entries):
    """Cards by name, through the YAML file."""
    path = folder / "cards.yaml"
    path.write_text(yaml.safe_dump({"cards": entries}))
    return load_cards(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (FETCHED | {"url": "http://example.org/net.pkl"}, "only https is fetched"),
        (FETCHED | {"url": "https://me:hunter2@example.org/net.pkl"}, "an address with a user or password is refused"),
        (FETCHED | {"url": "https://example.org/"}, "the address should end in a file's name"),
        (FETCHED | {"url": "https://example.org/.."}, "the address should end in a file's name"),
        (FETCHED | {"size": 0}, "greater than or equal to 1"),
        (FETCHED | {"sha256": "abc"}, "sha256"),
        (FETCHED | PACKED | {"sha256": None}, "a card with `file` needs its `sha256`; only what is fetched"),
        (FETCHED | PACKED | {"parameters": None}, "a card with `file` needs its `parameters`"),
        (FETCHED | PACKED | {"format": "edm-snapshot"}, "has format harness-denoiser, and this is edm-snapshot"),
        ({key: value for key, value in EXTRACTOR.items() if key != "sha256"}, "sha256: this key is required"),
        (EXTRACTOR | {"sha256": None}, "valid string; we got None"),
        (EXTRACTOR | {"kind": "reference"}, "extractor: this key is required"),
    ],
)
def test_cards_that_cannot_be(tmp_path, fields, message):
    with pytest.raises(InputError, match=message) as caught:
        in_file(tmp_path, far=fields)
    assert "cards.yaml:" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_two_cards_with_one_place(tmp_path):
    other = FETCHED | {"url": "https://example.org/other/net.pkl"}
    with pytest.raises(InputError, match=r"'far' and 'near' would both be net\.pkl in the cache; rename one's file"):
        in_file(tmp_path, far=FETCHED, near=other)


def test_a_card_of_a_file_that_is_fetched(tmp_path, monkeypatch):
    """Missing, unknown, pinned, altered: every message says what to do."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    card = in_file(tmp_path, far=FETCHED)["far"]
    assert (card.sha256, card.size, card.parameters) == (None, None, None)
    with pytest.raises(InputError, match=r"'far' is not here; `harness fetch far` gets it$"):
        cards.checked_path("far", card)
    with pytest.raises(InputError, match=r"`harness fetch far` gets it \(5,000,000 bytes\)$"):
        cards.checked_path("far", card.model_copy(update={"size": 5_000_000}))
    path = tmp_path / "files" / "net.safetensors"  # what is used of a snapshot
    path.parent.mkdir()
    path.write_bytes(b"weights")
    with pytest.raises(InputError, match="nobody knows its hash, since it was not fetched; `harness fetch far` gets"):
        cards.checked_path("far", card)
    found = sha256_of(path)
    check_pin(cards.pin_name(card), Pin(found, 7))
    assert cards.checked_path("far", card) == path
    path.write_bytes(b"other weights")
    with pytest.raises(InputError, match=f"and when it was fetched it was {found}; `harness fetch far` gets it anew"):
        cards.checked_path("far", card)
    eyes = in_file(tmp_path, eyes=EXTRACTOR)["eyes"]
    (tmp_path / "files" / "net.pt").write_bytes(b"weights")
    with pytest.raises(
        InputError, match=f"SHA-256 is {found}, and the card says {'0' * 64}; `harness fetch eyes` gets"
    ):
        cards.checked_path("eyes", eyes)
    assert cards.checked_path("eyes", eyes.model_copy(update={"sha256": found})) == tmp_path / "files" / "net.pt"


def test_the_official_cards():
    """What the authors of EDM published: 18 networks, 5 statistics, and the network that these are from, twice."""
    official = {name: card for name, card in load_cards().items() if card.url is not None}
    kinds = [card.kind for card in official.values()]
    assert (kinds.count("denoiser"), kinds.count("reference"), kinds.count("extractor"), len(kinds)) == (18, 5, 2, 25)
    base = "https://nvlabs-fi-cdn.nvidia.com/"
    ranges = {"edm": (0.0, float("inf")), "vp": (0.0009765625, 152.16697692871094), "ve": (0.02, 100.0)}
    ranges["iddpm"] = (0.006422337144613266, 20291.169921875)
    for name, card in official.items():
        if card.kind == "denoiser":
            family, data, size, classes, network = name.split("-")
            side = int(size.split("x")[0])
            folder = "edm/pretrained/baseline" if family == "baseline" else "edm/pretrained"
            assert card.url == f"{base}{folder}/{name}.pkl"
            assert card.preconditioning == ("edm" if family == "edm" else {"adm": "iddpm"}.get(network, network))
            assert (card.sigma_min, card.sigma_max) == ranges[card.preconditioning]
            assert card.shape == (3, side, side)
            assert card.label_dim == ({"cifar10": 10, "imagenet": 1000}[data] if classes == "cond" else 0)
            assert card.labels == ("uniform" if card.label_dim else "none")
            assert (card.format, card.licence, card.sha256) == ("edm-snapshot", "CC BY-NC-SA 4.0", None)
        elif card.kind == "reference":
            assert card.url == f"{base}edm/fid-refs/{name.removeprefix('fid-')}.npz"
            assert (card.width, card.format) == (2048, "npz")
            assert official[card.extractor].width == card.width
    inception = official["inception-2015-12-05"]
    assert inception.sha256 == "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    assert inception.size == 95_607_719
    weights = official["inception-pt-2015-12-05"]
    assert weights.url.endswith("/v0.2.0/weights-inception-2015-12-05-6726825d.pth")
    assert weights.sha256.startswith("6726825d") and weights.format == "inception-weights"


def test_no_cards_yet(tmp_path):
    assert load_cards(tmp_path / "cards.yaml") == {}


@pytest.mark.parametrize("spec", ["ideal", "gaussian", {"kind": "gaussian", "std": 0.5}])
def test_analytic(spec):
    denoiser, facts = load_denoiser(spec), describe(spec)
    assert (denoiser.shape, denoiser.label_dim) == (facts.shape, facts.label_dim)
    assert (denoiser.sigma_min, denoiser.sigma_max, denoiser.cost) == (facts.sigma_min, facts.sigma_max, facts.cost)
    with pytest.raises(InputError, match="computes in float64"):
        load_denoiser(spec, dtype="float32")


def test_identity_of_a_spec_has_its_defaults():
    assert identity("gaussian") == identity({"kind": "gaussian", "mean": 0.0, "std": 0.5})
    assert identity("gaussian") != identity({"kind": "gaussian", "std": 0.6})


def test_unknown_dtype():
    with pytest.raises(InputError, match="dtype is float32 or float64; we got float16"):
        load_denoiser("gaussian", dtype="float16")


def test_planning_needs_no_torch():
    code = "import sys; from harness.denoisers.load import describe; describe('ideal'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_data_dir():
    assert data_dir("pretrained").name == "pretrained"
    with pytest.raises(InputError, match="cannot find the folder 'nothing'"):
        data_dir("nothing")  # type: ignore[arg-type]


def test_every_card_that_comes_along_fits_its_file():
    packed = {name: card for name, card in load_cards().items() if card.file is not None}
    assert len(packed) == 13
    for name, card in packed.items():
        assert cards.checked_path(name, card).is_file()
    for name, card in denoiser_cards().items():
        if name not in packed:
            continue
        net = load_denoiser(name)
        assert (net.shape, net.label_dim) == (card.shape, card.label_dim)
        assert (net.sigma_min, net.sigma_max) == (card.sigma_min, card.sigma_max)
