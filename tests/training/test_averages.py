"""Moving averages: their updates, what recipes of before say of them, and averages made from snapshots."""

import json
import math
import weakref
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.core.config import Config
from harness.core.errors import InputError
from harness.training.averages import (
    EMA,
    EMAS,
    WIDEST,
    HalfLifeEMA,
    PowerEMA,
    Profile,
    fit_profile,
    gamma_of,
    posthoc_weights,
    reconstruct,
    sigma_rel_of,
)

STEPS, DIMENSION = 2000, 50
TRACKED = PowerEMA()


class Holder(Config):
    """A config with an average, as a recipe has one."""

    ema: EMA = HalfLifeEMA()


@cache
def run(seed=0):
    """Weights after each step, float64 [STEPS, DIMENSION]: a random walk with drift."""
    draw = np.random.default_rng(seed).standard_normal
    return np.cumsum(draw((STEPS, DIMENSION)) + 0.05 * draw(DIMENSION), axis=0)


@cache
def tracked(sigma_rel, dtype=torch.float64, seed=0):
    """One average after each step [STEPS, DIMENSION], updated as the training loop does, in steps of one image."""
    average, history = [torch.zeros(DIMENSION, dtype=dtype)], []
    for step, weights in enumerate(torch.from_numpy(run(seed)).to(dtype)):
        (decay,) = PowerEMA(sigma_rel=(sigma_rel,)).decays(step, 1)
        torch._foreach_lerp_(average, [weights], 1 - decay)
        history.append(average[0].clone())
    return torch.stack(history)


def snapshots(count, seed=0):
    """Profiles and float32 tensors of the tracked averages, saved `count` times at even distances."""
    times = [STEPS * (place + 1) // count for place in range(count)]
    return [
        (Profile(t, gamma), {"w": tracked(sigma_rel, torch.float32, seed)[t - 1]})
        for t in times
        for sigma_rel, gamma in zip(TRACKED.sigma_rel, TRACKED.gammas, strict=True)
    ]


def miss(count, t, sigma_rel, seed=0):
    """Relative error of a reconstructed average against the one that is tracked directly, and the error of the fit."""
    profiles, tensors = zip(*snapshots(count, seed), strict=True)
    target, truth = Profile(t, gamma_of(sigma_rel)), tracked(sigma_rel, seed=seed)[t - 1]
    made = reconstruct(profiles, tensors, target)["w"].double()
    return float((made - truth).norm() / truth.norm()), fit_profile(profiles, target).error


def test_published_exponents():
    assert gamma_of(0.05) == pytest.approx(16.97, abs=5e-3)
    assert gamma_of(0.10) == pytest.approx(6.94, abs=5e-3)
    assert sigma_rel_of(0.0) == pytest.approx(1 / math.sqrt(12))  # a uniform average


@given(st.floats(1e-8, WIDEST))
def test_width_and_exponent_are_inverses(sigma_rel):
    gamma = gamma_of(sigma_rel)
    assert gamma > 0
    assert sigma_rel_of(gamma) == pytest.approx(sigma_rel, rel=1e-13)


@pytest.mark.parametrize("sigma_rel", [0.0, -0.1, 0.2801, math.nan, math.inf])
def test_a_width_out_of_range_has_no_exponent(sigma_rel):
    with pytest.raises(ValueError, match=r"sigma_rel is above 0 and at most 0\.28"):
        gamma_of(sigma_rel)


def test_width_is_the_standard_deviation_of_the_profile():
    gamma, tau = gamma_of(0.1), (np.arange(100_000) + 0.5) / 100_000
    density = (gamma + 1) * tau**gamma / len(tau)
    mean = density @ tau
    assert math.sqrt(density @ (tau - mean) ** 2) == pytest.approx(0.1, rel=1e-6)


@given(
    st.floats(1.0, 1e7),
    st.none() | st.floats(1e-3, 1.0),
    st.integers(0, 10**8),
    st.integers(1, 10**4),
)
def test_half_life_decays_as_before_the_kinds(halflife_images, ramp, seen, batch):
    halflife = halflife_images if ramp is None else min(halflife_images, ramp * seen)
    expected = 0.5 ** (batch / halflife) if halflife > 0 else 0.0
    average = HalfLifeEMA(halflife_images=halflife_images, ramp=ramp)
    assert average.decay(seen, batch) == expected
    assert average.decays(seen, batch) == (expected,)


def test_half_life_in_numbers():
    average = HalfLifeEMA(halflife_images=1000.0, ramp=0.1)
    assert average.decay(0, 10) == 0
    assert average.decay(1000, 100) == pytest.approx(0.5)
    assert average.decay(10**6, 1000) == pytest.approx(0.5)
    assert HalfLifeEMA(halflife_images=1000.0, ramp=None).decay(0, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", EMAS.members, ids=lambda kind: kind.__name__)
def test_kinds_are_treated_alike(kind):
    average = kind()
    assert len(average.names) == len(average.decays(0, 8)) == len(set(average.names))
    assert all(name.replace(".", "").isalnum() for name in average.names)
    assert set(average.decays(0, 8)) == {0.0}  # the first step keeps nothing of the initial weights
    for before, after in pairwise(average.decays(seen, 8) for seen in (8, 64, 512)):
        assert all(0 < early < late < 1 for early, late in zip(before, after, strict=True))
    assert EMAS.read({"kind": average.kind}) == average


def test_names():
    assert HalfLifeEMA().names == ("halflife",)
    assert PowerEMA(sigma_rel=(0.05, 0.1, 0.125)).names == ("0.05", "0.1", "0.125")


def test_power_decays_of_images_are_those_of_steps():
    assert PowerEMA().decays(3 * 128, 128) == pytest.approx(PowerEMA().decays(3, 1))
    assert PowerEMA().decays(3, 1) == pytest.approx([(1 - 1 / 4) ** (gamma_of(s) + 1) for s in (0.05, 0.1)])


@pytest.mark.parametrize("sigma_rel", [0.02, 0.05, 0.1, 0.28])
def test_updates_are_the_integral_of_the_profile_over_each_step(sigma_rel):
    ends = (np.arange(STEPS + 1) / STEPS) ** (gamma_of(sigma_rel) + 1)
    expected = np.diff(ends) @ run()
    assert np.allclose(tracked(sigma_rel)[-1], expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1])
def test_updates_approach_the_defining_sum(sigma_rel):
    """Weights t^gamma at the end of each step differ from the integral by (gamma + 1) / 2t, relative to a step."""
    errors = []
    for steps in (500, 1000, 2000):
        time = np.arange(1, steps + 1) / steps
        share = time ** gamma_of(sigma_rel)
        exact = np.diff(np.append(0, time ** (gamma_of(sigma_rel) + 1)))
        errors.append(abs(exact - share / share.sum()).sum())
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)
    share = np.arange(1, STEPS + 1) ** gamma_of(sigma_rel)
    truth = tracked(sigma_rel)[-1].numpy()
    assert np.linalg.norm(share / share.sum() @ run() - truth) < 2e-3 * np.linalg.norm(truth)


@pytest.mark.parametrize(
    "written",
    [{"halflife_images": 30_000.0, "ramp": 0.05}, {"halflife_images": 500_000.0, "ramp": None}],
)
def test_half_life_is_written_as_before_the_kinds(written):
    """Fingerprints of stored results are of this JSON."""
    holder = Holder.model_validate({"ema": written})
    assert isinstance(holder.ema, HalfLifeEMA)
    assert json.dumps(holder.model_dump(mode="json"), sort_keys=True) == json.dumps({"ema": written}, sort_keys=True)
    assert json.loads(holder.model_dump_json()) == holder.model_dump() == {"ema": written}
    assert Holder.model_validate({"ema": {"kind": "halflife", **written}}) == holder


@pytest.mark.parametrize("value", [{}, "halflife", {"kind": "halflife"}, HalfLifeEMA()])
def test_half_life_is_the_default(value):
    assert Holder.model_validate({"ema": value}) == Holder()
    assert Holder().model_dump(mode="json") == {"ema": {"halflife_images": 500_000.0, "ramp": 0.05}}


def test_power_goes_to_json_and_back():
    holder = Holder.model_validate({"ema": {"kind": "power", "sigma_rel": [0.1, 0.05]}})
    assert holder.model_dump(mode="json") == {"ema": {"kind": "power", "sigma_rel": [0.1, 0.05]}}
    assert Holder.model_validate(holder.model_dump(mode="json")) == holder
    assert Holder.model_validate_json(holder.model_dump_json()) == holder
    assert Holder.model_validate({"ema": "power"}).ema == PowerEMA(sigma_rel=(0.05, 0.1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "power", "sigma_rel": [0.05, 0.3]}, r"ema\.sigma_rel\.1\n.*less than or equal to 0\.28"),
        ({"kind": "power", "sigma_rel": [0.0]}, r"ema\.sigma_rel\.0\n.*greater than 0"),
        ({"kind": "power", "sigma_rel": [math.nan]}, r"ema\.sigma_rel\.0\n"),
        ({"kind": "power", "sigma_rel": [0.05, 0.1, 0.05]}, "0.05 is there twice; remove one"),
        ({"kind": "power", "sigma_rel": []}, r"ema\.sigma_rel\n.*at least 1 item"),
        ({"kind": "power", "ramp": 0.05}, r"ema\.ramp\n.*not permitted"),
        ({"kind": "karras"}, "unknown kind 'karras'; allowed: 'halflife', 'power'"),
        ({"sigma_rel": [0.05]}, r"ema\.sigma_rel\n.*not permitted"),
        ({"halflife_images": 0.0}, r"ema\.halflife_images\n.*greater than 0"),
        (3, "needs a `kind`"),
    ],
)
def test_mistakes_are_named(value, message):
    with pytest.raises(ValidationError, match=message):
        Holder.model_validate({"ema": value})


def test_a_snapshot_of_the_target_is_all_it_takes():
    profiles = [Profile(400, 7.0), Profile(800, 7.0), Profile(800, 17.0)]
    weights, error = fit_profile(profiles, Profile(800, 7.0))
    assert weights == pytest.approx([0, 1, 0], abs=1e-9)
    assert error < 1e-7


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e12])
def test_the_unit_of_time_changes_nothing(unit):
    profiles, target = [Profile(t * unit, gamma) for t in (1, 2, 3) for gamma in (6.0, 300.0)], Profile(3 * unit, 40.0)
    same = fit_profile([Profile(t, gamma) for t in (1, 2, 3) for gamma in (6.0, 300.0)], Profile(3, 40.0))
    assert posthoc_weights(profiles, target) == pytest.approx(same.weights, rel=1e-9)
    assert fit_profile(profiles, target).error == pytest.approx(same.error, rel=1e-9)


def test_the_fit_is_least_squares_of_the_profiles():
    """The same fit with profiles as columns of numbers at the midpoints of a fine grid."""
    profiles = [Profile(t, gamma) for t in (0.4, 0.7, 1.0) for gamma in (2.0, 9.0)]
    tau = (np.arange(200_000) + 0.5) / 200_000

    def density(profile):
        return np.where(tau < profile.t, (profile.gamma + 1) * tau**profile.gamma / profile.t ** (profile.gamma + 1), 0)

    wanted, columns = density(Profile(1.0, 5.0)), np.stack([density(profile) for profile in profiles], axis=1)
    weights, error = fit_profile(profiles, Profile(1.0, 5.0))
    assert weights == pytest.approx(np.linalg.lstsq(columns, wanted)[0], abs=1e-4)
    assert error == pytest.approx(np.linalg.norm(columns @ weights - wanted) / np.linalg.norm(wanted), rel=1e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("count", "t", "sigma_rels", "limit"),
    [
        (20, 2000, (0.03, 0.04, 0.05, 0.07, 0.10, 0.12, 0.15), 0.03),
        (25, 1600, (0.03, 0.04, 0.05, 0.07, 0.10, 0.12, 0.15), 0.03),  # an earlier time: the 20th of 25
        (16, 2000, (0.04, 0.05, 0.07, 0.10, 0.12, 0.15), 0.02),
        (16, 1250, (0.05, 0.07, 0.10, 0.12), 0.01),  # the 10th of 16
    ],
)
def test_reconstruction_equals_the_tracked_average(count, t, sigma_rels, limit, seed):
    for sigma_rel in sigma_rels:
        off, error = miss(count, t, sigma_rel, seed)
        assert off <= 1e-3, sigma_rel
        assert error <= limit, sigma_rel


@pytest.mark.parametrize("sigma_rel", TRACKED.sigma_rel)
def test_a_tracked_width_comes_back(sigma_rel):
    off, error = miss(16, 2000, sigma_rel)
    assert off <= 1e-6
    assert error <= 1e-7


@pytest.mark.parametrize("sigma_rel", [0.02, 0.03, 0.07, 0.15, 0.25])
def test_more_snapshots_bring_the_average_nearer(sigma_rel):
    misses = [miss(count, 2000, sigma_rel) for count in (8, 16, 32)]
    assert all(late < early / 2 for (early, _), (late, _) in pairwise(misses))
    assert all(late < early for (_, early), (_, late) in pairwise(misses))


def test_what_the_snapshots_cannot_reach_has_a_large_error():
    gamma = gamma_of(0.05)
    assert fit_profile([Profile(2000, gamma)], Profile(2000, gamma_of(0.25))).error > 0.5
    assert fit_profile([Profile(1000, gamma)], Profile(2000, gamma)).error > 0.9
    for t, sigma_rel in ((1250, 0.02), (2000, 0.25), (1940, 0.05)):  # too narrow, too wide, between two snapshots
        off, error = miss(16, t, sigma_rel)
        assert off > 1e-3
        assert error > 0.05


@pytest.mark.parametrize("sigma_rel", [0.03, 0.04, 0.07, 0.12, 0.15])
def test_weights_sum_to_about_one(sigma_rel):
    weights = posthoc_weights([profile for profile, _ in snapshots(20)], Profile(STEPS, gamma_of(sigma_rel)))
    assert weights.sum() == pytest.approx(1, abs=1e-3)
    assert abs(weights).sum() < 10


def test_hundreds_of_snapshots_are_no_trouble():
    profiles = [Profile(t + 1, gamma) for t in range(300) for gamma in TRACKED.gammas]
    weights, error = fit_profile(profiles, Profile(300, gamma_of(0.03)))
    assert error < 1e-3
    assert abs(weights).sum() < 20


@pytest.mark.parametrize("bad", [Profile(0, 3.0), Profile(math.inf, 3.0), Profile(1, -0.5), Profile(1, math.nan)])
def test_profiles_out_of_range_are_refused(bad):
    good = Profile(1, 3.0)
    for profiles, target in (([good, bad], good), ([good], bad)):
        with pytest.raises(ValueError, match=r"finite t > 0 and gamma > -1/2; we got Profile"):
            fit_profile(profiles, target)


def test_no_snapshot_is_refused():
    with pytest.raises(ValueError, match="one or more snapshots"):
        fit_profile([], Profile(1, 3.0))


PAIR, MIDDLE = (Profile(8, 3.0), Profile(8, 9.0)), Profile(8, 6.0)


def test_tensors_of_a_reconstruction():
    """Averages keep their type, what is equal stays as it is, and the rest is that of the last snapshot."""
    buffer = torch.tensor([0.1, 0.7])
    first = {"w": torch.tensor([1.0, 2.0]), "half": torch.tensor([1.0]).half(), "u": buffer, "n": torch.tensor(3)}
    second = {
        "w": torch.tensor([2.0, 0.0]),
        "half": torch.tensor([2.0]).half(),
        "u": buffer.clone(),
        "n": torch.tensor(5),
    }
    made = reconstruct(PAIR, iter([first, second]), MIDDLE)
    a, b = posthoc_weights(PAIR, MIDDLE)
    assert made["w"].tolist() == pytest.approx([a + 2 * b, 2 * a])
    assert made["half"].item() == pytest.approx(a + 2 * b, rel=1e-3)
    assert {name: tensor.dtype for name, tensor in made.items()} == {n: each.dtype for n, each in first.items()}
    assert torch.equal(made["u"], buffer)
    assert made["n"] == 5
    assert first["w"].tolist() == [1, 2]  # what is given is not changed


def test_snapshots_are_let_go_one_after_the_other():
    """A generator that reads files has the one before in memory, and none of those before it."""
    given, alive = [], []

    def opened():
        for place in range(4):
            alive.append(sum(reference() is not None for reference in given))
            snapshot = {"w": torch.full((3,), float(place))}
            given.append(weakref.ref(snapshot["w"]))
            yield snapshot
            del snapshot

    reconstruct([Profile(t, 3.0) for t in (1, 2, 3, 4)], opened(), MIDDLE)
    assert alive == [0, 1, 1, 1]


@pytest.mark.parametrize(
    "other", [{"v": torch.ones(2)}, {"w": torch.ones(3)}, {"w": torch.ones(2).half()}, {}], ids=str
)
def test_snapshots_of_other_networks_are_refused(other):
    with pytest.raises(InputError, match=r"snapshot 2 of 2 differs from the first in .*w; use snapshots of one"):
        reconstruct(PAIR, [{"w": torch.ones(2)}, other], MIDDLE)


def test_as_many_snapshots_as_profiles():
    with pytest.raises(ValueError, match="zip"):
        reconstruct(PAIR, [{"w": torch.ones(2)}], MIDDLE)
