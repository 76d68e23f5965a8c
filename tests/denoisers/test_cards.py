"""Cards, and the way from a name to a denoiser."""

import subprocess
import sys

import pytest
import torch

from harness.data_files import data_dir, sha256_of
from harness.denoisers import cards
from harness.denoisers.cards import DenoiserCard, card_for, denoiser_cards, features_card, load_cards, write_card
from harness.denoisers.checkpoints.safetensors_file import save
from harness.denoisers.load import describe, identity, load_denoiser
from harness.errors import InputError
from tests.denoisers.test_checkpoints import PROVENANCE, small


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


def test_card_without_place(monkeypatch, tmp_path):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    fields = {"sha256": "0" * 64, "dataset": "d", "licence": "l", "recipe": "r", "parameters": 1, "label_dim": 0}
    fields |= {"shape": [1, 8, 8], "labels": "none", "sigma_min": 0.1, "sigma_max": 2.0, "preconditioning": "vp"}
    with pytest.raises(ValueError, match="either `file` or `url`"):
        DenoiserCard(**fields)
    card = DenoiserCard(**fields, url="https://example.org/net")
    with pytest.raises(InputError, match=r"'far' is not here yet; `harness fetch far` gets it"):
        cards.checked_path("far", card)
    with pytest.raises(ValueError, match="needs its `sha256`"):
        DenoiserCard(**{**fields, "sha256": None}, file="net.safetensors")
    with pytest.raises(ValueError, match="url"):
        DenoiserCard(**fields, url="http://example.org/net")


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
    embedded = {name: card for name, card in load_cards().items() if card.file is not None}
    assert len(embedded) == 5
    for name, card in embedded.items():
        assert cards.checked_path(name, card).is_file()
    for name, card in denoiser_cards().items():
        if name not in embedded:
            continue
        net = load_denoiser(name)
        assert (net.shape, net.label_dim) == (card.shape, card.label_dim)
        assert (net.sigma_min, net.sigma_max) == (card.sigma_min, card.sigma_max)
