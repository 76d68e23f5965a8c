"""A denoiser that remembers gives the same answers, computes each once, and keeps no more than it may."""

import pytest
import torch

import harness
from harness.contract import check_denoiser
from harness.denoisers.remembered import Remembered
from harness.sampling.denoiser import cost_at

SEEDS = range(6)


def churned(s_tmax, s_noise=1.0):
    noise = {"kind": "churn", "S_churn": 2.0, "S_tmax": s_tmax, "S_noise": s_noise}
    return harness.Sampler.model_validate({"stochasticity": noise, "steps": 8})


@pytest.fixture
def network():
    return harness.load_denoiser("digits-vp")


def test_trials_that_begin_alike_share_their_beginning_to_the_last_bit(network):
    remembered = Remembered(network)
    samplers = [churned(1.0), churned(1.0, 1.007), churned(5.0), churned(80.0)]
    alone = [harness.sample(network, sampler, SEEDS, batch=6) for sampler in samplers]
    saved = []
    for sampler, wanted in zip(samplers, alone, strict=True):
        before = remembered.saved
        found = harness.sample(remembered, sampler, SEEDS, batch=6)
        assert torch.equal(found.images, wanted.images) and torch.equal(found.nfe, wanted.nfe)
        saved.append((remembered.saved - before) // 6)
    above = [int((samplers[0].sigmas(network) > limit).sum()) for limit in (1.0, 5.0)]
    assert saved[0] == 0
    assert saved[1] == 2 * above[0]  # two evaluations a step, down to the window
    assert 2 * above[1] <= saved[2] < saved[1]
    assert saved[3] == 0


def test_answers_are_the_askers_own(network):
    remembered = Remembered(network)
    x, sigma = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(1.0)
    first = remembered(x, sigma)
    kept = first.clone()
    first.zero_()
    second = remembered(x, sigma)
    assert torch.equal(second, kept)
    second.zero_()
    assert torch.equal(remembered(x, sigma), kept)
    assert remembered.saved == 4


def test_another_level_label_or_shape_is_another_question():
    network = harness.load_denoiser("digits-adm")
    remembered = Remembered(network)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(network.label_dim)[:2]
    asked = [
        (x, torch.tensor(1.0), None),
        (x, torch.tensor(2.0), None),
        (x, torch.tensor([1.0, 1.0]), None),
        (x, torch.tensor(1.0), labels),
        (x, torch.tensor(1.0), labels.flip(0)),
        (x[:1], torch.tensor(1.0), None),
        (x.double(), torch.tensor(1.0), None),
    ]
    for question in asked:
        assert torch.equal(remembered(*question), network(*question))
    assert remembered.saved == 0


def test_the_oldest_answers_go_first(network):
    x = torch.zeros(1, 1, 8, 8)
    remembered = Remembered(network, limit=3 * 64 * 4)
    for sigma in (1.0, 2.0, 3.0, 1.0, 4.0):
        remembered(x, torch.tensor(sigma))
    assert remembered.saved == 1 and remembered.size == 3 * 64 * 4
    remembered(x, torch.tensor(1.0))
    assert remembered.saved == 2
    remembered(x, torch.tensor(2.0))
    assert remembered.saved == 2


def test_what_is_saved_counts_in_the_denoisers_own_cost():
    spec = {"kind": "cfg", "denoiser": "digits-adm", "weight": 2.0, "sigma_lo": 0.5, "sigma_hi": 5.0}
    guided = harness.load_denoiser(spec)
    remembered = Remembered(guided)
    x, labels = torch.zeros(3, 1, 8, 8), torch.eye(guided.label_dim)[:3]
    for sigma, cost in ((1.0, 2), (0.1, 1)):
        before, level = remembered.saved, torch.tensor(sigma, dtype=torch.float64)
        assert int(cost_at(remembered, level)) == int(cost_at(guided, level)) == cost
        remembered(x, level, labels)
        remembered(x, level, labels)
        assert remembered.saved - before == 3 * cost


def test_it_is_a_denoiser(network):
    check_denoiser(Remembered(network))
