"""The Brownian path: normal, additive, independent over intervals, samples and pixels, and the same however asked."""

import itertools
import math

import pytest
import torch

from harness.core.errors import SamplingError
from harness.sampling.brownian import Brownian, Power

CLOCKS = [Power(-2), Power(2), Power(1), Power(-1.0)]
HIGH, LOW = 80.0, 0.002


def level(value):
    return torch.tensor(value, dtype=torch.float64)


def path(seeds, shape=(1, 2, 2)):
    return Brownian(seeds, shape, HIGH, LOW)


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
def test_increments_are_standard_normals_that_share_nothing(clock):
    found = path(range(20_000))
    one, two, far = (
        found.increment(level(a), level(b), clock).flatten(1) for a, b in ((HIGH, 1.3), (1.3, 0.7), (0.05, LOW))
    )
    n = len(one)
    for z in (one, two, far):
        assert z.mean().abs() < 4 / math.sqrt(z.numel())
        assert z.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / z.numel()))
        assert (z**4).mean().item() == pytest.approx(3, abs=5 * math.sqrt(96 / z.numel()))
    pairs = [one * two, two * far, one * far, one * one.roll(1, 1), one * one.roll(1, 0)]
    assert all((pair.mean(0).abs() < 5 / math.sqrt(n)).all() for pair in pairs)


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
def test_increments_add_up(clock):
    def change(a, b):
        spread = (clock(level(b)) - clock(level(a))).abs().sqrt()
        return path(range(5)).increment(level(a), level(b), clock) * spread

    whole, parts = change(30.0, 0.01), change(30.0, 2.0) + change(2.0, 0.3) + change(0.3, 0.01)
    assert (whole - parts).abs().max() < 1e-12 * whole.abs().max()


def test_the_path_does_not_depend_on_how_it_is_asked():
    found, clock = path([3, 8, 5]), Power(-2)
    straight = found.increment(level(2.0), level(0.5), clock)
    found.increment(level(0.5), level(0.4), clock)
    found.increment(level(60.0), level(7.0), Power(2))
    assert torch.equal(found.increment(level(2.0), level(0.5), clock), straight)
    assert torch.equal(path([5, 3]).increment(level(2.0), level(0.5), clock), straight[[2, 0]])
    starts, ends = level([2.0, 2.0]).reshape(-1, 1, 1, 1), level([0.5, 0.5]).reshape(-1, 1, 1, 1)
    assert torch.equal(found.increment(starts, ends, clock, [2, 1]), straight[[2, 1]])


def test_fine_steps_have_fresh_noise():
    """Neighbouring small steps, well below those of a thousand levels, are uncorrelated."""
    found, clock = path(range(4000)), Power(-2)
    levels = [level(math.exp(-0.005 * k)) for k in range(6)]
    steps = [found.increment(a, b, clock).flatten() for a, b in itertools.pairwise(levels)]
    for one, two in itertools.pairwise(steps):
        assert abs((one * two).mean().item()) < 4 / math.sqrt(len(one))
        assert one.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / len(one)))


def test_nothing_moves_over_no_interval():
    assert path([1]).increment(level(1.0), level(1.0), Power(2)).abs().max() == 0


def test_outside_its_range_there_is_no_path():
    with pytest.raises(SamplingError, match="asked outside"):
        path([1]).increment(level(90.0), level(1.0), Power(2))


def test_neighbouring_steps_are_independent_down_to_a_leaf():
    """Steps as short as those of a run of 100,000 levels."""
    path = Brownian(range(4000), (1, 1, 4), 80.0, 0.002)
    count = 4000 * 4
    for step in (1e-3, 1e-4, 2e-5):
        levels = [torch.tensor(10.0 * math.exp(-k * step), dtype=torch.float64) for k in range(3)]
        one, two = (path.increment(*pair, Power(1.0)).flatten() for pair in itertools.pairwise(levels))
        assert one.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / count))
        assert two.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / count))
        assert (one * two).mean().item() == pytest.approx(0, abs=4 / math.sqrt(count))


def test_pixels_are_independent_and_normal():
    """Two come of one counter."""
    path = Brownian(range(20_000), (1, 1, 3), 80.0, 0.002)
    top, end = (torch.tensor(level, dtype=torch.float64) for level in (80.0, 0.5))
    values = path.increment(top, end, Power(1.0)).flatten(1)
    assert values.shape == (20_000, 3)
    for power, expected, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert values.pow(power).mean().item() == pytest.approx(expected, abs=4 * math.sqrt(spread / 60_000))
    for powers in (values, values.square()):
        off = torch.corrcoef(powers.T) - torch.eye(3, dtype=torch.float64)
        assert off.abs().max() < 4 / math.sqrt(20_000)
