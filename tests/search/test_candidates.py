"""Settings: what is one sampler has one identity, and one identity means the same images, bit for bit."""

import math

import pytest
import torch

import harness
from harness.core.errors import InputError
from harness.sampling.stochasticity.churn import GAMMA_MAX
from harness.search.candidates import InvalidSampler, TrialBuilder, denoiser_name, s_churn

GAUSSIAN = {"kind": "gaussian", "std": 0.5, "shape": [1, 4, 4]}
BUILDER = TrialBuilder("digits-vp", ())


def churn(S_churn=10.0, S_tmin=0.0, S_tmax=80.0, S_noise=1.003, **more):
    noise = {"kind": "churn", "S_churn": S_churn, "S_tmin": S_tmin, "S_tmax": S_tmax, "S_noise": S_noise}
    return {"sampler": {"stochasticity": noise, **more}}


def by_gamma(gamma):
    return {"sampler": {"stochasticity": {"kind": "churn", "gamma": gamma, "S_noise": 1.003}}}


def make(filled, nfe=127, builder=BUILDER):
    return builder.build(filled, nfe)


def same(a, b, nfe=127, builder=BUILDER):
    return make(a, nfe, builder).identity == make(b, nfe, builder).identity


def test_saturated_amounts_are_one_setting():
    assert make(churn(40)).trial.sampler.steps == 64
    assert same(churn(40), churn(80))
    assert same(churn(26.6), churn(1000))
    assert not same(churn(26), churn(80))


@pytest.mark.parametrize("nfe", [11, 35, 63, 127, 255, 511])
def test_the_largest_gamma_is_saturated_at_any_number_of_steps(nfe):
    whole = {"S_tmin": 0.0, "S_tmax": "inf"}
    assert same(by_gamma(0.41421356), churn(10_000, **whole), nfe)
    assert same(by_gamma(0.6), churn(10_000, **whole), nfe)


def test_a_gamma_is_a_share_of_the_steps():
    assert s_churn(0.25, 64) == 16
    assert make(by_gamma(0.25)).trial.sampler.stochasticity.S_churn == 16
    assert s_churn(GAMMA_MAX, 7) / 7 >= GAMMA_MAX


def test_windows_that_hold_the_same_levels_are_one():
    sampler = make({"sampler": {}}).trial.sampler
    sigmas = sampler.sigmas(harness.load_denoiser("digits-vp")).tolist()
    a, b, c = sigmas[30], sigmas[20], sigmas[19]
    between = math.sqrt(b * c)
    assert same(churn(S_tmin=a, S_tmax=b), churn(S_tmin=a * 0.999, S_tmax=between))
    assert not same(churn(S_tmin=a, S_tmax=b), churn(S_tmin=a, S_tmax=c))
    assert not same(churn(S_tmin=a, S_tmax=b), churn(S_tmin=a, S_tmax=b, S_noise=1.004))
    assert same(churn(S_tmin=between, S_tmax=between * 1.0001), {"sampler": {}})
    assert same(churn(0), {"sampler": {}})


def test_rounded_networks_keep_windows_apart():
    builder = TrialBuilder("digits-adm", ())
    assert not same(churn(S_tmin=0.100001), churn(S_tmin=0.1), builder=builder)
    assert same(churn(40, S_tmin=0.1), churn(80, S_tmin=0.1), builder=builder)
    assert same(churn(0), {"sampler": {}}, builder=builder)


def test_ranges_that_the_denoiser_clamps_alike_are_one():
    levels = {"kind": "edm", "rho": 7, "sigma_min": 0.002, "sigma_max": 80}
    low = BUILDER.description.sigma_min
    assert same(
        {"sampler": {"discretization": levels | {"sigma_min": low / 2}}},
        {"sampler": {"discretization": levels | {"sigma_min": low / 3}}},
    )
    assert not same({"sampler": {"discretization": levels | {"rho": 5}}}, {"sampler": {"discretization": levels}})
    assert not same({"sampler": {"schedule": "ve"}}, {"sampler": {}})


PAIRS = [
    (churn(40), churn(80)),
    (by_gamma(0.41421356), churn(200, S_tmax="inf")),
    (churn(S_tmin=0.05, S_tmax=1.0), churn(S_tmin=0.0500001, S_tmax=1.0000001)),
    (churn(S_tmin=1.0000001, S_tmax=1.0000002), {"sampler": {}}),
    (churn(0), {"sampler": {}}),
    ({"sampler": {"solver": "heun"}}, {"sampler": {"solver": {"kind": "rk2", "alpha": 1.0}}}),
    (
        {"sampler": {"schedule": "vp", "discretization": {"kind": "edm", "sigma_max": 200}}},
        {"sampler": {"schedule": "vp", "discretization": {"kind": "edm", "sigma_max": 300}}},
    ),
]


@pytest.mark.parametrize("denoiser", ["digits-vp", GAUSSIAN], ids=["digits-vp", "gaussian"])
@pytest.mark.parametrize("pair", PAIRS)
def test_one_identity_means_the_same_images(pair, denoiser):
    builder = TrialBuilder(harness.denoisers.load.parse(denoiser) if isinstance(denoiser, dict) else denoiser, ())
    first, second = (make(filled, 23, builder) for filled in pair)
    if first.identity != second.identity:
        assert denoiser == GAUSSIAN  # whose range ends nowhere, so that nothing is clamped
        return
    loaded = harness.load_denoiser(denoiser)
    a, b = (harness.sample(loaded, setting.trial.sampler, seeds=range(3)).images for setting in (first, second))
    assert torch.equal(a, b)


def test_the_budget_is_met_and_not_exceeded():
    for solver, nfe, spent in (("heun", 36, 35), ("euler", 36, 36), ("rk4", 36, 33), ({"kind": "unipc"}, 36, 36)):
        assert make({"sampler": {"solver": solver}}, nfe).nfe == spent


def test_samplers_that_are_none():
    for filled, message in (
        (churn(S_tmin=2, S_tmax=1), r"S_tmin is 2 and S_tmax 1, so noise is added nowhere; exchange them"),
        (churn(solver="dpmpp_2m"), "keeps earlier points"),
        ({"sampler": {"solver": "none"}}, r"sampler\.solver: unknown kind 'none'"),
        ({"sampler": {"discretization": "optimized"}}, "is a search of its own"),
        ({"sampler": {"stochasticity": {"kind": "churn", "S_churn": 1, "gamma": 0.1}}}, "in place of S_churn"),
        ({"sampler": {"stochasticity": {"kind": "ancestral", "gamma": 0.1}}}, "of kind 'churn'"),
    ):
        with pytest.raises(InvalidSampler, match=message):
            make(filled)


def test_samplers_that_do_not_fit():
    listed = {"kind": "explicit", "sigmas": [10.0, 1.0, 0.1]}
    assert make({"sampler": {"discretization": listed}}, 5).nfe == 5
    outside = {"kind": "edm", "sigma_min": 200.0, "sigma_max": 300.0}
    for filled, nfe, message in (
        ({"sampler": {"discretization": listed}}, 4, r"lists 3 levels, which take 5 evaluations; NFE 4 is too few"),
        ({"sampler": {"solver": "rk45"}}, 35, "picks its own steps"),
        ({"sampler": {"discretization": outside}}, 35, "no noise range is left"),
        ({"sampler": {"solver": {"kind": "rk2", "alpha": 20.0}}}, 35, "step 1 of 2: the solver evaluates at t = -"),
        ({"sampler": {"solver": "unipc"}}, 1, "too few|at least"),
    ):
        with pytest.raises(InputError, match=message):
            make(filled, nfe)


def test_guidance_that_leads_nowhere_is_none():
    builder = TrialBuilder("digits-adm", ())
    plain = make({"sampler": {}, "denoiser": {"weight": 1}}, 35, builder)
    assert plain.nfe == 35
    for fields in ({"weight": 1, "sigma_lo": 0.1, "sigma_hi": 2}, {"weight": 3, "sigma_lo": 2, "sigma_hi": 2}):
        assert make({"sampler": {}, "denoiser": fields}, 35, builder).identity == plain.identity
    narrow = make({"sampler": {}, "denoiser": {"weight": 2, "sigma_lo": 0.3, "sigma_hi": 1}}, 35, builder)
    wide = make({"sampler": {}, "denoiser": {"weight": 2}}, 35, builder)
    assert plain.trial.sampler.steps > narrow.trial.sampler.steps > wide.trial.sampler.steps


def test_a_stored_trial_is_the_same_setting():
    setting = make(churn(10))
    assert BUILDER.read(setting.trial.model_dump(mode="json"), setting.nfe).identity == setting.identity


def test_names_of_denoisers():
    assert denoiser_name("runs/mine.safetensors") == "mine"
    assert denoiser_name({"kind": "cfg", "denoiser": "digits-adm", "weight": 2}) == "cfg-digits-adm"
    assert denoiser_name(GAUSSIAN) == "gaussian"
