"""Guidance: the formula, the interval, and what it costs."""

import math

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.denoisers.guidance import CFG, Autoguidance
from harness.denoisers.load import describe
from harness.sampling.denoiser import Denoiser, Metered
from harness.sampling.sampler import Sampler
from tests.problems import Analytic


class Classes(Analytic):
    """D = x / 2 plus the class's own number, or their mean without a class."""

    label_dim = 2
    numbers = torch.tensor([1.0, 3.0], dtype=torch.float64)

    def __call__(self, x, sigma, labels=None):
        self.rows.append(len(x))
        own = self.numbers.mean() if labels is None else (labels.double() @ self.numbers).reshape(-1, 1, 1, 1)
        return x / 2 + own


class Blurred(Analytic):
    def denoise(self, x, sigma):
        return x / 4


SHAPE = (1, 2, 2)
X = torch.arange(12, dtype=torch.float64).reshape(3, *SHAPE)
LABELS = torch.eye(2)[[0, 1, 0]]
NUMBERS = torch.tensor([1.0, 3.0, 1.0], dtype=torch.float64).reshape(-1, 1, 1, 1)


def level(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


def test_it_is_a_denoiser():
    guided = CFG(Classes(SHAPE), 2.0, 0.1, 5.0)
    assert isinstance(guided, Denoiser)
    assert isinstance(guided, Metered)
    assert not isinstance(Classes(SHAPE), Metered)
    assert (guided.shape, guided.label_dim, guided.cost) == (SHAPE, 2, 2)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.1, 2.5])
def test_classifier_free_guidance_is_its_formula(weight):
    guided = CFG(Classes(SHAPE), weight)(X, level(1.0), LABELS)
    assert torch.allclose(guided, X / 2 + 2 + weight * (NUMBERS - 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.1, 2.5])
def test_autoguidance_is_its_formula(weight):
    guided = Autoguidance(Classes(SHAPE), Blurred(SHAPE), weight)(X, level(1.0), LABELS)
    assert torch.allclose(guided, X / 4 + weight * (X / 2 + NUMBERS - X / 4), rtol=0, atol=1e-12)


def test_the_interval_leaves_out_its_lower_end_and_has_its_upper():
    guided = CFG(Classes(SHAPE), 3.0, 1.0, 2.0)
    assert guided.is_on(level(1.0, 1.5, 2.0, 2.1)).tolist() == [False, True, True, False]
    mixed = guided(X, level(1.0, 1.5, 2.1), LABELS)
    expected = torch.stack([X[0] / 2 + 1, X[1] / 2 + 2 + 3 * (3 - 2), X[2] / 2 + 1])
    assert torch.allclose(mixed, expected, rtol=0, atol=1e-12)
    assert guided.cost_at(level(1.0, 1.5, 2.1)).tolist() == [1, 2, 1]


def test_the_guide_is_evaluated_and_counted_only_where_it_is_needed():
    main = Classes(SHAPE)
    sampler = Sampler.model_validate({"solver": "euler", "steps": 12})
    guided = CFG(main, 2.0, 0.05, 10.0)
    out = harness.sample(guided, sampler, range(3))
    inside = sum(0.05 < sigma <= 10 for sigma in sampler.sigmas(main).tolist())
    assert 0 < inside < 12
    assert out.nfe.tolist() == [12 + inside] * 3
    assert sum(main.rows) == out.rows == 3 * (12 + inside)


def test_rows_where_it_is_off_are_the_denoisers_own():
    main = Classes(SHAPE)
    guided = CFG(main, 1.1, 0.1, 5.0)(X / 3, level(9.0, 1.0, 0.05), LABELS)
    plain = main(X / 3, level(9.0, 1.0, 0.05), LABELS)
    assert torch.equal(guided[[0, 2]], plain[[0, 2]])
    assert not torch.equal(guided[1], plain[1])


def test_guidance_of_guidance_counts_as_what_it_makes():
    inner = CFG(Classes(SHAPE), 2.0, 0.1, 5.0)
    outer = Autoguidance(inner, Blurred(SHAPE), 1.5, 1.0, 20.0)
    assert outer.cost == 3
    assert outer.cost_at(level(0.05, 0.5, 3.0, 10.0, 50.0)).tolist() == [1, 2, 3, 2, 1]


def test_weight_one_is_the_denoiser_itself():
    sampler = Sampler(steps=6)
    plain, guided = harness.sample(Classes(SHAPE), sampler, [1]), harness.sample(CFG(Classes(SHAPE), 1.0), sampler, [1])
    assert torch.equal(plain.images, guided.images)
    assert torch.equal(plain.nfe, guided.nfe)


def test_a_path_of_adaptive_steps_counts_by_row():
    guided = CFG(Classes(SHAPE), 2.0, 0.5, 5.0)
    out = harness.sample(guided, Sampler.model_validate({"solver": {"kind": "rk45", "rtol": 1e-3}}), range(4), batch=2)
    alone = harness.sample(guided, Sampler.model_validate({"solver": {"kind": "rk45", "rtol": 1e-3}}), [2], batch=2)
    assert out.nfe[2] == alone.nfe[0]


def test_parts_that_do_not_go_together():
    with pytest.raises(InputError, match="needs a class-conditional denoiser"):
        CFG(Blurred(SHAPE), 2.0)
    with pytest.raises(InputError, match="images of one shape"):
        Autoguidance(Blurred(SHAPE), Blurred((1, 3, 3)), 2.0)
    with pytest.raises(InputError, match="have 2 and 0"):
        Autoguidance(Blurred(SHAPE), Classes(SHAPE), 2.0)


def test_specs_become_denoisers_of_the_same_facts():
    for spec in (
        {"kind": "cfg", "denoiser": "digits-adm", "weight": 2.0, "sigma_lo": 0.1, "sigma_hi": 5.0},
        {"kind": "autoguidance", "denoiser": "digits-vp", "guide": "digits-ve", "weight": 1.5},
        {"kind": "autoguidance", "denoiser": "digits-vp", "guide": {"kind": "ideal"}, "weight": 1.5},
    ):
        facts, made = describe(spec), harness.load_denoiser(spec)
        assert (facts.shape, facts.label_dim, facts.cost) == (made.shape, made.label_dim, made.cost)
        assert facts.sigma_min == pytest.approx(made.sigma_min)
        assert facts.sigma_max == pytest.approx(made.sigma_max)
        assert facts.window.outside == made.main.cost
        out = harness.sample(made, Sampler(steps=3), range(2))
        assert out.nfe.unique().numel() == 1
        assert math.isfinite(out.images.sum())


def test_identities_tell_guidance_apart():
    base = {"kind": "cfg", "denoiser": "digits-adm", "weight": 2.0}
    identities = {
        describe(spec).identity for spec in (base, base | {"weight": 3.0}, base | {"sigma_hi": 4.0}, "digits-adm")
    }
    assert len(identities) == 4
    assert describe(base | {"sigma_lo": 0.0}).identity == describe(base).identity


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "cfg", "denoiser": "digits-vp"}, "has no classes; use 'autoguidance'"),
        ({"kind": "cfg", "denoiser": "digits-adm", "weight": -1.0}, "weight"),
        ({"kind": "cfg", "denoiser": "digits-adm", "sigma_lo": 5.0, "sigma_hi": 1.0}, "raise sigma_hi"),
        ({"kind": "autoguidance", "denoiser": "digits-vp"}, "guide"),
        ({"kind": "autoguidance", "denoiser": "digits-vp", "guide": {"kind": "gaussian", "shape": [1, 4, 4]}}, "shape"),
        ({"kind": "autoguidance", "denoiser": "digits-vp", "guide": "digits-adm"}, "or none; they have 10 and 0"),
    ],
    ids=str,
)
def test_specs_that_make_no_sense(spec, message):
    with pytest.raises(InputError, match=message):
        describe(spec)


def test_two_diracs_are_a_mixture_of_two_points():
    diracs = harness.load_denoiser("diracs")
    pair = harness.load_denoiser({"kind": "mixture", "means": [-1.0, 1.0], "shape": [1, 1, 1]})
    x = torch.linspace(-3, 3, 41, dtype=torch.float64).reshape(-1, 1, 1, 1)
    for sigma in (0.0, 0.2, 1.0, 7.0):
        assert torch.allclose(diracs(x, level(sigma)), pair(x, level(sigma)), rtol=0, atol=1e-12)
