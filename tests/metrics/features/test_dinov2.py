"""DINOv2 from a folder, with a small random network of the same kind."""

import pytest
import torch

from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.metrics.features.configs import DinoV2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    path = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(path)
    return path


def test_the_class_token_of_normalised_images(folder):
    from transformers import Dinov2Model

    choice = DinoV2(path=str(folder))
    extractor = choice.load((3, 32, 32))
    seen = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    values = torch.nn.functional.interpolate(seen.float() / 255, (224, 224), mode="bicubic", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        network = Dinov2Model.from_pretrained(folder).eval()
        expected = network((values - mean[:, None, None]) / std[:, None, None]).pooler_output
    found = extractor(from_bytes(seen))
    assert extractor.width == 24 and found.shape == (3, 24)
    assert torch.allclose(found, expected.double(), atol=1e-6)
    assert extractor.id == choice.identity and extractor.id.endswith(":cls:bicubic224")


def test_folders_that_are_none(folder, tmp_path):
    with pytest.raises(InputError, match=r"model\.safetensors: there is no such file"):
        DinoV2(path=str(tmp_path)).check()
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100])
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"not a folder of DINOv2"):
        DinoV2(path=str(tmp_path)).load((3, 8, 8))
