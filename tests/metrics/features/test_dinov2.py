"""DINOv2 from a folder, with a small random network of the same kind."""

import json
import shutil

import pytest
import torch

from harness.core.errors import InputError
from harness.datasets.image_bytes import from_bytes
from harness.metrics.features.configs import DinoV2
from harness.metrics.features.dinov2 import official_positions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    path = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14)
    Dinov2Model(config).save_pretrained(path)
    return path


def officially(self, embeddings, height, width):
    """The rule of the authors' code, as one would put it into the library's class."""
    own, grid = self.position_embeddings[:, :1], self.position_embeddings[:, 1:].reshape(1, 37, 37, -1)
    scale = tuple((side // 14 + 0.1) / 37 for side in (height, width))
    grid = torch.nn.functional.interpolate(grid.permute(0, 3, 1, 2), scale_factor=scale, mode="bicubic")
    return torch.cat([own, grid.flatten(2).transpose(1, 2)], 1)


@pytest.mark.parametrize("positions", ["official", "library"])
def test_the_class_token_of_normalised_images(folder, positions, monkeypatch):
    from transformers import Dinov2Model
    from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

    choice = DinoV2(path=str(folder), positions=positions)
    if positions == "official":
        monkeypatch.setattr(Dinov2Embeddings, "interpolate_pos_encoding", officially)
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
    assert extractor.id == choice.identity and extractor.id.endswith(f":{positions}-positions:cls:bicubic224")


def test_where_the_table_of_positions_is_read():
    columns = torch.arange(37.0).expand(37, 37).reshape(1, -1, 1)
    read = official_positions(torch.cat([torch.full((1, 1, 1), -1.0), columns], 1), 16)[0, :, 0]
    assert read[0] == -1 and read.shape == (257,)
    middle = read[1:].reshape(16, 16)[8, 8]
    assert abs(middle - (8.5 * 37 / 16.1 - 0.5)) < 0.02
    assert abs(middle - (8.5 * 37 / 16 - 0.5)) > 0.1  # where the library reads it
    small = torch.randn(1, 257, 3, generator=torch.Generator().manual_seed(0))
    assert official_positions(small, 16) is small


def test_configuration_and_rule_are_part_of_the_identity(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert DinoV2(path=str(copy)).identity == DinoV2(path=str(folder)).identity
    assert DinoV2(path=str(copy), positions="library").identity != DinoV2(path=str(copy)).identity
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.1}))
    assert DinoV2(path=str(copy)).identity != DinoV2(path=str(folder)).identity


def test_another_network_and_weights_that_are_not_whole(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "dinov2_with_registers"}))
    with pytest.raises(InputError, match=r"config\.json says model_type 'dinov2_with_registers'"):
        DinoV2(path=str(copy)).load((3, 8, 8))
    (copy / "config.json").write_text(json.dumps(config))
    weights = load_file(copy / "model.safetensors")
    del weights["layernorm.bias"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 of the network's tensors, 'layernorm\.bias' first"):
        DinoV2(path=str(copy)).load((3, 8, 8))


def test_folders_that_are_none(folder, tmp_path):
    with pytest.raises(InputError, match=r"model\.safetensors: there is no such file"):
        DinoV2(path=str(tmp_path)).check()
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100])
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"not a folder of DINOv2"):
        DinoV2(path=str(tmp_path)).load((3, 8, 8))
