"""Computations side by side on one denoiser: each gets what it would get alone, and failures stay where they are."""

import threading

import pytest
import torch

from harness.core.errors import MachineError
from harness.denoisers.load import load_denoiser
from harness.denoisers.pooled import Pool
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS

GAUSSIAN = {"kind": "gaussian", "std": 0.5, "shape": [1, 4, 4]}
ADAPTIVE = {"rk45", "solve_ivp"}


def samplers():
    """Every solver, with and without churn where it takes it, at several lengths."""
    for number, kind in enumerate(sorted(SOLVERS.kinds)):
        yield Sampler.model_validate({"solver": kind, "steps": 4 + number % 3})
    churn = {"kind": "churn", "S_churn": 4.0}
    yield Sampler.model_validate({"solver": "heun", "steps": 5, "stochasticity": churn})
    yield Sampler.model_validate({"solver": "euler", "steps": 5, "stochasticity": {"kind": "ancestral"}})


def several(count, **options):
    """Samplers that share no evaluation."""
    return [
        Sampler.model_validate({"discretization": {"kind": "edm", "sigma_max": 30.0 + number}, **options})
        for number in range(count)
    ]


def works(seeds, every, labels=None):
    return [lambda denoiser, one=one: sample(denoiser, one, seeds=seeds, labels=labels) for one in every]


class Watched:
    """A denoiser that keeps the rows of its calls, and may fail."""

    def __init__(self, main, most=1000, bad=None):
        self.main, self.most, self.bad, self.rows = main, most, bad, []
        for name in ("shape", "label_dim", "sigma_min", "sigma_max", "cost", "dtype", "device", "round_sigma"):
            setattr(self, name, getattr(main, name))

    def __call__(self, x, sigma, labels=None):
        if len(x) > self.most:
            raise torch.OutOfMemoryError
        if self.bad is not None and bool((x == self.bad).any()):
            raise ValueError("no")
        self.rows.append(len(x))
        return self.main(x, sigma, labels)


@pytest.mark.parametrize("slots", [1, 3, 50])
def test_every_solver_finds_the_same_bits_on_a_denoiser_without_sums(slots):
    main, seeds, every = load_denoiser(GAUSSIAN), [3, 1], list(samplers())
    alone = [sample(main, one, seeds=seeds) for one in every]
    beside = Pool(main, 16, slots).run(works(seeds, every))
    assert len(every) > 20
    for one, (other, _) in zip(alone, beside, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.nfe, other.nfe)


@pytest.mark.parametrize(
    ("source", "labels", "near"),
    [
        ({"kind": "digits-mixture"}, None, 1e-12),
        ("digits-vp", None, 1e-5),
        ("digits-adm", 7, 1e-5),
        ({"kind": "cfg", "denoiser": "digits-adm", "weight": 1.5, "sigma_lo": 0.3, "sigma_hi": 5.0}, None, 1e-5),
    ],
    ids=["mixture", "network", "classes", "guided"],
)
def test_others_find_the_same_but_for_rounding(source, labels, near):
    main, seeds = load_denoiser(source), [0, 1, 2]
    every = [Sampler(steps=steps, solver=solver) for steps in (9, 12) for solver in ("euler", "heun", "dpmpp_2m")]
    alone = [sample(main, one, seeds=seeds, labels=labels) for one in every]
    beside = Pool(main, 64, 8).run(works(seeds, every, labels))
    for one, (other, _) in zip(alone, beside, strict=True):
        torch.testing.assert_close(other.images, one.images, rtol=0, atol=near * float(one.images.abs().max()))
        assert torch.equal(one.nfe, other.nfe)


def test_calls_are_full_and_no_fuller():
    main = Watched(load_denoiser(GAUSSIAN))
    every = several(10, steps=5, solver="euler")
    pool = Pool(main, 8, 4)
    done = pool.run(works([0, 1, 2], every))
    # 4 of 10 at a time, 12 rows in calls of 8 at most: 5 waves, 5 waves, and 5 of the 2 that are left
    assert main.rows == [8, 4] * 10 + [6] * 5
    assert pool.largest == 8
    assert [evaluations for _, evaluations in done] == [15] * 10


def test_what_is_asked_twice_is_evaluated_once():
    main = Watched(load_denoiser(GAUSSIAN))
    same = [Sampler(steps=5, solver="euler")] * 3 + [Sampler(steps=5, solver="heun")]
    for slots in (1, 2, 4):
        main.rows.clear()
        done = Pool(main, 64, slots).run(works([0, 1], same))
        assert sum(main.rows) == sum(evaluations for _, evaluations in done)
        # Heun's method begins with Euler's first evaluation, and goes on by itself
        assert sum(main.rows) == 2 * (5 + 9 - 1)
        assert all(torch.equal(done[0][0].images, other.images) for other, _ in done[:3])


def test_a_network_without_memory_gets_smaller_calls():
    main, every = Watched(load_denoiser(GAUSSIAN), most=3), several(4, steps=3)
    pool = Pool(main, 16, 4)
    done = pool.run(works([0, 1], every))
    assert pool.size == 2 and set(main.rows) == {2}
    for one, (other, _) in zip(every, done, strict=True):
        assert torch.equal(sample(main.main, one, seeds=[0, 1]).images, other.images)
    none = Pool(Watched(load_denoiser(GAUSSIAN), most=0), 16, 4)
    with pytest.raises(MachineError, match="out of memory with one row"):
        none.run(works([0, 1], every))


def test_a_request_that_fails_is_told_to_the_one_that_asked():
    main, every = Watched(load_denoiser(GAUSSIAN)), several(3, steps=3)
    first = []
    sample(Watched(main.main), every[1], seeds=[5])
    recorder = Watched(main.main)
    recorder.main = lambda x, sigma, labels=None: first.append(x) or main.main(x, sigma, labels)
    sample(recorder, every[1], seeds=[5])
    main.bad = first[2].flatten()[0]

    def work(one):
        def run(denoiser):
            try:
                return sample(denoiser, one, seeds=[5]).images
            except ValueError as error:
                return str(error)

        return run

    outcomes = [outcome for outcome, _ in Pool(main, 16, 3).run([work(one) for one in every])]
    assert outcomes[1] == "no"
    assert all(torch.equal(outcomes[n], sample(main.main, every[n], seeds=[5]).images) for n in (0, 2))


def test_an_error_of_a_work_ends_the_others():
    before, ended = threading.active_count(), []

    def good(denoiser):
        try:
            return sample(denoiser, Sampler(steps=5), seeds=[0])
        except BaseException as error:
            ended.append(type(error))
            raise

    def bad(denoiser):
        denoiser(torch.zeros(1, *denoiser.shape), torch.tensor(1.0))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Pool(load_denoiser(GAUSSIAN), 16, 4).run([good, bad, good])
    assert ended == [GeneratorExit, GeneratorExit] and threading.active_count() == before


def test_answers_have_no_gradients_and_one_owner():
    main = Watched(load_denoiser(GAUSSIAN))
    scale = torch.nn.Parameter(torch.tensor(1.0))
    main.main = lambda x, sigma, labels=None: x * scale
    x, given = torch.ones(1, 1, 4, 4), []

    def work(denoiser):
        with torch.no_grad():
            given.append(denoiser(x, torch.tensor(1.0)).add_(1))
            return denoiser(x, torch.tensor(1.0))

    done = Pool(main, 8, 3).run([work] * 3)
    assert main.rows == [1] and not any(one.requires_grad for one in given)
    assert all(torch.equal(one, x + 1) for one in given) and all(torch.equal(answer, x) for answer, _ in done)


def test_a_work_that_asks_nothing_and_none_at_all():
    assert Pool(load_denoiser(GAUSSIAN), 4, 2).run([lambda denoiser: 7]) == [(7, 0)]
    assert Pool(load_denoiser(GAUSSIAN), 4, 2).run([]) == []
