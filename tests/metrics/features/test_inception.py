"""Our Inception-v3 against torch-fidelity's, on the same random weights; what a file of weights can get wrong."""

import numpy as np
import pytest
import torch

from harness.core.errors import InputError, SamplingError
from harness.datasets.image_bytes import from_bytes
from harness.metrics.features.configs import InceptionPT
from harness.metrics.features.inception import CLASSES, WIDTH, resize
from tests.conftest import GOLDEN
from tests.metrics.features.judge import judge, random_weights


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(random_weights(), path)
    return path


@pytest.fixture(scope="module")
def ours(file):
    return InceptionPT(path=str(file)).load((3, 32, 32))


@pytest.fixture(scope="module")
def theirs(file):
    return judge(file)


def images(shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def natural():
    """Eight samples of CIFAR-10's size by a small network: smooth, as photographs are and noise is not."""
    small = images((8, 3, 6, 6), 3).float()
    return torch.nn.functional.interpolate(small, (32, 32), mode="bicubic").clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    "seen",
    [images((4, 3, 32, 32)), natural(), images((2, 3, 299, 299)), images((2, 3, 310, 280)), images((2, 3, 8, 64))],
    ids=["32", "smooth", "299", "larger", "oblong"],
)
def test_features_and_logits_are_those_of_torch_fidelity(ours, theirs, seen):
    with torch.no_grad():
        features, unbiased, logits = theirs(seen)
        found = ours.outputs(from_bytes(seen), probabilities=True)
        ours_logits = ours.network.logits(found.features.float())
    assert features.std(0).max() > 1e-3 * features.abs().max()  # the weights do tell images apart
    for mine, other in [
        (found.features, features),
        (ours_logits, logits),
        (found.probabilities, unbiased.double().softmax(1)),
    ]:
        worst = ((mine - other).abs().amax(1) / other.abs().amax(1)).max()
        assert worst < 1e-4  # seen: 6e-7


def test_shapes_and_identity(ours, file):
    assert (ours.width, ours.classes) == (WIDTH, CLASSES) == (2048, 1008)
    found = ours(from_bytes(images((2, 3, 32, 32))))
    assert found.shape == (2, 2048) and found.dtype == torch.float64
    assert ours.id == InceptionPT(path=str(file)).identity
    assert ours.id.startswith("inception-pt:") and ours.id.endswith(":pool2048:tf299")


def test_grey_is_repeated(ours):
    grey = images((2, 1, 32, 32))
    assert torch.equal(ours(from_bytes(grey)), ours(from_bytes(grey.expand(-1, 3, -1, -1))))


def test_values_become_bytes_first(ours):
    values = from_bytes(images((2, 3, 32, 32))).double()
    assert torch.equal(ours(values), ours(values + 0.4 / 127.5))


def test_what_it_does_not_take(ours):
    with pytest.raises(InputError, match=r"takes images of 3 channels; we got 4"):
        ours(torch.zeros(2, 4, 8, 8))
    with pytest.raises(InputError, match=r"need images \[N, C, H, W\]; we got \[3, 8, 8\]"):
        ours(torch.zeros(3, 8, 8))
    with pytest.raises(SamplingError, match="not finite"):
        ours(torch.full((2, 3, 8, 8), torch.nan))


def test_resizing_is_tensorflows():
    """Output i lies at i * 2 / 4 of the input; the last pixel stays to the end."""
    row = torch.tensor([[[[0.0, 10.0], [20.0, 30.0]]]])
    expected = [[0, 5, 10, 10], [10, 15, 20, 20], [20, 25, 30, 30], [20, 25, 30, 30]]
    assert resize(row, 4)[0, 0].tolist() == expected


def test_weights_that_do_not_fit(tmp_path):
    weights = random_weights()
    del weights["Mixed_7c.branch3x3_2a.conv.weight"]
    torch.save(weights, tmp_path / "short.pth")
    with pytest.raises(InputError, match=r"not the Inception-v3 of FID: 'Mixed_7c.branch3x3_2a.conv.weight' is none"):
        InceptionPT(path=str(tmp_path / "short.pth")).load((3, 8, 8))
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the Inception-v3 of FID"):
        InceptionPT(path=str(tmp_path / "other.pth")).load((3, 8, 8))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(InputError, match=r"not a file of torch\.save"):
        InceptionPT(path=str(tmp_path / "text.pth")).load((3, 8, 8))
    with pytest.raises(InputError, match="there is no such file"):
        InceptionPT(path=str(tmp_path / "none.pth")).check()


def test_on_images_of_a_network(ours, theirs):
    """The official network's samples of CIFAR-10's shape, from the golden files."""
    arrays = np.load(GOLDEN / "net_sampling.npz", allow_pickle=False)
    names = [name for name in arrays.files if name.endswith(".uint8") and arrays[name].shape[-1] == 3]
    assert names
    seen = torch.from_numpy(arrays[names[0]]).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        features = theirs(seen)[0]
    assert ((ours(from_bytes(seen)) - features).abs().max() / features.abs().max()) < 1e-4
