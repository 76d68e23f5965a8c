"""Free levels fall and keep their ends whatever the factors are; factors of known levels give those levels back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.sampling.discretizations import EDM
from harness.search import free_levels
from harness.search.plan import SearchRequest, plan_search
from harness.search.space import SearchSpace
from harness.search.template import NumberRange

FREE = {"kind": "free", "rho": 7.0, "stretch": NumberRange(low=0.3, high=3, log=True)}


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=40))
def test_levels_fall_between_the_same_ends(factors):
    one = EDM()
    sigmas = one(len(factors) + 1, one.clamp(0.002, 80)).numpy()
    moved = free_levels.stretched(sigmas, factors)
    assert (np.diff(moved) < 0).all()
    assert moved[0] == sigmas[0]
    assert moved[-1] == sigmas[-1]


@given(st.floats(0.01, 100))
def test_equal_factors_are_the_papers_levels(factor):
    one = EDM()
    sigmas = one(9, one.clamp(0.002, 80)).numpy()
    assert free_levels.stretched(sigmas, [factor] * 8) == pytest.approx(sigmas, rel=1e-9)


def test_a_factor_for_every_gap():
    laid = free_levels.expand_gaps(FREE, 5)
    assert list(laid["stretch"]) == ["gap 1", "gap 2", "gap 3", "gap 4"]
    names = [one.name for one in SearchSpace({"sampler": {"discretization": laid}}).parameters]
    assert names == list(laid["stretch"])


@pytest.mark.parametrize("rho", [3.0, 5.0, 7.0, 12.0])
def test_factors_give_the_levels_back(rho):
    one = EDM(rho=rho)
    factors = free_levels.stretch_factors(one, FREE, 9)
    free = {"kind": "free", "rho": 7.0, "stretch": dict(enumerate(factors))}
    found = free_levels.explicit_levels(free, 9, 0.002, 80)
    assert found["sigmas"] == pytest.approx(one(9, one.clamp(0.002, 80)).tolist(), rel=5e-3)


def test_levels_with_other_ends_have_no_factors():
    assert free_levels.stretch_factors(EDM(sigma_max=40.0), FREE, 9) is None


@pytest.mark.parametrize(
    ("free", "steps", "message"),
    [
        (FREE | {"rho7": 1}, 5, "takes rho, sigma_min, sigma_max and stretch; we got rho7"),
        (FREE | {"stretch": 2}, 5, "`stretch` is a range of factors above 0"),
        (FREE, 1, "need at least 2 steps, and this budget allows 1; raise --nfe"),
    ],
)
def test_what_cannot_be_stretched(free, steps, message):
    with pytest.raises(InputError) as error:
        free_levels.expand_gaps(free, steps)
    assert message in str(error.value)


def test_a_budget_of_one_step_is_too_small():
    with pytest.raises(InputError, match=r"levels\.yaml:\d+: .*need at least 2 steps"):
        plan_search(SearchRequest(target="levels", nfe=1))


def test_the_number_of_factors_follows_the_budget():
    assert len(plan_search(SearchRequest(target="levels", nfe=17)).space.parameters) == 8
