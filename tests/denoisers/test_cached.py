"""A denoiser that remembers answers as the one it stands for, whatever callers do, and keeps no more than it may."""

import pytest
import torch

from harness.denoisers.cached import CachedDenoiser, sums_of_rows
from harness.denoisers.check import check_denoiser
from harness.denoisers.load import load_denoiser
from harness.metrics import JacobianAsymmetry
from harness.metrics.base import SamplingJob
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler


class Counting:
    """D = x / (1 + sigma), with a count of its calls; twice the cost above sigma 1."""

    shape, label_dim, cost, sigma_min, sigma_max = (1, 2, 2), 2, 2, 0.0, float("inf")
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self):
        self.calls = 0

    def __call__(self, x, sigma, labels=None):
        self.calls += 1
        return x / (1 + sigma) + (0.0 if labels is None else labels.sum())

    def round_sigma(self, sigma):
        return sigma

    def cost_at(self, sigma):
        return torch.where(sigma > 1, 2, 1)


def images(count=3):
    return torch.arange(4.0 * count, dtype=torch.float64).reshape(count, 1, 2, 2)


def level(sigma):
    return torch.tensor(sigma, dtype=torch.float64)


def test_equal_questions_are_asked_once_and_answers_belong_to_the_caller():
    main = Counting()
    denoiser, x = CachedDenoiser(main), images()
    first = denoiser(x, level(2.0))
    expected = first.clone()
    first.zero_()
    second = denoiser(x, level(2.0))
    assert torch.equal(second, expected)
    second.zero_()
    assert torch.equal(denoiser(x, level(2.0)), expected)
    assert (main.calls, denoiser.saved) == (1, 2 * 2 * 3)
    x[0] += 1
    assert not torch.equal(denoiser(x, level(2.0)), expected)
    assert main.calls == 2


def test_other_levels_labels_and_shapes_are_other_questions():
    main = Counting()
    denoiser, one = CachedDenoiser(main), torch.eye(2)[[0, 0, 0]]
    for sigma, labels in ((0.5, None), (0.7, None), (0.5, one), (0.5, torch.eye(2)[[1, 1, 1]])):
        denoiser(images(), level(sigma), labels)
    denoiser(images().reshape(3, 1, 4, 1), level(0.5))
    assert (main.calls, denoiser.saved) == (5, 0)


def test_the_longest_unused_answers_go_first():
    main = Counting()
    denoiser = CachedDenoiser(main, limit=2 * images().nbytes)
    for sigma in (0.1, 0.2, 0.1, 0.3, 0.1, 0.2):  # at 0.3 that of 0.2 goes
        denoiser(images(), level(sigma))
    assert main.calls == 4
    assert denoiser.outputs.size <= denoiser.outputs.limit
    small = CachedDenoiser(main, limit=1)
    small(images(), level(0.1))
    assert small.outputs.size == 0


def test_derivatives_are_those_of_the_denoiser_itself():
    denoiser, x = CachedDenoiser(Counting()), images()
    denoiser(x, level(1.0))
    for _ in range(2):
        free = x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(denoiser(free, level(1.0)).sum(), free)
        assert torch.equal(slope, torch.full_like(x, 0.5))


@pytest.mark.parametrize("name", ["digits-vp", "digits-adm"])
def test_a_measure_that_differentiates_is_the_same(name):
    main = load_denoiser(name)
    sampler, measure = Sampler.model_validate({"steps": 2}), JacobianAsymmetry(probes=2)
    seen = [
        measure.observe(SamplingJob(one, sampler, [0, 1], None, main.device, batch=2, converged={}))
        for one in (main, CachedDenoiser(main))
    ]
    assert torch.equal(seen[0].values, seen[1].values)


def churned(s_tmax, s_noise=1.0):
    noise = {"kind": "churn", "S_churn": 2.0, "S_tmax": s_tmax, "S_noise": s_noise}
    return Sampler.model_validate({"stochasticity": noise, "steps": 8})


def test_trials_that_begin_alike_share_their_beginning_to_the_last_bit():
    main, seeds = load_denoiser("digits-vp"), range(6)
    remembered = CachedDenoiser(main)
    samplers = [churned(1.0), churned(1.0, 1.007), churned(5.0), churned(80.0)]
    saved = []
    for sampler in samplers:
        before, alone = remembered.saved, sample(main, sampler, seeds, batch=6)
        found = sample(remembered, sampler, seeds, batch=6)
        assert torch.equal(found.images, alone.images) and torch.equal(found.nfe, alone.nfe)
        saved.append((remembered.saved - before) // 6)
    above = [int((samplers[0].sigmas(main) > limit).sum()) for limit in (1.0, 5.0)]
    assert (saved[0], saved[3]) == (0, 0)
    assert saved[1] == 2 * above[0]  # two evaluations a step, down to the window
    assert 2 * above[1] <= saved[2] < saved[1]


def test_it_is_a_denoiser():
    check_denoiser(CachedDenoiser(load_denoiser("digits-vp")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_what_stands_for_a_row_differs_when_the_row_does(dtype):
    rows = torch.arange(1, 25).reshape(2, 3, 4).to(dtype)
    sums = sums_of_rows(rows)
    assert sums.shape == (2, 4) and torch.equal(sums, sums_of_rows(rows.clone()))
    others = [rows.flip(2), rows.flip(1), -rows, rows + torch.eye(12)[0].reshape(3, 4).to(dtype), rows.roll(1, 1)]
    for other in others:  # swapped places, a changed sign, one changed number
        assert not bool((sums_of_rows(other) == sums).any())
    assert torch.equal(sums_of_rows(rows.flip(0)), sums.flip(0))
    assert torch.equal(sums_of_rows(rows[:, :, ::2]), sums_of_rows(rows[:, :, ::2].contiguous()))


def test_negative_zero_is_another_input():
    zeros = torch.zeros(1, 2)
    assert not torch.equal(sums_of_rows(zeros), sums_of_rows(-zeros))
