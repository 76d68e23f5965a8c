"""Schedule and scaling `flow`: time and line of flow matching."""

import itertools
import math

import diffusers
import numpy as np
import pytest
import torch
from pydantic import ValidationError

import harness
from harness.core.errors import InputError
from harness.denoisers.conventions import FlowVelocity, wrap
from harness.denoisers.load import describe
from harness.denoisers.preconditioning import FlowPrecond
from harness.experiments.plan import plan
from harness.metrics import METRICS
from harness.metrics.base import SamplingJob
from harness.sampling.discretizations import DISCRETIZATIONS, FlowLevels
from harness.sampling.initial_state import initial_state
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from harness.sampling.trajectory import trajectory
from tests.problems import Gaussian, Mixture
from tests.sampling.orders import slope

FLOW = {"schedule": "flow", "scaling": "flow"}
SEEDS = list(range(5))


@pytest.fixture
def mixture():
    means = torch.randn([3, 1, 4, 4], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Mixture(means, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), 0.2)


def run(denoiser, latents, **choices):
    return sample(denoiser, Sampler.model_validate({"steps": 9} | choices), SEEDS, latents=latents).images


def velocity(denoiser, x, t):
    """n - y as a network of flow matching gives it at x = (1 - t) y + t n."""
    denoised = denoiser.denoise(x / (1 - t), (t / (1 - t)).reshape(1, 1, 1, 1).expand(len(x), 1, 1, 1))
    return (x - denoised) / t


def test_euler_follows_the_velocity(mixture):
    """The loop of flow matching: x <- x + (t_next - t) v(x, t), from t of sigma_max down to 0."""
    sampler = Sampler.model_validate({"solver": "euler", "steps": 9} | FLOW)
    latents = torch.randn([5, 1, 4, 4], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sigmas = sampler.sigmas(mixture)[:9].double()
    times = torch.cat([sigmas / (1 + sigmas), torch.zeros(1, dtype=torch.float64)])
    x = times[0] * latents  # (1 - t) sigma z
    for t, t_next in itertools.pairwise(times):
        x = x + (t_next - t) * velocity(mixture, x, t)
    assert torch.allclose(run(mixture, latents, solver="euler", **FLOW), x, rtol=0, atol=1e-12)


def test_heun_follows_the_velocity(mixture):
    latents = torch.randn([5, 1, 4, 4], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    sigmas = Sampler.model_validate({"steps": 9} | FLOW).sigmas(mixture)[:9].double()
    times = torch.cat([sigmas / (1 + sigmas), torch.zeros(1, dtype=torch.float64)])
    x = times[0] * latents
    for t, t_next in itertools.pairwise(times):
        first = velocity(mixture, x, t)
        guess = x + (t_next - t) * first
        second = velocity(mixture, guess, t_next) if t_next > 0 else first
        x = x + (t_next - t) * (first + second) / 2
    assert torch.allclose(run(mixture, latents, solver="heun", **FLOW), x, rtol=0, atol=1e-12)


def test_the_curve_is_the_same_as_under_other_schedules(mixture):
    """With enough steps every schedule reaches the same images; solvers in sigma do so at any number."""
    latents = torch.randn([5, 1, 4, 4], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fine = run(mixture, latents, steps=400, solver="heun")
    assert torch.allclose(run(mixture, latents, steps=400, solver="heun", **FLOW), fine, atol=2e-3)
    few = run(mixture, latents, solver="dpmpp_2m")
    assert torch.allclose(run(mixture, latents, solver="dpmpp_2m", **FLOW), few, atol=1e-10)


EXACT = harness.load_denoiser(
    {"kind": "mixture", "means": [[0.5, -0.3, 0.8], [-0.7, 0.4, 0.1], [0.2, 0.9, -0.5]], "std": 0.3}
)
ODE = [kind for kind in SOLVERS.kinds if not SOLVERS.read(kind).is_stochastic]
SDE = [kind for kind in SOLVERS.kinds if SOLVERS.read(kind).is_stochastic]
IN_T = [kind for kind in ODE if SOLVERS.read(kind).starts_at_infinity]
FIRST_ORDER_FIRST = ["ddim", "dpmpp_2m", "dpmpp_3m", "lms", "ipndm", "deis", "unipc"]
"""Solvers in sigma or log sigma whose first step is the first-order one."""

FINITE = {"kind": "flow", "t_max": 0.99}


def exact_velocity(x, t):
    """n - y of the mixture; at t = 1 it is n less the mean of the data."""
    t = t.reshape(-1, 1)
    xbar = torch.where(t == 1, x, x / (1 - t))
    return (x - EXACT(xbar, (t / (1 - t)).reshape(-1))) / t


VELOCITY = wrap(exact_velocity, FlowVelocity(), shape=(3,), dtype=torch.float64)


def drawn(denoiser, discretization="flow", **choices):
    fields = {"discretization": discretization, "steps": 9, **FLOW} | choices
    if SOLVERS.read(fields.get("solver", "heun")).adaptive:
        fields |= {"steps": 2, "discretization": {"kind": "flow", "t_max": 1.0, "t_min": 0.002}}
        fields["discretization"] |= discretization if isinstance(discretization, dict) else {}
    return sample(denoiser, Sampler.model_validate(fields), SEEDS)


@pytest.mark.parametrize("solver", [*ODE, *SDE])
def test_the_exact_velocity_gives_the_trajectories_of_the_exact_denoiser(solver):
    ours, exact = (drawn(denoiser, FINITE, solver=solver) for denoiser in (VELOCITY, EXACT))
    assert torch.allclose(ours.images, exact.images, rtol=0, atol=1e-10)
    assert torch.equal(ours.nfe, exact.nfe)


@pytest.mark.parametrize("solver", ODE)
def test_so_it_does_from_noise_alone(solver):
    ours, exact = (drawn(denoiser, solver=solver) for denoiser in (VELOCITY, EXACT))
    assert torch.allclose(ours.images, exact.images, rtol=0, atol=1e-10)
    assert torch.equal(ours.nfe, exact.nfe)


@pytest.mark.parametrize(
    "noise", ["ancestral", {"kind": "restart", "intervals": {"t_min": 0.1, "t_max": 2.0}}], ids=str
)
def test_noise_below_the_first_level_is_added_as_from_a_high_one(noise):
    """Explicit levels, so that those below the first are the same."""
    sigmas = [8.0, 2.0, 0.5, 0.1, 0.02]
    ours, velocity, near = (
        drawn(of, {"kind": "explicit", "sigmas": [top, *sigmas]}, steps=6, solver="ddim", stochasticity=noise).images
        for of, top in ((EXACT, "inf"), (VELOCITY, "inf"), (EXACT, 1e7))
    )
    assert torch.allclose(ours, near, atol=1e-5) and torch.allclose(ours, velocity, rtol=0, atol=1e-10)


@pytest.mark.parametrize("solver", [*IN_T[:3], *FIRST_ORDER_FIRST])
def test_an_infinite_level_is_the_limit_of_a_high_one(solver):
    """Of multistep methods the first interval alone: history starts after it, and from a high level within it."""
    sigmas = [8.0] if SOLVERS.read(solver).history else [8.0, 2.0, 0.5, 0.1, 0.02]
    ours, near = (
        drawn(EXACT, {"kind": "explicit", "sigmas": [top, *sigmas]}, steps=1 + len(sigmas), solver=solver)
        for top in ("inf", 1e7)
    )
    assert torch.allclose(ours.images, near.images, atol=1e-5)


@pytest.mark.parametrize("solver", ODE)
def test_the_first_step_from_noise(solver):
    """x_next = (t_next / t) x + (s_next - s t_next / t) D with D the mean; solvers in (x, t) take their own."""
    sampler = Sampler.model_validate(
        {"solver": solver, "steps": 3, "discretization": {"kind": "explicit", "sigmas": ["inf", 3.0, 1.0]}, **FLOW}
    )
    begun = initial_state(EXACT, sampler, SEEDS)
    assert torch.equal(begun.x, begun.latents) and begun.time_steps.times.tolist() == [1.0, 0.75, 0.5, 0.0]
    first = next(trajectory(begun.dynamics, sampler, begun.time_steps.times, begun.x))
    mean = EXACT.means.mean(0)
    assert torch.allclose(first.here.denoised, mean.expand(5, 3))
    assert torch.allclose(first.here.drift, begun.x - mean)
    euler = 0.75 * begun.x + 0.25 * mean
    assert torch.allclose(first.x, euler, atol=1e-14) is (solver == "euler" or solver not in IN_T)


GAUSSIAN = harness.load_denoiser({"kind": "gaussian", "mean": 0.4, "std": 0.5, "shape": [3]})


def test_the_way_from_noise_ends_where_the_closed_form_says():
    """x(t) = (1 - t) mu + sqrt(t^2 + (1 - t)^2 v) z, from t = 1 where it is z."""
    levels = {"kind": "flow", "t_min": 0.2}
    for solver in ("rk45", "solve_ivp"):
        chosen = {"kind": solver, "rtol": 1e-11, "atol": 1e-11}
        sampler = {"solver": chosen, "discretization": levels, "end": "sigma_min", "steps": 2, **FLOW}
        begun = initial_state(GAUSSIAN, Sampler.model_validate(sampler), SEEDS)
        found = sample(GAUSSIAN, Sampler.model_validate(sampler), SEEDS).images
        expected = 0.4 + (0.25**2 + 0.25) ** 0.5 * begun.latents
        assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("ralston", 2), ("rk4", 4), ("ddim", 1)])
def test_solvers_keep_their_order_from_noise(solver, order):
    errors, sizes = [], [16, 32, 64]
    for steps in sizes:
        fields = {"solver": solver, "discretization": {"kind": "flow", "t_min": 0.4}, "end": "sigma_min", **FLOW}
        sampler = Sampler.model_validate(fields | {"steps": steps + 1})
        z = initial_state(GAUSSIAN, sampler, SEEDS).latents
        expected = 0.4 + ((2 / 3) ** 2 + 0.25) ** 0.5 * z
        errors.append((sample(GAUSSIAN, sampler, SEEDS).images - expected).square().mean().sqrt().item())
    assert -slope(sizes, errors) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("way", ["sigmas", "count", "mu"])
def test_euler_on_shifted_times_is_the_flow_scheduler_of_diffusers(way, shift):
    """FLUX gives `sigmas` (and mu = log shift), Stable Diffusion 3 a count; the network is told 1000 t there."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Linear(32, 3)).requires_grad_(False)

    def network(x, t):
        return net(torch.cat([x, t[:, None] / 1000], 1))

    n = 10
    dynamic = {"use_dynamic_shifting": True} if way == "mu" else {"shift": shift}
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(**dynamic)
    if way == "count":
        theirs.set_timesteps(n)
    else:
        given = {"mu": math.log(shift)} if way == "mu" else {}
        theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n), **given)
    begin = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    x = begin
    for t in theirs.timesteps:
        x = theirs.step(network(x, t.expand(5)), t, x).prev_sample
    levels = {"kind": "flow", "shift": shift} | ({"t_min": shift / (999 + shift)} if way == "count" else {})
    sampler = {"solver": "euler", "discretization": levels, "steps": n, **FLOW}
    denoiser = wrap(network, FlowVelocity(time_scale=1000.0), shape=(3,))
    ours = sample(denoiser, Sampler.model_validate(sampler), range(5), latents=begin).images
    assert (ours - x).abs().max() < 1e-6 * max(1.0, float(x.abs().max()))


def test_a_shift_multiplies_noise_levels():
    plain, shifted = (
        Sampler.model_validate({"discretization": {"kind": "flow", "shift": shift}, "steps": 6, **FLOW})
        for shift in (1.0, 3.0)
    )
    assert torch.allclose(shifted.sigmas(EXACT)[1:], 3 * plain.sigmas(EXACT)[1:])
    assert torch.allclose(plain.times(EXACT), torch.linspace(1, 0, 7, dtype=torch.float64))
    assert plain.sigmas(EXACT)[0] == math.inf


def test_times_follow_the_range_of_the_denoiser():
    class Narrow(Gaussian):
        sigma_min, sigma_max = 0.25, 3.0

    narrow = Narrow(0.0, 0.5, (3,))
    sampler = Sampler.model_validate({"discretization": {"kind": "flow", "t_max": 0.9}, "steps": 12, **FLOW})
    times = sampler.times(narrow)
    assert times[0] == pytest.approx(0.75) and times[-2] == pytest.approx(0.2) and times.diff().max() < 0
    assert sampler.notes(narrow) == ["t_max = 0.9 is not within the denoiser's range, and 0.75 is taken."]
    few = sampler.model_copy(update={"steps": 3}).times(narrow)
    assert torch.allclose(few, torch.tensor([0.75, 0.5, 0.25, 0.0], dtype=torch.float64))
    with pytest.raises(InputError, match="no noise range is left: discretization 'flow' asks for"):
        sampler.model_copy(update={"discretization": FlowLevels(t_max=0.1)}).times(narrow)


def start(**choices):
    return Sampler.model_validate({"discretization": "flow", "steps": 6, **FLOW} | choices)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        *(({"solver": solver}, f"solver '{solver}' needs a finite one") for solver in SDE),
        ({"stochasticity": "churn"}, "stochasticity 'churn' needs a finite one"),
        ({"stochasticity": "langevin"}, "stochasticity 'langevin' needs a finite one"),
        ({"afs": True}, "afs needs a finite one"),
        ({"schedule": "linear"}, "needs schedule and scaling 'flow'; we got schedule 'linear'"),
        ({"scaling": "none"}, "needs schedule and scaling 'flow'; we got scaling 'none'"),
    ],
)
def test_what_cannot_start_from_noise_is_refused_before_any_compute(choices, message):
    denoiser = Gaussian(0.0, 0.5, (3,))
    denoiser.takes_infinity = True
    with pytest.raises(InputError, match=rf"t = 1.*{message}.*t_max: 0\.999"):
        sample(denoiser, start(**choices), SEEDS)
    assert not denoiser.sigma_calls
    finite = start(**{"discretization": {"kind": "flow", "t_max": 0.999}} | choices)
    assert sample(EXACT, finite, SEEDS).images.isfinite().all()


def test_a_denoiser_that_knows_no_noise_alone_is_refused():
    with pytest.raises(InputError, match="this denoiser, which knows no t = 1, needs a finite one"):
        sample(Gaussian(0.0, 0.5, (3,)), start(), SEEDS)
    with pytest.raises(InputError, match="encode needs a finite one to arrive at"):
        harness.encode(EXACT, start(), torch.zeros(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("kind", [kind for kind in DISCRETIZATIONS.kinds if kind not in ("flow", "explicit")])
def test_levels_in_sigma_need_a_finite_top(kind):
    with pytest.raises(ValidationError, match="finite sigma_max; discretization 'flow' is spaced in time"):
        DISCRETIZATIONS.read({"kind": kind, "sigma_max": "inf"})


def test_a_list_may_start_at_infinity():
    levels = DISCRETIZATIONS.read({"kind": "explicit", "sigmas": ["inf", 2.0, 0.1]})
    assert DISCRETIZATIONS.read_json(levels.model_dump_json()) == levels
    with pytest.raises(ValidationError, match="levels must fall"):
        DISCRETIZATIONS.read({"kind": "explicit", "sigmas": [2.0, "inf"]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"t_max": 1.1}, "less than or equal to 1"),
        ({"t_min": 0.0}, "greater than 0"),
        ({"t_max": 0.5, "t_min": 0.5}, "times fall from t_max to t_min; we got 0.5 and 0.5"),
        ({"shift": 0.0}, "greater than 0"),
        ({"sigma_max": 80.0}, "sigma_max"),
    ],
)
def test_times_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        DISCRETIZATIONS.read({"kind": "flow", **fields})


@pytest.mark.parametrize(("t_min", "last"), [(None, 0.9 / 7), (0.05, 0.05)])
def test_the_formula_is_the_code(t_min, last):
    levels, n = FlowLevels(t_max=0.9, t_min=t_min, shift=3.0), 7
    found = [eval(levels.formula, {"i": i, "shift": 3.0, "u": lambda i: 0.9 + i / 6 * (last - 0.9)}) for i in range(n)]
    assert levels(n, levels.clamp(0.0, math.inf)).tolist() == pytest.approx(found)


def test_one_level_is_the_whole_way_in_one_step():
    image = sample(EXACT, start(solver="euler", steps=1), SEEDS).images
    assert torch.allclose(image, EXACT.means.mean(0).expand(5, 3))


def test_guidance_starts_from_noise_where_its_parts_do():
    spec = {"kind": "gaussian", "std": 0.3, "shape": [3]}
    guided = {"kind": "autoguidance", "denoiser": spec | {"mean": 0.5}, "guide": spec | {"mean": 0.1}, "weight": 2.0}
    assert describe(guided).takes_infinity and not describe("digits-vp").takes_infinity
    assert not describe({"kind": "with-error", "denoiser": spec, "epsilon": 0.1}).takes_infinity
    harness.check_denoiser(harness.load_denoiser(guided))
    assert sample(harness.load_denoiser(guided), start(), SEEDS).images.isfinite().all()


def test_a_flow_network_of_ours_starts_from_noise():
    torch.manual_seed(0)
    size = {"model_type": "SongUNet", "model_channels": 32, "channel_mult": [1], "num_blocks": 1}
    net = FlowPrecond(8, 1, **size).eval().requires_grad_(False)
    harness.check_denoiser(net, identity=False)
    assert sample(net, start(steps=2), [0, 1]).images.isfinite().all()
    assert not FlowPrecond(8, 1, sigma_max=100.0, **size).takes_infinity


MIXTURE = "mix: {source: {kind: mixture, means: [[0.5, -0.3, 0.8], [-0.7, 0.4, 0.1]], std: 0.3}}"
GRID = f"""
title: From noise
denoisers:
  {MIXTURE}
steps: [6]
samples: 16
metrics: [METRIC]
series:
  - {{name: Flow, sampler: {{solver: heun, discretization: LEVELS, schedule: flow, scaling: flow}}}}
"""


def planned(tmp_path, metric, levels="flow"):
    path = tmp_path / "flow.yaml"
    path.write_text(GRID.replace("METRIC", metric).replace("LEVELS", levels))
    return plan(path)


def test_an_end_point_error_is_measured_from_noise(tmp_path):
    (item,) = planned(tmp_path, "end-point-error").items
    assert item.nfe == 11
    error = METRICS.read({"kind": "end-point-error", "reference": 512})
    seen = [
        error.observe(SamplingJob(EXACT, start(steps=steps), list(range(8)))).values.mean() for steps in (8, 16, 64)
    ]
    assert seen[0] > 2 * seen[1] > 8 * seen[2] > 0
    finest = start(steps=128, discretization={"kind": "flow", "t_min": 0.002})
    assert error.observe(SamplingJob(EXACT, finest, [0, 1])).values.max() < 2e-3


@pytest.mark.parametrize(
    "metric", ["truncation-error", "curvature", "jacobian-asymmetry", "round-trip-error", "denoising-error"]
)
def test_metrics_in_sigma_are_refused_while_planning(tmp_path, metric):
    images = "" if metric in ("truncation-error", "curvature", "jacobian-asymmetry") else ", images: samples"
    with pytest.raises(InputError, match=f"t = 1.*metric '{metric}' needs a finite one"):
        planned(tmp_path, f"{{kind: {metric}{images}}}")
    planned(tmp_path, f"{{kind: {metric}{images}}}", "{kind: flow, t_max: 0.999}")
    job = SamplingJob(EXACT, start(), [0])
    with pytest.raises(InputError, match="needs a finite first level"):
        METRICS.read(metric).observe(job)


def test_a_fitted_order_needs_one_last_level(tmp_path):
    with pytest.raises(InputError, match="needs one last level at all numbers of steps"):
        planned(tmp_path, "{kind: convergence-order}")
    order = METRICS.read({"kind": "convergence-order", "reference": 512})
    levels = {"kind": "flow", "t_min": 0.05}
    found = order.observe(SamplingJob(EXACT, start(discretization=levels, steps=24), [0, 1, 2])).values
    assert found.mean() == pytest.approx(2, abs=0.3)


def test_a_plan_refuses_a_network_that_knows_no_noise_alone(tmp_path):
    text = GRID.replace("METRIC", "end-point-error").replace("LEVELS", "flow")
    path = tmp_path / "edm.yaml"
    spec = "{kind: with-error, epsilon: 0.1, denoiser: {kind: gaussian, shape: [3]}}"
    path.write_text(text.replace(MIXTURE, f"net: {{source: {spec}}}"))
    with pytest.raises(InputError, match=r"with denoiser 'net': .*knows no t = 1"):
        plan(path)
