"""Spaces: what is drawn is found again, grids are what brute force makes of them, numbers stay below others."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from harness.search.space import SearchSpace
from harness.search.template import Choices, NumberRange, SpaceError, read_template
from harness.search.validate import RandomChooser

CHURN = {
    "kind": "churn",
    "gamma": {"low": 0, "high": 0.4, "values": [0, 0.2, 0.4]},
    "S_tmin": {"low": 0.002, "high": 10, "log": True, "below": "S_tmax", "values": [0.01, 1, 10]},
    "S_tmax": {"low": 0.2, "high": 80, "log": True, "values": [0.5, 5, 50]},
}
NESTED = {
    "method": {
        "together": [
            {"name": "single", "solver": {"choices": ["heun", "euler"]}, "noise": {"choices": ["none", CHURN]}},
            {
                "name": "multi",
                "solver": {
                    "choices": [
                        {"kind": "lms", "order": {"low": 1, "high": 4, "whole": True, "values": [2, 4]}},
                        {"kind": "unipc", "corrector": {"choices": [True, False]}},
                    ]
                },
            },
        ]
    },
    "rho": {"low": 1, "high": 20, "log": True, "values": [3, 7]},
    "clip": False,
}


def space(data, on_grid=False):
    return SearchSpace({"sampler": read_template(data, ("sampler",))}, on_grid)


def inner(point):
    return point.filled["sampler"]


@given(st.integers(0, 10**6), st.booleans())
def test_what_is_drawn_is_found_again(seed, on_grid):
    one = space(NESTED, on_grid)
    point = one.draw(RandomChooser(seed))
    found = one.locate(point.filled)
    assert found.settings == point.settings
    assert set(found.coordinates) == set(point.coordinates)
    again = one.draw(FixedTrial(found.coordinates))
    for name, value in point.settings.items():
        assert again.settings[name] == (pytest.approx(value, rel=2e-3) if isinstance(value, float) else value)


@given(st.integers(0, 10**6), st.booleans())
def test_every_point_is_allowed(seed, on_grid):
    sampler = inner(space(NESTED, on_grid).draw(RandomChooser(seed)))
    assert 1 <= sampler["rho"] <= 20
    assert "method" not in sampler
    assert "name" not in sampler
    assert ("noise" in sampler) == (sampler["solver"] in ("heun", "euler"))
    if isinstance(sampler.get("noise"), dict):
        noise = sampler["noise"]
        assert 0.002 <= noise["S_tmin"] <= min(10, noise["S_tmax"])
        if on_grid:
            assert {noise["S_tmin"]} <= {0.01, 1, 10}


@given(st.floats(1e-6, 1e6), st.floats(1, 1e6), st.floats(0, 1), st.booleans(), st.booleans())
def test_rounding_stays_within_the_range(low, factor, share, log, whole):
    low, high = (round(low) + 1, round(low * factor) + 1) if whole else (low, low * factor)
    number = NumberRange(low=low, high=high, log=log, whole=whole)
    value = number.rounded(min(max(number.between(share, number.high), number.low), number.high))
    assert number.low <= value <= number.high


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("log", [False, True])
def test_a_position_is_the_inverse_of_between(share, log):
    number = NumberRange(low=0.5, high=40, log=log)
    assert number.position(number.between(share, 7.0), 7.0) == pytest.approx(share)
    assert number.between(share, 0.5) == 0.5


def test_the_grid_is_what_brute_force_makes():
    noises = ["none"] + [
        {"kind": "churn", "gamma": gamma, "S_tmin": low, "S_tmax": high}
        for gamma, low, high in itertools.product([0, 0.2, 0.4], [0.01, 1, 10], [0.5, 5, 50])
        if low <= high
    ]
    solvers = [{"kind": "lms", "order": 2}, {"kind": "lms", "order": 4}]
    solvers += [{"kind": "unipc", "corrector": corrector} for corrector in (True, False)]
    wanted = [
        {"solver": solver, "noise": noise, "rho": rho, "clip": False}
        for solver, noise, rho in itertools.product(["heun", "euler"], noises, [3, 7])
    ]
    wanted += [{"solver": solver, "rho": rho, "clip": False} for solver, rho in itertools.product(solvers, [3, 7])]
    found = [inner(point) for point in space(NESTED).grid()]
    assert len(found) == len(wanted) == 2 * 19 * 2 + 8
    assert all(one in found for one in wanted)


def test_points_of_the_grid_are_found_on_the_grid():
    one = space(NESTED, on_grid=True)
    for point in one.grid():
        found = one.locate(point.filled)
        assert found is not None
        assert found.settings == point.settings
        assert one.draw(FixedTrial(found.coordinates)).filled == point.filled


def test_names_are_as_short_as_they_can_be():
    data = {
        "a": {
            "choices": [{"kind": "lms", "order": {"low": 1, "high": 2}}, {"kind": "ipndm", "order": {"values": [1]}}]
        },
        "rho": {"low": 1, "high": 2},
    }
    assert [one.name for one in space(data).parameters] == ["a", "lms.order", "ipndm.order", "rho"]


def test_labels_are_words():
    among = Choices(choices=("heun", {"kind": "lms", "order": 2}, {"kind": "lms", "order": 3}, True, "heun"))
    assert among.labels == ("heun 1", "lms order 2", "lms order 3", "true", "heun 5")


def test_what_the_space_does_not_hold_is_not_found():
    one = space(NESTED)
    good = {"solver": "heun", "noise": "none", "rho": 7, "clip": False}
    settings = {"method": "single", "single.solver": "heun", "noise": "none", "rho": 7}
    assert one.locate({"sampler": good}).settings == settings
    for change in ({"rho": 21}, {"solver": "rk4"}, {"clip": True}, {"noise": 3}, {"rho": "seven"}, {"more": 1}):
        assert one.locate({"sampler": good | change}) is None
    noise = {"kind": "churn", "gamma": 0.1, "S_tmin": 2, "S_tmax": 1}
    assert one.locate({"sampler": good | {"noise": noise}}) is None
    assert one.locate({"sampler": good | {"noise": noise | {"S_tmin": 1}}}) is not None
    order = {"kind": "lms", "order": 2.5}
    assert one.locate({"sampler": {"solver": order, "rho": 7, "clip": False}}) is None


def test_defaults_fill_in_what_is_left_out():
    one = space({"solver": {"choices": ["euler", {"kind": "rk2", "alpha": {"low": 0.5, "high": 1}}]}})
    full = {"sampler": {"solver": {"kind": "rk2", "alpha": 1.0}, "steps": 18}}
    for said in ({}, {"solver": "heun"}, {"solver": "rk2"}):
        assert one.locate({"sampler": said}, full).settings == {"solver": "rk2", "alpha": 1.0}
    assert one.locate({"sampler": {"solver": "heun"}}) is None


def test_chains_of_below_are_kept():
    data = {key: {"low": 0, "high": 9, "below": over} for key, over in (("a", "b"), ("b", "c"))}
    one = space(data | {"c": {"low": 0, "high": 9}})
    for seed in range(50):
        sampler = inner(one.draw(RandomChooser(seed)))
        assert sampler["a"] <= sampler["b"] <= sampler["c"]


def test_whole_numbers_stay_below_too():
    one = space({"a": {"low": 1, "high": 9, "whole": True, "below": "b"}, "b": {"low": 1, "high": 5, "whole": True}})
    drawn = [inner(one.draw(RandomChooser(seed))) for seed in range(50)]
    assert all(isinstance(sampler["a"], int) and 1 <= sampler["a"] <= sampler["b"] for sampler in drawn)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": 1}, "nothing to search"),
        ({"a": {"low": 1, "high": 2, "below": "c"}}, "'c', which is not a range beside it"),
        ({"a": {"low": 1, "high": 2, "below": "a"}}, "'a', which is not a range beside it"),
        (
            {"a": {"low": 1, "high": 2, "below": "b"}, "b": {"low": 1, "high": 2, "below": "a"}},
            "in a circle; remove one `below`",
        ),
        (
            {"a": {"low": 1, "high": 2, "below": "b"}, "b": {"low": 0.5, "high": 2}},
            "'b', which may be 0.5, and low is 1; lower it",
        ),
        (
            {
                "a": {"low": 0, "high": 2, "values": [1, 2], "below": "b"},
                "b": {"low": 0, "high": 2, "values": [0.5, 2]},
            },
            "its lowest value is 1; lower it",
        ),
        ({"m": {"together": [{"name": "x", "a": 1}]}, "a": 2}, "`a` stands beside 'm' and in it"),
    ],
)
def test_spaces_that_cannot_be(data, message):
    with pytest.raises(SpaceError) as error:
        space(data)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        ({"a": {"low": 1}}, ("a", "high"), "required and missing"),
        ({"a": {"low": 2, "high": 1}}, ("a",), "low is 2 and high 1; exchange them"),
        ({"a": {"low": 0, "high": 1, "log": True}}, ("a",), "starts above 0; we got low 0"),
        ({"a": {"values": [2, 1]}}, ("a",), "must rise, each once; we got 2, 1"),
        ({"a": {"low": 1, "high": 2, "values": [3]}}, ("a",), "3 among the values is outside 1 to 2"),
        ({"a": {"low": 1, "high": 2.5, "whole": True}}, ("a",), "ranges over integers; we got 2.5"),
        ({"a": {"low": 1, "high": 2, "step": 1}}, ("a", "step"), "unknown key"),
        ({"a": {"choices": []}}, ("a", "choices"), "is a list of at least one"),
        ({"a": {"choices": ["x"], "log": True}}, ("a", "log"), "unknown key beside `choices`"),
        ({"a": {"together": [{"solver": "heun"}]}}, ("a", "together", 0), "is a `name` and fields"),
        ({"a": {"choices": ["x", {"b": {"low": 2, "high": 1}}]}}, ("a", "choices", 1, "b"), "exchange them"),
    ],
)
def test_mistakes_say_where(data, where, message):
    with pytest.raises(SpaceError) as error:
        read_template(data)
    assert error.value.where == where
    assert message in str(error.value)


def test_a_grid_needs_values():
    with pytest.raises(SpaceError, match=r"'a' has no declared `values`, which a grid needs; give it some, or use tpe"):
        space({"a": {"low": 1, "high": 2}}, on_grid=True)


def test_branches_name_the_choices_that_they_stand_in():
    found = [forced for one, forced in space(NESTED).branches()]
    assert {"method": "single", "noise": "churn"} in found
    assert {"method": "multi", "multi.solver": "unipc", "corrector": "false"} in found
    assert len(found) == 2 + 2 + 2 + 2 + 2
    for forced in found:
        settings = space(NESTED).draw(RandomChooser(random.randrange(99), forced)).settings
        assert forced.items() <= settings.items()
