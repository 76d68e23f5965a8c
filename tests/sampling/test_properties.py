"""Properties that hold for every discretization, schedule, scaling and solver in the unions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import InputError
from harness.sampling import discretizations, schedules
from harness.sampling.discretizations.base import Range
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from tests.problems import Gaussian


def name(cls):
    return cls.__name__


EXPLICIT = (discretizations.Explicit, discretizations.Optimized)
FORMULAS = [cls for cls in discretizations.DISCRETIZATIONS.members if cls not in EXPLICIT]


ranges = st.tuples(st.floats(1e-3, 1.0), st.floats(1.5, 200.0)).map(lambda pair: Range(*pair))


@pytest.mark.parametrize("cls", FORMULAS, ids=name)
@given(within=ranges, n=st.integers(2, 60))
def test_levels_fall_and_stay_in_the_range(cls, within, n):
    if cls is discretizations.VPLevels:  # over a narrow range its curve turns round; see the next test
        within = Range(within.low * 1e-2, within.high)
    levels = cls()(n, within)
    assert levels.dtype == torch.float64
    assert levels.shape == (n,)
    assert bool((levels[1:] < levels[:-1]).all())
    assert levels[0] <= within.high * (1 + 1e-9)
    assert levels[-1] >= within.low * (1 - 1e-5)
    if cls is not discretizations.IDDPM:  # that one picks from a fixed table
        assert levels[0].item() == pytest.approx(within.high, rel=1e-9)
    if cls not in (discretizations.IDDPM, discretizations.FlowLevels):  # without t_min the last step is as the others
        assert levels[-1].item() == pytest.approx(within.low, rel=1e-5)


def test_levels_that_rise_are_refused():
    sampler = Sampler.model_validate({"discretization": {"kind": "vp", "sigma_min": 0.1, "sigma_max": 10.0}})
    with pytest.raises(InputError, match=r"noise levels go from 10 to .* do not fall"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), sampler, [0])


@pytest.mark.parametrize("cls", FORMULAS, ids=name)
def test_one_level_is_the_highest(cls):
    choice = cls()
    within = choice.clamp(0.0, math.inf)
    assert choice(1, within).tolist() == [choice(10, within)[0].item()]


@given(rho=st.floats(0.5, 50.0))
def test_edm_levels_are_equal_steps_in_the_root(rho):
    levels = discretizations.EDM(rho=rho)(20, Range(0.01, 50.0)) ** (1 / rho)
    steps = levels[:-1] - levels[1:]
    assert torch.allclose(steps, steps[0].expand_as(steps), rtol=1e-6)


@given(asked=ranges, supported=ranges)
def test_ranges_are_clamped_to_the_denoiser(asked, supported):
    choice = discretizations.EDM(sigma_min=asked.low, sigma_max=asked.high)
    within = choice.clamp(*supported)
    assert within == Range(max(asked.low, supported.low), min(asked.high, supported.high))


def test_ranges_with_nothing_in_common():
    with pytest.raises(InputError, match="no noise range is left"):
        discretizations.EDM(sigma_min=1.0, sigma_max=2.0).clamp(3.0, 4.0)


@pytest.mark.parametrize("cls", schedules.SCHEDULES.members, ids=name)
@given(within=ranges, where=st.floats(0.0, 1.0))
def test_schedules_invert_and_differentiate(cls, within, where):
    curve = cls().fit(within.low, within.high, 1e-3)
    sigma = torch.tensor(within.low * (within.high / within.low) ** where, dtype=torch.float64)
    t = curve.t(sigma)
    assert t > 0
    assert curve.sigma(t).item() == pytest.approx(sigma.item(), rel=1e-9)
    assert curve.t(curve.sigma(t)).item() == pytest.approx(t.item(), rel=1e-9)
    h = t * 1e-6
    finite = (curve.sigma(t + h) - curve.sigma(t - h)) / (2 * h)
    assert curve.sigma_dot(t).item() == pytest.approx(finite.item(), rel=1e-4)


@given(within=ranges)
def test_vp_meets_both_ends(within):
    curve = schedules.VP().fit(within.low, within.high, 1e-3)
    ends = curve.sigma(torch.tensor([1e-3, 1.0], dtype=torch.float64))
    assert ends.tolist() == pytest.approx(list(within), rel=1e-9)


def test_vp_defaults_return_the_original_betas():
    choice = discretizations.VPLevels()
    within = choice.clamp(0.0, math.inf)
    curve = schedules.VP().fit(*within, choice.vp_epsilon)
    assert (curve.beta_d, curve.beta_min) == pytest.approx((19.9, 0.1), rel=1e-9)


@pytest.mark.parametrize("cls", schedules.SCALINGS.members, ids=name)
@given(sigma=st.floats(1e-3, 200.0))
def test_scalings_differentiate(cls, sigma):
    scaling, sigma = cls(), torch.tensor(sigma, dtype=torch.float64)
    h = sigma * 1e-6
    finite = (scaling.s(sigma + h) - scaling.s(sigma - h)) / (2 * h)
    one = torch.ones_like(sigma)
    assert scaling.s_dot(sigma, one).item() == pytest.approx(finite.item(), rel=1e-4, abs=1e-9)
    assert scaling.s_dot(sigma, 3 * one).item() == pytest.approx(3 * scaling.s_dot(sigma, one).item(), rel=1e-9)


@pytest.mark.parametrize("cls", SOLVERS.members, ids=name)
@given(steps=st.integers(2, 12), seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
@settings(max_examples=10)
def test_solvers_keep_shape_type_and_count(cls, steps, seeds):
    denoiser = Gaussian(0.1, 0.4, (2, 3, 3))
    solver = cls(rtol=0.5) if cls.adaptive else cls()  # its own tolerances take many steps
    out = sample(denoiser, Sampler(solver=solver, steps=steps), seeds)
    assert out.images.shape == (len(seeds), 2, 3, 3)
    assert out.images.dtype == torch.float64
    assert torch.isfinite(out.images).all()
    assert out.nfe.dtype == torch.int64
    assert out.nfe.sum().item() == sum(denoiser.rows) == out.rows
    assert cls.adaptive or out.nfe.unique().numel() == 1


def test_the_defaults_are_the_papers():
    chosen = Sampler()
    kinds = [
        getattr(chosen, axis).kind for axis in ("solver", "discretization", "schedule", "scaling", "stochasticity")
    ]
    assert kinds == ["rk2", "edm", "linear", "none", "deterministic"]
    assert (chosen.steps, chosen.discretization.rho, chosen.solver.alpha) == (18, 7.0, 1.0)
    assert (chosen.discretization.sigma_min, chosen.discretization.sigma_max) == (0.002, 80.0)


def levels(choice, steps=None, denoiser=None):
    fields = {"discretization": choice} | ({} if steps is None else {"steps": steps})
    return Sampler.model_validate(fields).sigmas(denoiser or Gaussian(0.0, 0.5, (1, 2, 2)))


def test_log_snr_levels_have_equal_ratios_and_are_those_of_ve():
    found = levels("log_snr", 20)
    ratios = found[1:] / found[:-1]
    assert torch.allclose(ratios, ratios[:1].expand_as(ratios), rtol=1e-12)
    assert torch.allclose(found, levels({"kind": "ve", "sigma_min": 0.002, "sigma_max": 80.0}, 20), rtol=1e-9)
    assert torch.equal(found, levels("exponential", 20))


def test_polyexponential_levels_follow_their_formula():
    found = levels({"kind": "polyexponential", "rho": 2.0}, 5).log()
    low, high = math.log(0.002), math.log(80.0)
    expected = [low + (1 - i / 4) ** 2 * (high - low) for i in range(5)]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_linear_levels_have_equal_steps():
    found = levels("linear", 9)
    assert torch.allclose(found[1:] - found[:-1], torch.full((8,), (0.002 - 80.0) / 8, dtype=torch.float64), rtol=1e-9)


def test_cosine_levels_have_equal_steps_in_the_angle():
    angle = levels("cosine", 9).atan()
    assert torch.allclose(angle[1:] - angle[:-1], (angle[1] - angle[0]).expand(8), rtol=1e-9)


@pytest.mark.parametrize("n", [2, 7, 18, 57, 992])
def test_iddpm_as_in_the_papers_text(n):
    """floor(8 + 991 i / (N - 1) + 1/2) into the table of 1000 levels; the released rule differs in halves only."""
    table = discretizations.iddpm.iddpm_levels(1000, 0.001, 0.008)
    text = levels({"kind": "iddpm", "j_0": 8}, n)
    index = [math.floor(8 + 991 * i / (n - 1) + 0.5) for i in range(n)]
    assert torch.equal(text, table[index])
    released = levels("iddpm", n)
    halves = sum((2 * 991 * i) % (2 * (n - 1)) == n - 1 for i in range(n))
    assert (text != released).sum() <= halves


def test_explicit_levels_bring_their_number():
    choice = {"kind": "explicit", "sigmas": [10, 1.5, 0.1]}
    assert levels(choice).tolist() == [10.0, 1.5, 0.1]
    assert Sampler.model_validate({"discretization": choice}).steps == 3
    with pytest.raises(ValueError, match="lists 3 levels and steps is 4"):
        Sampler.model_validate({"discretization": choice, "steps": 4})
    with pytest.raises(InputError, match="lists 3 levels and cannot make 5 steps"):
        Sampler.model_validate({"discretization": choice}).model_copy(update={"steps": 5}).sigmas(
            Gaussian(0.0, 0.5, (1, 2, 2))
        )


@pytest.mark.parametrize(
    ("sigmas", "message"), [([1.0, 2.0], "number 2 is 2 after 1"), ([1.0, 1.0], "must fall"), ([], "at least 1")]
)
def test_explicit_levels_must_fall(sigmas, message):
    with pytest.raises(ValueError, match=message):
        Sampler.model_validate({"discretization": {"kind": "explicit", "sigmas": sigmas}})


def test_levels_of_a_table_must_lie_in_the_denoisers_range():
    denoiser = Gaussian(0.0, 0.5, (1, 2, 2))
    denoiser.sigma_min, denoiser.sigma_max = 0.001, 80.0
    choice = {"kind": "iddpm", "j_0": 8}
    with pytest.raises(
        InputError, match=r"with j_0 = 8 goes from 80\.2037 to 0\.00642\d+, outside the denoiser's range"
    ):
        Sampler.model_validate({"discretization": choice}).sigmas(denoiser)
    denoiser.sigma_max = 100.0
    assert Sampler.model_validate({"discretization": choice}).sigmas(denoiser)[0] == pytest.approx(80.2037, rel=1e-4)


def test_explicit_levels_must_lie_in_the_denoisers_range():
    denoiser = Gaussian(0.0, 0.5, (1, 2, 2))
    denoiser.sigma_max = 5.0
    with pytest.raises(InputError, match="lists 10, outside the denoiser's range"):
        levels({"kind": "explicit", "sigmas": [10.0, 1.0]}, denoiser=denoiser)


def test_adaptive_solvers_sweep_between_two_levels_unless_told_otherwise():
    assert Sampler.model_validate({"solver": "rk45"}).steps == 2
    assert Sampler.model_validate({"solver": "rk45", "steps": 9}).steps == 9
    again = Sampler.model_validate_json(Sampler.model_validate({"solver": "rk45"}).model_dump_json())
    assert again == Sampler.model_validate({"solver": "rk45"})
