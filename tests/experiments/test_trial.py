"""Trials: JSON both ways, and fingerprints that change with the numbers and with nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.experiments.trial import Trial
from harness.sampling.sampler import Sampler

positive = st.floats(1e-3, 1e3)
samplers = st.builds(
    lambda solver, disc, schedule, scaling, stochasticity, steps: Sampler.model_validate(
        {
            "solver": solver,
            "discretization": disc,
            "schedule": schedule,
            "scaling": scaling,
            "stochasticity": stochasticity,
            "steps": steps,
        }
    ),
    st.one_of(st.sampled_from(["euler", "heun"]), st.builds(lambda a: {"kind": "rk2", "alpha": a}, positive)),
    st.one_of(
        st.sampled_from(["vp", "ve", "iddpm", "edm"]),
        st.builds(lambda rho, low: {"kind": "edm", "rho": rho, "sigma_min": low}, positive, positive),
    ),
    st.sampled_from(["vp", "ve", "linear"]),
    st.sampled_from(["vp", "none"]),
    st.one_of(
        st.sampled_from(["deterministic", "churn"]),
        st.builds(lambda c, m: {"kind": "churn", "S_churn": c, "S_tmax": m}, positive, st.just("inf") | positive),
    ),
    st.integers(1, 1000),
)
trials = st.builds(
    lambda sampler, labels, denoiser: Trial(denoiser=denoiser, weights="sha256:0", sampler=sampler, labels=labels),
    samplers,
    st.sampled_from(["random", "unconditional"]) | st.integers(0, 9),
    st.sampled_from(["digits-vp", "some/path.safetensors"]),
)


@given(trials)
def test_json_goes_both_ways(trial):
    again = Trial.model_validate_json(trial.model_dump_json())
    assert again == trial
    assert again.fingerprint == trial.fingerprint
    assert Trial.model_validate(json.loads(trial.model_dump_json())).fingerprint == trial.fingerprint


def trial(**changes):
    base = {"denoiser": "digits-vp", "weights": "sha256:0", "sampler": Sampler()}
    return Trial(**{**base, **changes})


def test_name_and_spelling_do_not_matter():
    assert trial(denoiser="a/path.safetensors").fingerprint == trial().fingerprint
    spelt = Sampler.model_validate(
        {"solver": {"alpha": 1, "kind": "rk2"}, "steps": 18, "discretization": {"rho": 7, "kind": "edm"}}
    )
    assert trial(sampler=spelt).fingerprint == trial(sampler=Sampler.model_validate({"solver": "heun"})).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "sha256:1"},
        {"labels": 3},
        {"labels": "unconditional"},
        {"dtype": "float64"},
        {"sampler": Sampler(steps=19)},
        {"sampler": Sampler.model_validate({"solver": "euler"})},
        {"sampler": Sampler.model_validate({"stochasticity": {"kind": "churn", "S_tmax": 5}})},
        {"sampler": Sampler(noise_device="cuda")},
    ],
    ids=str,
)
def test_what_changes_the_numbers_changes_the_fingerprint(changes):
    assert trial(**changes).fingerprint != trial().fingerprint


def test_a_new_version_of_a_component_changes_the_fingerprint(monkeypatch):
    from harness.sampling.solvers.runge_kutta import RK2

    before = trial().fingerprint
    monkeypatch.setattr(RK2, "version", 2)
    assert trial().fingerprint != before


def test_the_fingerprint_is_stable():
    """If this changes, every store is computed again: change it on purpose only."""
    assert trial().fingerprint == "12292ed934956a6ba80cb475c30f05f3c527092ade71070fcde5f8f007f35746"
