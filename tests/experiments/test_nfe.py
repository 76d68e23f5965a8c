"""Counts of evaluations that samplers share, which are those of each sampler by itself."""

import pytest

from harness.core.errors import InputError
from harness.denoisers.load import describe
from harness.experiments import nfe
from harness.experiments.nfe import Probe, count_nfe, lay_out
from harness.experiments.notes import NAMED, joined_notes, sampler_notes
from harness.experiments.plan import plan
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS

NOISES = [
    {"kind": "churn", "S_churn": 40.0, "S_noise": 1.01, "S_tmin": 0.05, "S_tmax": 50.0},
    {"kind": "churn", "S_churn": 9.0, "S_noise": 100.0},
    {"kind": "ancestral", "eta": 1.0, "S_noise": 1.1},
    {"kind": "ancestral", "eta": 30.0},
    {"kind": "restart", "intervals": [{"t_min": 0.1, "t_max": 2.0}], "S_noise": 1.003},
    {"kind": "langevin"},
    {"kind": "deterministic"},
]
ENDS = (0.002, 80.0)


@pytest.mark.parametrize("solver", [{"kind": kind} for kind in SOLVERS.kinds] + [{"kind": "rk2", "alpha": 0.5}])
@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise["kind"])
def test_count_is_that_of_the_sampler_itself(solver, noise):
    try:
        sampler = Sampler.model_validate({"solver": solver, "stochasticity": noise, "steps": 5})
    except ValueError:
        return  # a pair that makes no sense
    assert count_nfe(sampler, *ENDS) == int(sample(Probe(*ENDS, 1), sampler, [0]).nfe[0])


def churn(S_churn, **fields):
    return Sampler.model_validate({"stochasticity": {"kind": "churn", "S_churn": S_churn}, **fields})


def test_refusals_name_the_sampler_itself():
    """Past t = 0 with a second stage beyond the step: where that is depends on the churn."""
    with pytest.raises(InputError, match=r"step \d of 5: the solver evaluates at t = "):
        count_nfe(churn(40.0, solver={"kind": "rk2", "alpha": 1.5}, steps=5), *ENDS)


def test_a_sweep_of_churn_is_counted_and_laid_out_once():
    nfe._count.cache_clear(), nfe._lay_out.cache_clear()
    axes = {"S_churn": [1.0, 2.0, 3.0, 4.0], "S_noise": [1.0, 1.01], "S_tmin": [0.01, 0.05], "S_tmax": [1.0, 50.0]}
    series = [{"name": "Churn", "sampler": {"stochasticity": {"kind": "churn", **axes}}}]
    planned = plan({"title": "Sweep", "samples": 16, "steps": [5, 9], "denoisers": ["ideal"], "series": series})
    assert len(planned.items) == 64 and {item.nfe for item in planned.items} == {9, 17}
    assert nfe._count.cache_info().misses == nfe._lay_out.cache_info().misses == 2


def test_layouts_are_told_apart_by_what_was_written():
    """80 as a default is not noted where the denoiser ends earlier, and 80 that somebody wrote is."""
    described = describe("ideal")._replace(sigma_max=50.0)
    silent = Sampler.model_validate({"discretization": {"kind": "edm"}})
    loud = Sampler.model_validate({"discretization": {"kind": "edm", "sigma_max": 80.0}})
    assert sampler_notes(silent, described) == ()
    assert sampler_notes(loud, described) == ("sigma_max = 80 is not within the denoiser's range, and 50 is taken.",)
    assert lay_out(loud, described).sigmas[0] == 50


def test_notes_name_so_many_curves_at_most():
    (told,) = joined_notes(("Note.", f"curve {number}", "9") for number in range(NAMED + 5))
    assert told.endswith(f"curve {NAMED - 1}, NFE 9; and 5 more)")
