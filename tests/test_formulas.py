"""The formulas of the design table are the code: evaluated, they give what the code gives."""

import numpy as np
import pytest
import torch

from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.report.text.formula import html
from harness.sampling import discretizations, schedules
from harness.sampling.discretizations.iddpm import iddpm_levels
from harness.training.losses import COLUMNS, DenoisingLoss
from harness.training.noise_distributions import NOISE_DISTRIBUTIONS, LogNormal
from harness.training.weights import LOSS_WEIGHTS
from tests.denoisers import nets

NUMPY = {name: getattr(np, name) for name in ("sqrt", "exp", "log", "tan", "arctan", "minimum")}
SIGMA = torch.tensor([0.02, 0.5, 3.0, 40.0], dtype=torch.float64)
SIZE = {"img_resolution": 8, "img_channels": 1, "model_channels": 32, "channel_mult": [1], "num_blocks": 1}


def value(expression, **names):
    """An expression in Python's own arithmetic."""
    return np.asarray(eval(expression, {"__builtins__": {}}, NUMPY | names), dtype=float)


def kinds(members, *without):
    return pytest.mark.parametrize("cls", [cls for cls in members if cls not in without], ids=lambda cls: cls.__name__)


@kinds(schedules.SCHEDULES.members)
def test_schedules(cls):
    t = torch.tensor([0.01, 0.3, 0.9], dtype=torch.float64)
    curve = cls().fit(0.002, 80.0, 1e-3)
    numbers = {name: getattr(curve, name, None) for name in ("beta_d", "beta_min")}
    assert np.allclose(value(cls.formula, t=t.numpy(), **numbers), curve.sigma(t).numpy(), rtol=1e-9)


@kinds(schedules.SCALINGS.members)
def test_scalings(cls):
    assert np.allclose(value(cls.formula, sigma=SIGMA.numpy()), cls().s(SIGMA).numpy(), rtol=1e-12)


WITHOUT = (discretizations.Explicit, discretizations.Optimized, discretizations.FlowLevels)
"""Lists, and levels of which the first is infinite; tests of `flow` have its formula."""


@kinds(discretizations.DISCRETIZATIONS.members, *WITHOUT)
def test_discretizations(cls):
    choice, n = cls(), 13
    within = choice.clamp(0.0, np.inf)
    fields = choice.model_dump() | {"sigma_min": within.low, "sigma_max": within.high}
    table = iddpm_levels(1000, 0.001, 0.008).numpy()
    functions = {
        "sigma_vp": lambda t: schedules.VP_DEFAULT.sigma(torch.tensor(t, dtype=torch.float64)).item(),
        "u": lambda j: table[int(j)],
        "floor": np.floor,
    }
    fields |= {"j_0": int((table > 81).sum())} if cls is discretizations.IDDPM else {}
    found = [value(cls.formula, i=i, N=n, **fields, **functions) for i in range(n)]
    assert np.allclose(found, choice(n, within).numpy(), rtol=1e-6)


@pytest.mark.parametrize("kind", PRECONDITIONINGS)
def test_preconditionings(kind):
    made = PRECONDITIONINGS[kind](**SIZE, **nets.ARGUMENTS.get(kind, {}))
    sigma = made.round_sigma(SIGMA)
    functions = {
        "t": lambda s: schedules.VP_DEFAULT.t(torch.as_tensor(s)).numpy(),
        "nearest": lambda s: [int(((made.u if kind == "iddpm" else made.levels) - one).abs().argmin()) for one in s],
    }
    functions["nearest"] = lambda s, near=functions["nearest"]: np.array(near(s))
    names = {"sigma": sigma.numpy(), "M": 1000, "sigma_data": 0.5, "time_scale": 1, **functions}
    for expression, coefficient in zip(made.formulas, made.coefficients(sigma), strict=True):
        expected = np.broadcast_to(np.asarray(coefficient, dtype=float), (4,))
        assert np.allclose(value(expression, **names), expected, rtol=1e-9), expression


@pytest.mark.parametrize("kind", PRECONDITIONINGS)
def test_preconditionings_are_written_as_formulas(kind):
    """The report writes those of the class: what stands for a power is no plain text."""
    assert all("**" not in html(formula) for formula in PRECONDITIONINGS[kind].formulas)


@pytest.mark.parametrize("choice", [*LOSS_WEIGHTS.kinds, *LOSS_WEIGHTS.aliases, {"kind": "power", "exponent": 1.0}])
def test_loss_weights(choice):
    weight, network = LOSS_WEIGHTS.read(choice), PRECONDITIONINGS["edm"](**SIZE, sigma_data=0.7).double()
    names = {"sigma": SIGMA.numpy(), "sigma_data": 0.7, "c_out": lambda _: network.coefficients(SIGMA).out.numpy()}
    found = DenoisingLoss(LogNormal(), weight, sigma_data=0.7).weigh(SIGMA, network)
    assert np.allclose(value(weight.formula, **names), found.numpy(), rtol=1e-6)
    assert "**" not in html(weight.formula)


@kinds((*NOISE_DISTRIBUTIONS.members, *COLUMNS.members))
def test_noise_distributions_are_told_in_words(cls):
    assert cls.distribution
