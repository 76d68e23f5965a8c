"""Levels, steps and seeds at the ends of what can be asked: exact where it can be, refused in words where not."""

import math

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.experiments.nfe import count_nfe
from harness.experiments.plan import plan
from harness.sampling import discretizations
from harness.sampling.discretizations.base import Range
from harness.sampling.noise import MAX_SEED, checked_seeds
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from tests.problems import Gaussian

RANGES = [Range(0.002, 80.0), Range(1e-12, 80.0), Range(0.002, 1e12), Range(79.9999, 80.0)]


@pytest.mark.parametrize("rho", [1e-3, 1e-2, 0.1, 7.0, 1e3, 1e6])
@pytest.mark.parametrize("within", RANGES, ids=str)
def test_edm_levels_at_any_rho(rho, within):
    levels = discretizations.EDM(rho=rho)(18, within)
    assert bool((levels[1:] < levels[:-1]).all())
    assert (levels[0].item(), levels[-1].item()) == (within.high, within.low)


def test_edm_levels_at_a_large_rho_are_equal_ratios():
    ratios = discretizations.EDM(rho=1e9)(10, Range(0.002, 80.0)).log().diff()
    assert torch.allclose(ratios, ratios[0].expand_as(ratios), rtol=1e-6)


def test_edm_levels_at_a_small_rho():
    levels, place = discretizations.EDM(rho=1e-3)(5, Range(0.002, 80.0)), torch.arange(4, dtype=torch.float64) / 4
    assert torch.allclose(levels[:-1], 80 * (1 - place) ** 1e-3, rtol=1e-12)  # the root of 0.002 / 80 is 0


FORMULAS = [
    *("EDM", "PolyExponential", "Cosine", "VELevels", "VPLevels"),
]


@pytest.mark.parametrize("name", FORMULAS)
def test_first_and_last_level_are_the_ends(name):
    within = Range(0.0123456789, 78.90123456789)
    levels = getattr(discretizations, name)()(33, within)
    assert (levels[0].item(), levels[-1].item()) == (within.high, within.low)
    assert bool(((levels >= within.low) & (levels <= within.high)).all())
    assert getattr(discretizations, name)()(1, within).tolist() == [within.high]


def test_levels_that_are_no_numbers_are_refused():
    sampler = Sampler.model_validate({"discretization": {"kind": "vp", "sigma_min": 79.9999, "sigma_max": 80.0}})
    with pytest.raises(InputError, match=r"the noise levels go from .* do not fall"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), sampler, [0])


def test_times_that_overflow_are_refused():
    levels = {"kind": "explicit", "sigmas": [1e200, 1.0]}
    sampler = Sampler.model_validate({"discretization": levels, "schedule": "ve"})
    with pytest.raises(InputError, match="the times begin at inf; lower sigma_max"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), sampler, [0])


CROWDED = {"kind": "polyexponential", "rho": 30.0}
NEAR = {"kind": "explicit", "sigmas": [80.0, 80 * (1 - 2e-16), 10.0, 10 * (1 - 2e-16), 1.0, 1 - 1e-15]}


@pytest.mark.parametrize("kind", [kind for kind in SOLVERS.kinds if kind not in ("solve_ivp", "rk45", "adaptive_sde")])
@pytest.mark.parametrize("levels", [CROWDED, NEAR], ids=["crowded", "near"])
def test_steps_between_equal_levels_divide_by_nothing(kind, levels):
    fields = {"solver": kind, "discretization": levels}
    sampler = Sampler.model_validate(fields if levels is NEAR else fields | {"steps": 60})
    assert count_nfe(sampler, 0.002, 80.0) >= sampler.steps
    images = sample(Gaussian(0.0, 0.5, (1, 2, 2)), sampler, range(4)).images
    assert bool(torch.isfinite(images).all())


@pytest.mark.parametrize("seed", [2**32, 2**40, -1, 0.5, 3.0, math.nan, "3", None])
def test_seeds_that_would_be_others(seed):
    with pytest.raises(InputError, match=f"seeds are integers from 0 to {MAX_SEED}; we got"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), Sampler(steps=2), [0, seed])


def test_seeds_may_be_numpys_and_torchs():
    given = [MAX_SEED, np.int64(3), np.uint32(4), torch.tensor(5)]
    assert checked_seeds(given) == [MAX_SEED, 3, 4, 5]


GRID = "title: t\nsamples: 64\nfirst_seed: {}\nsteps: [3]\nmetrics: {{kind: fd-digits, ranges: {}}}\n"
GRID += "denoisers: [digits-vp]\nseries: [{{name: h}}]\n"


@pytest.mark.parametrize(("first", "ranges", "samples"), [(2**32, 1, None), (2**32 - 64, 2, None), (2**32 - 64, 1, 65)])
def test_a_grid_beyond_the_last_seed(tmp_path, first, ranges, samples):
    (tmp_path / "g.yaml").write_text(GRID.format(first, ranges))
    with pytest.raises(
        InputError, match=r"g\.yaml:3.*seeds go up to 4294967295 and these to 429496\d+; lower first_seed"
    ):
        plan(tmp_path / "g.yaml", samples=samples)


def test_a_grid_up_to_the_last_seed(tmp_path):
    (tmp_path / "g.yaml").write_text(GRID.format(2**32 - 64, 1))
    assert plan(tmp_path / "g.yaml").grid.first_seed == 2**32 - 64
