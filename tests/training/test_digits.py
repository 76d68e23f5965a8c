"""The digits and the features measured on them."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from harness.core.errors import InputError
from harness.hub.digits import load_digits, split_digits
from harness.metrics.features.digits import FORMAT, DigitClassifier, load_digit_features, to_bytes_and_back
from harness.training.tasks import shift


def test_all_digits():
    digits = load_digits()
    assert digits.images.shape == (1797, 1, 8, 8) and digits.images.dtype == torch.float32
    assert digits.labels.shape == (1797,) and digits.labels.unique().tolist() == list(range(10))
    assert (digits.images.min(), digits.images.max()) == (-1, 1)
    assert torch.equal(digits.images * 8, (digits.images * 8).round())


def test_split_is_a_partition():
    train, test = split_digits()
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert torch.equal(test.images, load_digits().images[::5])


def test_shift_moves_by_a_pixel_at_most_and_fills_with_background():
    image = torch.full((200, 1, 8, 8), -1.0)
    image[:, 0, 3, 4] = 1.0
    moved = shift(image, torch.Generator().manual_seed(0))
    where = {tuple(spot.tolist()) for spot in moved.eq(1).nonzero()[:, 2:]}
    assert where == {(row, column) for row in (2, 3, 4) for column in (3, 4, 5)}
    assert moved.eq(1).sum() == 200


def test_quantisation_is_that_of_a_png():
    images = torch.linspace(-1.2, 1.2, 64).reshape(1, 1, 8, 8)
    pixels = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[0, 0]).save(file, "PNG")
    read = torch.tensor(np.array(Image.open(file))).float() / 127.5 - 1
    assert torch.equal(to_bytes_and_back(images)[0, 0], read)
    assert torch.equal(to_bytes_and_back(read), read)


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    network = DigitClassifier(4, 16)
    header = {"format": FORMAT, "config": json.dumps(network.config), "facts": json.dumps({"test_accuracy": 0.5})}
    save_file(network.state_dict(), tmp_path / "features.safetensors", metadata=header)
    return tmp_path / "features.safetensors"


def test_features_have_an_identity_and_are_bounded(file):
    features = load_digit_features(file)
    found = features(load_digits().images[:20].double())
    assert found.shape == (20, 16) and found.dtype == torch.float64
    assert found.abs().max() < 1
    assert torch.equal(found, load_digit_features(file)(load_digits().images[:20]))
    assert features.id.startswith("digits-features:") and features.id.endswith(":tanh16")
    assert len(features.id.split(":")[1]) == 12
    assert features.facts == {"test_accuracy": 0.5}


def test_other_shapes_are_refused(file):
    with pytest.raises(InputError, match=r"\[N, 1, 8, 8\]; we got \[2, 3, 8, 8\]"):
        load_digit_features(file)(torch.zeros(2, 3, 8, 8))


def test_unusable_files_are_named(file, tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        load_digit_features(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_digit_features(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(InputError, match="holds no digit features"):
        load_digit_features(tmp_path / "other")
    save_file({"a": torch.zeros(1)}, tmp_path / "damaged", metadata={"format": FORMAT, "config": "{}"})
    with pytest.raises(InputError, match="damaged"):
        load_digit_features(tmp_path / "damaged")
