"""Feature networks that are programs: run only when somebody vouches for them, and held to what they should give."""

import pytest
import torch
from torch import nn

from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.metrics.features.configs import DigitsFeatures, Exported, Inception, Pixels, TorchScript, read_extractor
from tests.metrics.features.programs import Official, Plain, export, script

SHAPE = (3, 8, 8)


def images(channels=3, count=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, 8, 8), dtype=torch.uint8, generator=generator)


@pytest.fixture
def official(tmp_path):
    path = tmp_path / "detector.pt"
    return Inception(path=str(path), sha256=script(Official(), path), width=24)


class TestOfficial:
    def test_features_and_probabilities(self, official):
        module, seen = Official(), images()
        found = official.load(SHAPE).outputs(from_bytes(seen), probabilities=True)
        with torch.no_grad():
            assert torch.equal(found.features, module(seen, return_features=True).double())
            assert torch.equal(found.probabilities, module(seen, no_output_bias=True).double())

    def test_grey_is_repeated(self, official):
        extractor = official.load((1, 8, 8))
        grey = from_bytes(images(1))
        assert torch.equal(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)))

    def test_another_width_is_refused(self, official):
        with pytest.raises(InputError, match=r"should give \[5, 2048\] features; we got \[5, 24\]"):
            official.model_copy(update={"width": 2048}).load(SHAPE)(from_bytes(images()))

    def test_another_signature_is_refused(self, tmp_path):
        path = tmp_path / "plain.pt"
        choice = Inception(path=str(path), sha256=script(Plain(), path))
        with pytest.raises(InputError, match=r"the network takes x, and the official one takes `return_features`"):
            choice.load(SHAPE)

    def test_the_published_file_is_named_when_it_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
        with pytest.raises(InputError, match="`harness fetch inception-2015-12-05` gets it"):
            Inception().check()
        assert Inception().identity == "inception:f58cb9b6ec32:pool2048:tf299"

    def test_the_published_file_must_be_that_of_the_card(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
        (tmp_path / "files").mkdir()
        script(Official(), tmp_path / "files" / "inception-2015-12-05.pt")
        with pytest.raises(InputError, match=r"SHA-256 is [0-9a-f]{64}, and the card says f58cb9b6"):
            Inception().load(SHAPE)


class TestTrust:
    def test_nothing_runs_without_a_hash(self, tmp_path):
        path = tmp_path / "own.pt"
        digest = script(Plain(), path)
        with pytest.raises(InputError, match=f"none is run whose SHA-256 .* this file's is {digest}"):
            TorchScript(path=str(path)).load(SHAPE)
        with pytest.raises(InputError, match="not on a card or given"):
            Inception(path=str(path)).load(SHAPE)

    @pytest.mark.parametrize("kind", [TorchScript, Exported, Inception])
    def test_nothing_runs_with_another_hash(self, kind, tmp_path):
        path = tmp_path / "own.pt"
        digest = script(Plain(), path)
        choice = kind(path=str(path), sha256="0" * 64)
        for use in (choice.check, lambda: choice.load(SHAPE)):
            with pytest.raises(InputError, match=f"SHA-256 is {digest}, not 0000"):
                use()

    @pytest.mark.parametrize("kind", [TorchScript, Exported])
    def test_what_is_no_program(self, kind, tmp_path):
        import hashlib

        path = tmp_path / "own.pt"
        path.write_bytes(b"something else")
        choice = kind(path=str(path), sha256=hashlib.sha256(b"something else").hexdigest())
        with pytest.raises(InputError, match=r"not a (TorchScript module|program of torch\.export)"):
            choice.load(SHAPE)
        with pytest.raises(InputError, match="no such file"):
            kind(path=str(tmp_path / "none"), sha256="0" * 64).check()


class TestAnybodys:
    @pytest.mark.parametrize("values", ["bytes", "unit"])
    def test_torchscript(self, values, tmp_path):
        path = tmp_path / "own.pt"
        choice = TorchScript(path=str(path), sha256=script(Plain(), path), values=values)
        extractor, seen = choice.load(SHAPE), images()
        assert extractor.width == 12
        given = seen if values == "bytes" else from_bytes(seen)
        assert torch.allclose(extractor(from_bytes(seen)), Plain()(given).flatten(1).double())
        assert extractor.id == choice.identity == f"torchscript:{choice.sha256[:12]}:{values}3"

    def test_exported(self, tmp_path):
        path = tmp_path / "own.pt2"
        choice = Exported(path=str(path), sha256=export(Plain(), path))
        extractor, seen = choice.load(SHAPE), images(count=7)
        assert torch.allclose(extractor(from_bytes(seen)), Plain()(from_bytes(seen)).flatten(1).double())

    def test_one_that_gives_no_features(self, tmp_path):
        class Count(nn.Module):
            def forward(self, x: torch.Tensor) -> int:
                return x.shape[0]

        path = tmp_path / "own.pt"
        with pytest.raises(InputError, match=r"should give a floating tensor \[N, d\]; we got int"):
            TorchScript(path=str(path), sha256=script(Count(), path)).load(SHAPE)

    def test_one_that_fails(self, tmp_path):
        class Fails(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x @ torch.zeros(3, 3)

        path = tmp_path / "own.pt"
        with pytest.raises(InputError, match="failed on a batch of images"):
            TorchScript(path=str(path), sha256=script(Fails(), path)).load(SHAPE)

    def test_classes_are_not_asked_of_those_that_have_none(self):
        with pytest.raises(InputError, match="tells no classes, and an Inception Score needs them"):
            Pixels().load(SHAPE).outputs(from_bytes(images()), probabilities=True)


class TestPixels:
    def test_pixels_are_parts_of_the_range(self):
        seen = images()
        found = Pixels().load(SHAPE)(from_bytes(seen))
        assert torch.allclose(found, seen.flatten(1).double() / 255, atol=1e-7)

    def test_averages(self):
        seen = images()
        found = Pixels(size=2).load(SHAPE)(from_bytes(seen))
        expected = seen.double().unflatten(3, (2, 4)).unflatten(2, (2, 4)).mean((3, 5)) / 255
        assert torch.allclose(found, expected.flatten(1), atol=1e-7)

    @pytest.mark.parametrize("size", [3, 16])
    def test_a_size_that_does_not_divide(self, size):
        with pytest.raises(InputError, match=f"8x8 pixels cannot be averaged to {size}x{size}"):
            Pixels(size=size).load(SHAPE)

    def test_other_images(self):
        with pytest.raises(InputError, match=r"takes images \[3, 8, 8\]; we got \[1, 8, 8\]"):
            Pixels().load(SHAPE)(from_bytes(images(1)))


def test_digits_have_classes():
    extractor = DigitsFeatures().load((1, 8, 8))
    found = extractor.outputs(from_bytes(images(1)), probabilities=True)
    assert extractor.id == DigitsFeatures().identity
    assert found.probabilities.shape == (5, 10)
    assert torch.allclose(found.probabilities.sum(1), torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inceptio", "unknown kind 'inceptio'; allowed: 'inception', 'inception-pt'"),
        ("{kind: raw, sizes: 3}", "sizes: unknown key"),
        ("{kind: raw, size: 0}", "size: input should be greater than or equal to 1; we got 0"),
        ("{kind: torchscript}", "path: this key is required"),
        ("{kind: inception, path: a.pt, sha256: abc}", "sha256: "),
        ("{kind: raw", "not valid YAML"),
    ],
)
def test_choices_that_are_none(text, message):
    with pytest.raises(InputError, match=message):
        read_extractor(text)


def test_choices_from_a_command_line():
    assert read_extractor("raw") == Pixels()
    assert read_extractor("{kind: raw, size: 4}") == Pixels(size=4)
    assert read_extractor('{"kind": "inception", "width": 64}') == Inception(width=64)
