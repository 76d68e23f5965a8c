"""Preconditionings by flow and by formulas of one's own, on networks that are written down."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from harness.denoisers.preconditioning import EDMPrecond, ExpressionPrecond, FlowPrecond

SIZE = {"model_channels": 8, "channel_mult": [1], "num_blocks": 1}
EDM = EDMPrecond.formulas._asdict()
FLOW = {name: text.replace("time_scale", "1000") for name, text in FlowPrecond.formulas._asdict().items()}
LEVELS = torch.tensor(np.geomspace(0.002, 80.0, 400), dtype=torch.float32)


class Velocity(nn.Module):
    """The velocity n - y, whatever it is asked; it keeps what it was given."""

    def __init__(self, velocity):
        super().__init__()
        self.velocity, self.weight = velocity, nn.Parameter(torch.zeros(1, dtype=velocity.dtype))

    def forward(self, x, noise_labels, class_labels=None, augment_labels=None):
        self.x, self.noise_labels = x, noise_labels
        return self.velocity


def made(formulas, **changes):
    torch.manual_seed(0)
    return ExpressionPrecond(8, 1, **SIZE, **(formulas | changes)).eval().requires_grad_(False)


def relative(ours, theirs):
    """Largest error relative to the value it is of."""
    ours, theirs = (torch.as_tensor(value, dtype=torch.float64).broadcast_to(LEVELS.shape) for value in (ours, theirs))
    return float(((ours - theirs).abs() / theirs.abs().clamp(min=1e-30)).max())


@pytest.mark.parametrize(
    ("formulas", "other"),
    [(EDM, EDMPrecond(8, 1, **SIZE)), (FLOW, FlowPrecond(8, 1, time_scale=1000.0, **SIZE))],
    ids=["edm", "flow"],
)
def test_formulas_equal_the_class_that_has_them(formulas, other):
    net = made(formulas)
    other.load_state_dict(net.state_dict())
    for ours, theirs in zip(net.coefficients(LEVELS), other.eval().coefficients(LEVELS), strict=True):
        assert relative(ours, theirs) < 1e-6
    x, sigma = torch.randn(4, 1, 8, 8), torch.tensor([0.01, 0.3, 2.0, 60.0])
    with torch.no_grad():
        assert torch.allclose(net(x, sigma), other(x, sigma), rtol=1e-6, atol=1e-6)


def test_the_exact_velocity_gives_the_image():
    y, n = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.0, 0.002, 0.5, 3.0, 80.0], dtype=torch.float64)
    net = FlowPrecond(8, 1, time_scale=1000.0, **SIZE)
    net.model = Velocity(n - y)
    denoised = net(y + sigma.reshape(-1, 1, 1, 1) * n, sigma)
    assert torch.allclose(denoised, y, rtol=0, atol=1e-12)
    t = sigma / (1 + sigma)
    path = (1 - t).reshape(-1, 1, 1, 1) * y + t.reshape(-1, 1, 1, 1) * n
    assert torch.allclose(net.model.x, path, rtol=0, atol=1e-14)  # the network sees the straight path itself
    assert torch.allclose(net.model.noise_labels, 1000 * t)


def test_flow_supports_every_level_unless_told_otherwise():
    net = FlowPrecond(8, 1, **SIZE)
    assert (net.sigma_min, net.sigma_max) == (0.0, float("inf"))
    assert torch.equal(net.round_sigma(LEVELS), LEVELS)
    assert net.config["time_scale"] == 1.0
    assert FlowPrecond(8, 1, sigma_min=0.01, sigma_max=50, **SIZE).config["sigma_max"] == 50.0
    for wrong in ({"sigma_min": -1.0}, {"sigma_min": 2.0, "sigma_max": 1.0}, {"sigma_max": float("nan")},
                  {"time_scale": 0.0}, {"time_scale": float("inf")}):  # fmt: skip
        with pytest.raises(ValueError, match="sigma_min is 0 or more and below sigma_max, and time_scale is positive"):
            FlowPrecond(8, 1, **SIZE, **wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sigma", [0.5, torch.tensor(0.5), torch.tensor([0.1, 0.5, 2.0]), torch.ones(3, 1, 1, 1)])
@pytest.mark.parametrize(
    "net",
    [
        lambda: made(EDM),
        lambda: made({"c_skip": "1", "c_out": "-2", "c_in": "0.5", "c_noise": "3"}),
        lambda: made({"c_skip": "0", "c_out": "sigma_data", "c_in": "1/sigma_data", "c_noise": "log(sigma_data)"}),
        lambda: FlowPrecond(8, 1, **SIZE).eval().requires_grad_(False),
    ],
    ids=["edm", "constants", "sigma_data", "flow"],
)
def test_shape_and_dtype(net, sigma, dtype):
    net = net().to(dtype)
    level = torch.as_tensor(sigma, dtype=dtype)
    assert all(torch.as_tensor(c).shape == level.shape for c in net.coefficients(level))
    assert {c.dtype for c in net.coefficients(level) if isinstance(c, torch.Tensor)} == {dtype}
    out = net(torch.randn(3, 1, 8, 8), sigma)
    assert (out.shape, out.dtype) == ((3, 1, 8, 8), dtype)
    assert out.isfinite().all()


def test_constants_are_what_they_say():
    net = made({"c_skip": "0.25", "c_out": "2", "c_in": "3", "c_noise": "7"})
    net.model = Velocity(torch.ones(2, 1, 8, 8))
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(net(x, torch.tensor([0.1, 5.0])), 0.25 * x + 2)
    assert torch.equal(net.model.x, 3 * x)
    assert net.model.noise_labels.tolist() == [7, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c_skip": "log(sigma - 1)"}, r"c_skip 'log\(sigma - 1\)' is nan at sigma = 0.002; it must be finite from"),
        ({"c_noise": "1/(sigma - sigma)"}, r"c_noise '1/\(sigma - sigma\)' is inf at sigma = 0.002"),
        ({"c_in": "exp(sigma**2)"}, r"c_in 'exp\(sigma\*\*2\)' is inf at sigma = 9\.4\d*; it must be finite and not 0"),
        ({"c_out": "0"}, "c_out '0' is 0 at sigma = 0.002; it must be finite and not 0"),
        ({"c_out": "maximum(sigma - 1, 0)"}, r"c_out 'maximum\(sigma - 1, 0\)' is 0 at sigma = 0.002"),
        ({"c_out": "minimum(80 - sigma, 1)"}, r"c_out 'minimum\(80 - sigma, 1\)' is 0 at sigma = 80"),
        ({"c_out": "sigma**20"}, r"c_out 'sigma\*\*20' is 0 at sigma = 0.002"),  # float32 has no 1e-54
        ({"c_in": "sigma - sigma"}, "c_in 'sigma - sigma' is 0 at sigma = 0.002"),
        (
            {"c_in": "t"},
            "c_in: 't', position 1: 't' is not allowed; an expression is made of numbers, sigma, sigma_data",
        ),
        ({"c_skip": "1/(sigma_data - 0.5)"}, r"c_skip: '1/\(sigma_data - 0.5\)': / of 1 and 0 has no value"),
        ({"c_noise": 1}, "c_noise: an expression is text, such as '1'; we got a int"),
        ({"sigma_min": 0.0}, "sigma_min, sigma_max and sigma_data are positive and finite.*we got 0.0, 80.0 and 0.5"),
        ({"sigma_max": float("inf")}, "we got 0.002, inf and 0.5"),
        ({"sigma_max": 1e300}, r"we got 0.002, 1e\+300 and 0.5"),
        ({"sigma_min": 90.0}, "we got 90.0, 80.0 and 0.5"),
        ({"sigma_data": 0.0}, "we got 0.002, 80.0 and 0.0"),
        ({"sigma_data": float("nan")}, "we got 0.002, 80.0 and nan"),
    ],
    ids=str,
)
def test_what_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(EDM | changes)


def test_every_formula_has_to_be_given():
    with pytest.raises(TypeError, match="c_noise"):
        ExpressionPrecond(8, 1, **SIZE, c_skip="1", c_out="1", c_in="1")


def test_the_check_is_made_also_without_storage():
    with torch.device("meta"):
        net = ExpressionPrecond(8, 1, **SIZE, **EDM)
        with pytest.raises(ValueError, match="c_out '0' is 0"):
            ExpressionPrecond(8, 1, **SIZE, **EDM | {"c_out": "0"})
    assert next(net.parameters()).is_meta


def test_it_can_be_built_again_and_copied():
    net = made(EDM, c_noise=" log(sigma)/4 ", sigma_data=0.3)
    assert net.formulas.c_noise == net.config["c_noise"] == "log(sigma)/4"
    assert ExpressionPrecond.formulas.c_noise == "c_noise(sigma)"  # of the class, which has none of its own
    again = ExpressionPrecond(**net.config).eval()
    again.load_state_dict(net.state_dict())
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.1, 5.0])
    with torch.no_grad():
        for other in (again, copy.deepcopy(net)):
            assert torch.equal(other(x, sigma), net(x, sigma))
