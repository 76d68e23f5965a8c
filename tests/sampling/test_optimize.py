"""Discretization `optimized`: the dynamic programming, what it finds, and that what is found is kept."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

import harness.sampling.optimize as optimize
from harness.core.errors import InputError
from harness.sampling.discretizations import Optimized
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from tests.problems import Gaussian
from tests.sampling.orders import mixture, rms


@pytest.mark.parametrize("growth", [1.0, 1.15])
def test_the_path_is_the_best_of_all(growth):
    generator = np.random.default_rng(0)
    errors = np.triu(generator.random((9, 9)), 1)
    errors[np.tril_indices(9)] = np.inf

    def cost(path):
        total = 0.0
        for i, j in itertools.pairwise(path):
            total = growth * total + errors[i, j]
        return total

    for steps in range(1, 9):
        found = optimize.cheapest_path(errors, steps, growth)
        every = [(0, *middle, 8) for middle in itertools.combinations(range(1, 8), steps - 1)]
        assert cost(found) == pytest.approx(min(map(cost, every)), rel=1e-12)
        assert len(found) == steps + 1


def test_errors_of_steps_vanish_on_straight_trajectories():
    """One point as data: every trajectory is a line in sigma, so no step errs."""
    found = optimize.reference(Gaussian(0.3, 0.0, (1, 2, 2)), Optimized(reference=16), range(4))
    for error in ("euler", "trapezoid"):
        errors = optimize.step_errors(found, error)
        assert np.isinf(errors[np.tril_indices(16)]).all()
        assert errors[np.triu_indices(16, 1)].max() < 1e-10


@pytest.mark.parametrize("solver", ["ddim", "heun"])
def test_they_end_nearer_to_the_converged_trajectory_than_edm(solver):
    denoiser, steps = mixture(), 7
    truth = sample(denoiser, Sampler(steps=400), range(40)).images
    images = {
        kind: sample(
            denoiser, Sampler.model_validate({"solver": solver, "discretization": kind, "steps": steps}), range(40)
        )
        for kind in ("edm", "optimized")
    }
    assert rms(images["optimized"].images - truth) < 0.8 * rms(images["edm"].images - truth)
    assert torch.equal(images["optimized"].nfe, images["edm"].nfe)  # the search is not counted


def test_what_is_found_is_kept_and_can_be_given():
    denoiser, choice = mixture(), Optimized(reference=32, seeds=8)
    sampler = Sampler(discretization=choice, steps=6)
    with_levels = optimize.with_levels(denoiser, sampler)
    calls = len(denoiser.rows)
    assert optimize.with_levels(denoiser, sampler) == with_levels
    assert len(denoiser.rows) == calls  # remembered
    levels = with_levels.discretization.levels
    assert len(levels) == 6
    assert levels[0] == pytest.approx(80.0)
    assert levels[-1] == pytest.approx(0.002)
    again = Sampler.model_validate_json(with_levels.model_dump_json())
    assert torch.equal(sample(denoiser, again, [1]).images, sample(denoiser, sampler, [1]).images)
    assert optimize.find_levels(denoiser, choice, 1) == pytest.approx((80.0,))
    assert len(optimize.find_levels(denoiser, choice, 32)) == 32


def test_more_levels_than_the_reference_has():
    with pytest.raises(InputError, match="picks from 16 levels and cannot make 17; raise `reference`"):
        sample(mixture(), Sampler(discretization=Optimized(reference=16, seeds=2), steps=17), [0])


def test_levels_that_do_not_fit_the_steps():
    given, narrow = Optimized(levels=(10.0, 1.0, 0.1)), mixture()
    narrow.sigma_min, narrow.sigma_max = 0.01, 5.0
    with pytest.raises(ValueError, match="lists 3 levels and steps is 4"):
        Sampler(discretization=given, steps=4)
    assert Sampler(discretization=given).steps == 3
    with pytest.raises(InputError, match=r"lists 10, outside the denoiser's range 0\.01 to 5"):
        Sampler(discretization=given).sigmas(narrow)
    with pytest.raises(InputError, match="has no levels yet"):
        Sampler(discretization=Optimized()).sigmas(mixture())
    with pytest.raises(ValueError, match="must fall"):
        Optimized(levels=(1.0, math.e))


def test_blocks_of_seeds_add_up(monkeypatch):
    choice = Optimized(reference=16, seeds=10)
    whole = optimize.find_levels(mixture(), choice, 6)
    monkeypatch.setattr(optimize, "BLOCK", 3 * 16 * 4)  # three seeds of four numbers
    assert optimize.find_levels(mixture(), choice, 6) == pytest.approx(whole, rel=1e-12)


def test_objects_that_cannot_be_remembered():
    """A data class is not hashable; it is a denoiser all the same."""

    @dataclasses.dataclass
    class Record(type(mixture())):
        name: str = "record"

        def __init__(self):
            self.__dict__.update(mixture().__dict__)

    chosen = Sampler(discretization=Optimized(reference=16, seeds=2), steps=4)
    assert torch.equal(sample(Record(), chosen, [1]).images, sample(mixture(), chosen, [1]).images)
