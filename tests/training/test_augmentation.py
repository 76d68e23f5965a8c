"""The augmentation against an independent reference: images known at every point, warped by inverted 3 x 3 matrices."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch.nn.functional import grid_sample

from harness.core.errors import InputError
from harness.training.augmentation import DELAY, SYM6, Augmentation, warp
from harness.training.losses import DenoisingLoss, EDMLoss

PAPER = Augmentation()
ALWAYS = Augmentation(probability=1.0)
XFLIP, YFLIP, SCALE, THETA, STRETCH, R, X, Y = range(8)
COLUMNS = {"yflip": [1], "scale": [2], "rotate": [3, 4], "anisotropic": [5, 6], "translate": [7, 8]}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=seeded(9), dtype=dtype)


def parameters(**columns):
    """One row of parameters; those that are not named are zero."""
    row = torch.zeros(1, 8, dtype=torch.float64)
    for name, value in columns.items():
        row[0, globals()[name]] = value
    return row


class Waves:
    """Cosines that are mirror images of themselves at the outer pixels: their mirrored image is known everywhere.

    f = sum of a cos(pi k i / (W - 1)) cos(pi l j / (H - 1)), i and j in pixels from the corner; `at` takes pixels
    from the centre.
    """

    def __init__(self, height, width, highest=4):
        self.size = np.array([width, height])
        waves = np.stack(np.meshgrid(np.arange(highest + 1), np.arange(highest + 1)), -1).reshape(-1, 2)
        self.frequencies = waves * np.pi / (self.size - 1)
        self.amplitudes = np.random.default_rng(1).normal(size=len(waves)) / len(waves)

    def at(self, p):
        cosines = np.cos((p[..., None, :] + (self.size - 1) / 2) * self.frequencies)
        return (self.amplitudes * cosines.prod(-1)).sum(-1)

    def pixels(self):
        """Positions from the centre, [H, W, 2]."""
        width, height = self.size
        x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
        return np.stack([x, y], -1)

    def image(self):
        return torch.tensor(self.at(self.pixels()))[None, None]

    def bilinear_error(self, step):
        """Bound of bilinear interpolation: step^2 / 8 max |f''| on both axes."""
        return step**2 / 8 * (np.abs(self.amplitudes)[:, None] * self.frequencies**2).sum()


def forward(augmentation, row, size):
    """The map of the documentation, in order, as a 3 x 3 matrix on (x, y, 1); y points down."""

    def linear(a, b, c, d):
        return np.array([[a, b, 0], [c, d, 0], [0, 0, 1]])

    def counter_clockwise(angle):
        # up is -y: the point (1, 0) goes to (cos, -sin)
        return linear(np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle))

    xflip, yflip, w, theta, stretch, r, w_x, w_y = row.tolist()
    scale, s = 2 ** (augmentation.scale_std * w), 2 ** (augmentation.anisotropic_std * stretch)
    shift = np.eye(3)
    shift[:2, 2] = np.array([w_x, w_y]) * augmentation.translate_std * size
    along = counter_clockwise(r)
    steps = [
        linear(-1 if xflip else 1, 0, 0, -1 if yflip else 1),
        linear(scale, 0, 0, scale),
        counter_clockwise(theta),
        along @ linear(s, 0, 0, 1 / s) @ along.T,
        shift,
    ]
    matrix = np.eye(3)
    for step in steps:
        matrix = step @ matrix
    return matrix


def sources(augmentation, row, waves):
    """Where every output pixel comes from, [H, W, 2], by solving with the forward matrix."""
    pixels = waves.pixels()
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
    return (homogeneous @ np.linalg.inv(forward(augmentation, row, waves.size)).T)[..., :2]


def test_filter_is_the_orthonormal_sym6():
    c, n = np.array(SYM6), np.arange(12)
    assert c.sum() == pytest.approx(math.sqrt(2), abs=1e-11)
    for shift in range(6):
        assert (c[2 * shift :] * c[: 12 - 2 * shift]).sum() == pytest.approx(float(shift == 0), abs=1e-11)
    for power in range(6):  # vanishing moments; what they leave open of 12 taps is settled by the delay
        assert ((-1.0) ** n * (n - 5.5) ** power * c).sum() == pytest.approx(0, abs=1e-8)
    assert pytest.approx(5.098260899, abs=1e-8) == DELAY


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3), (8, 8), (13, 7), (32, 32)])
def test_identity_map_gives_the_image_back(size, dtype, tolerance):
    images = noise(2, 3, *size, dtype=dtype)
    same = warp(images, torch.eye(2, 3, dtype=torch.float64).expand(2, 2, 3))
    assert same.dtype == dtype
    assert torch.allclose(same, images, rtol=0, atol=tolerance)


def test_nothing_applied_is_the_identity_bit_for_bit():
    images = noise(20, 3, 8, 8)
    images[0, 0, 0, 0] = -0.0
    same, labels = Augmentation(probability=0.0)(images, seeded())
    assert same.data_ptr() != images.data_ptr()
    assert torch.equal(same.view(torch.int32), images.view(torch.int32))
    assert torch.equal(labels, torch.zeros(20, 9))


def test_only_the_rows_that_something_is_applied_to_change():
    images = noise(200, 1, 8, 8)
    before = images.clone()
    changed, labels = Augmentation(xflip=0.3)(images, seeded())
    untouched = (labels == 0).all(1)
    assert 0.2 < untouched.float().mean() < 0.8
    assert torch.equal(changed[untouched], images[untouched])
    assert (changed[~untouched] != images[~untouched]).flatten(1).any(1).all()
    assert torch.equal(images, before)


def test_flips_are_exact():
    images = noise(1, 2, 5, 6)
    for columns, dims in (({"XFLIP": 1}, [3]), ({"YFLIP": 1}, [2]), ({"XFLIP": 1, "YFLIP": 1}, [2, 3])):
        assert torch.equal(PAPER.apply(images, parameters(**columns))[0], images.flip(dims))


CASES = {
    "larger": {"SCALE": 1.5},
    "smaller": {"SCALE": -2.0},
    "turned": {"THETA": 0.7},
    "turned back": {"THETA": -2.5},
    "nearly upside down": {"THETA": -3.0},
    "wider": {"STRETCH": 1.2},
    "along a direction": {"STRETCH": -1.3, "R": 0.6},
    "right": {"X": 1.1},
    "down": {"Y": 0.9},
    "far outside": {"X": -20.3, "Y": 31.7},
    "all": {"XFLIP": 1, "SCALE": 0.8, "THETA": 0.5, "STRETCH": 1.1, "R": -2.0, "X": 0.4, "Y": -0.7},
    "all and smaller": {"YFLIP": 1, "SCALE": -1.5, "THETA": 2.9, "STRETCH": -0.9, "R": 1.0, "X": -0.3, "Y": 1.2},
}


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("case", CASES)
def test_every_pixel_equals_the_image_known_everywhere(case, size):
    waves, row = Waves(*size), parameters(**CASES[case])
    found = PAPER.apply(waves.image(), row)[0][0, 0].numpy()
    source = sources(PAPER, row[0], waves)
    error = np.abs(found - waves.at(source))
    # The fine grid has steps of half a pixel. The bound has room for the filter's phase, which is not quite linear.
    assert error.max() <= waves.bilinear_error(0.5)
    grid = torch.tensor(source / ((waves.size - 1) / 2))[None]
    plain = grid_sample(waves.image(), grid, padding_mode="reflection", align_corners=True)[0, 0].numpy()
    assert np.sqrt((error**2).mean()) < 0.5 * np.sqrt(((plain - waves.at(source)) ** 2).mean())


def test_signs_as_documented():
    y, x = torch.meshgrid(*[torch.arange(-16.0, 17, dtype=torch.float64)] * 2, indexing="ij")
    dot = torch.exp(-((x - 5) ** 2 + y**2) / 4)[None, None]  # 5 pixels to the right of the middle

    def moved(**columns):
        image = PAPER.apply(dot, parameters(**columns))[0][0, 0]
        return [float((v * image).sum() / image.sum()) for v in (x, y)]

    for columns, place in (
        ({}, (5, 0)),
        ({"THETA": math.pi / 2}, (0, -5)),  # counter-clockwise: from the right to the top
        ({"X": 1}, (5 + 33 / 8, 0)),
        ({"Y": 1}, (5, 33 / 8)),
        ({"SCALE": 2}, (5 * 2**0.4, 0)),
        ({"STRETCH": 2}, (5 * 2**0.4, 0)),
        ({"STRETCH": 2, "R": math.pi / 2}, (5 / 2**0.4, 0)),
        ({"STRETCH": 2, "R": math.pi / 4}, (5 * math.cosh(0.4 * math.log(2)), -5 * math.sinh(0.4 * math.log(2)))),
    ):
        assert moved(**columns) == pytest.approx(place, abs=0.02), columns


def test_labels_are_nine_in_the_papers_order():
    row = parameters(XFLIP=1, YFLIP=1, SCALE=0.5, THETA=0.3, STRETCH=-1.2, R=2.0, X=0.7, Y=-0.4)
    expected = [1, 1, 0.5, math.cos(0.3) - 1, math.sin(0.3), -1.2 * math.cos(2), -1.2 * math.sin(2), 0.7, -0.4]
    images, labels = PAPER.apply(noise(1, 1, 4, 4, dtype=torch.float64), row)
    assert labels.dtype == images.dtype == torch.float64
    assert labels[0].tolist() == pytest.approx(expected)
    assert len(expected) == Augmentation.LABELS


N = 20_000
DRAWN = Augmentation(probability=0.3, xflip=0.6, anisotropic_rotate=0.4, rotate_max=0.5).draw(N, seeded(3))


@pytest.mark.parametrize(
    "column, share",
    [(XFLIP, 0.3), (YFLIP, 0.15), (SCALE, 0.3), (THETA, 0.3), (STRETCH, 0.3), (R, 0.12), (X, 0.3), (Y, 0.3)],
)
def test_how_often_a_transformation_is_applied(column, share):
    count = int((DRAWN[:, column] != 0).sum())
    assert abs(count - N * share) < 4 * math.sqrt(N * share * (1 - share))


@pytest.mark.parametrize("column", [SCALE, STRETCH, X, Y])
def test_strengths_are_standard_normal(column):
    values = DRAWN[:, column]
    assert stats.kstest(values[values != 0], "norm").pvalue > 1e-3
    assert values[values != 0].std().item() == pytest.approx(1, abs=4 / math.sqrt(2 * N * 0.3))


@pytest.mark.parametrize("column, largest", [(THETA, math.pi / 2), (R, math.pi)])
def test_angles_are_uniform(column, largest):
    values = DRAWN[:, column]
    assert stats.kstest(values[values != 0], stats.uniform(-largest, 2 * largest).cdf).pvalue > 1e-3


def test_transformations_are_independent_but_the_shift_is_one():
    applied = (DRAWN[:, [XFLIP, YFLIP, SCALE, THETA, STRETCH, X]] != 0).double()
    assert (torch.corrcoef(applied.T) - torch.eye(6)).abs().max() < 4.5 / math.sqrt(N)
    assert torch.equal(DRAWN[:, X] != 0, DRAWN[:, Y] != 0)
    assert not ((DRAWN[:, R] != 0) & (DRAWN[:, STRETCH] == 0)).any()


def test_xflip_mirrors_every_second_image_in_the_paper():
    count = int(PAPER.draw(N, seeded())[:, XFLIP].sum())
    assert abs(count - N / 2) < 4 * math.sqrt(N) / 2


@pytest.mark.parametrize("name", COLUMNS)
def test_a_switch_silences_its_labels_and_nothing_else(name):
    images = noise(40, 1, 6, 6)
    generators = seeded(), seeded()
    _, labels = ALWAYS(images, generators[0])
    _, without = ALWAYS.model_copy(update={name: False})(images, generators[1])
    expected = labels.clone()
    expected[:, COLUMNS[name]] = 0
    assert torch.equal(without, expected)
    assert labels[:, COLUMNS[name]].any()
    assert torch.equal(*(generator.get_state() for generator in generators))


def test_the_stream_does_not_depend_on_probabilities():
    generators = seeded(), seeded()
    drawn, kept = ALWAYS.draw(50, generators[0]), PAPER.draw(50, generators[1])
    assert torch.equal(*(generator.get_state() for generator in generators))
    assert torch.equal(kept[kept != 0], drawn[kept != 0])


@pytest.mark.parametrize(
    "field, value", [("scale_std", 0.4), ("anisotropic_std", 0.1), ("translate_std", 0.05), ("rotate_max", 0.25)]
)
def test_strengths_change_the_images(field, value):
    images, other = noise(4, 1, 8, 8), ALWAYS.model_copy(update={field: value})
    (before, labels), (after, same) = ALWAYS(images, seeded()), other(images, seeded())
    assert (before - after).abs().amax((1, 2, 3)).min() > 1e-3
    assert torch.equal(labels, same) == (field != "rotate_max")  # the label of a rotation is its angle


def test_slices_of_a_batch_are_the_batch():
    images, drawn = noise(16, 3, 16, 12), Augmentation(probability=0.5).draw(16, seeded())
    whole, labels = PAPER.apply(images, drawn)
    for start, stop in ((0, 1), (1, 4), (4, 9), (9, 16)):
        part, part_labels = PAPER.apply(images[start:stop], drawn[start:stop])
        # On a CPU the two are equal bit for bit; other devices may round the last digit of an angle otherwise.
        assert torch.equal(part, whole[start:stop])
        assert torch.equal(part_labels, labels[start:stop])


def test_float64_equals_float32():
    images = noise(12, 3, 16, 16)
    (single, labels), (double, labels64) = ALWAYS(images, seeded()), ALWAYS(images.double(), seeded())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.allclose(single.double(), double, rtol=0, atol=1e-5)
    assert torch.allclose(labels.double(), labels64, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 5, 3, 2), (3, 1, 1, 1), (0, 3, 8, 8)])
def test_small_images(shape):
    changed, labels = ALWAYS(noise(*shape), seeded())
    assert changed.shape == shape
    assert labels.shape == (shape[0], 9)
    assert changed.isfinite().all()


def test_constant_images_stay_constant():
    changed, _ = ALWAYS(torch.full((8, 2, 8, 8), 0.7), seeded())
    assert torch.allclose(changed, torch.tensor(0.7), rtol=0, atol=1e-5)


def test_a_loss_augments_its_target_and_tells_the_network():
    class Network(torch.nn.Module):
        def forward(self, x, sigma, labels=None, augment_labels=None):
            self.augment_labels = augment_labels
            return x

    network, images = Network(), noise(6, 1, 8, 8)
    loss = DenoisingLoss(EDMLoss(), EDMLoss().weight(), PAPER)
    batch = loss.draw(images, generator=seeded())
    changed, labels = PAPER.apply(images, batch.augmentation)
    expected = loss.weigh(batch.sigma) * (batch.sigma * batch.noise) ** 2  # D = x
    assert torch.allclose(loss(network, batch), expected, rtol=1e-4)
    assert torch.equal(network.augment_labels, labels) and not torch.equal(changed, images)


@pytest.mark.parametrize(
    "fields",
    [
        {"probability": 1.1},
        {"probability": math.nan},
        {"xflip": -0.1},
        {"anisotropic_rotate": math.inf},
        {"scale_std": 0.0},
        {"anisotropic_std": math.nan},
        {"translate_std": math.inf},
        {"rotate_max": 1.5},
        {"rotate_max": math.nan},
        {"scale": 1},
        {"kind": "ada"},
        {"hue": 0.1},
    ],
)
def test_bad_fields_are_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        Augmentation(**fields)


@pytest.mark.parametrize(
    "images, rows, message",
    [
        (torch.zeros(3, 8, 8), 3, r"\[N, C, H, W\]"),
        (torch.zeros(2, 1, 0, 8), 2, r"\(2, 1, 0, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 2, "uint8"),
        (torch.zeros(2, 1, 8, 8), 3, r"\(2, 8\), not \(3, 8\)"),
    ],
)
def test_bad_input_is_refused(images, rows, message):
    with pytest.raises(InputError, match=message):
        PAPER.apply(images, torch.zeros(rows, 8))


def test_yaml_is_the_object():
    assert Augmentation.model_validate({"kind": "nonleaky", "probability": 0.15, "yflip": False}).probability == 0.15
    assert Augmentation.model_validate_json(PAPER.model_dump_json()) == PAPER
