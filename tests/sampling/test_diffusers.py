"""Our solvers against the schedulers of `diffusers`, written by others: every state of a run, as xbar, pathwise.

Both walk LEVELS with the same analytic denoiser in float64, and where noise is drawn, with the normals that ours drew.
The levels are put into a scheduler after `set_timesteps`, as float64; the ones it makes itself are float32. Then most
schedulers compute in float64 throughout. Three cast the sample to float32 in every step, which limits the agreement;
they are run a second time with float64 in the place of float32.

What differs by convention:

* DPMSolver*, UniPC, DEIS and IPNDM hold x = xbar / sqrt(1 + sigma^2). Their exponential integrators in log(alpha /
  sigma) are ours in -log sigma, since alpha drops out of every term.
* IPNDM takes a v-prediction, and its step is Adams-Bashforth of equal steps on eps in sigma = beta / alpha.
* DPMSolverSinglestep takes middle levels from its own list, which holds the geometric ones of ours here. Every second
  state of it, of Heun and of KDPM2 is a stage of ours and not compared.
* The last step, to 0: ours lands on D, and does not lower the order before. So do DPMSolver*, Euler* and Heun, and
  UniPC bh2 up to order 2. The others are compared up to that step (`lands`): UniPC of order 3 lowers either the order
  of the last two steps or none and then fails at 0; UniPC bh1 and DEIS give NaN there; LMS and IPNDM keep their order;
  KDPM2 evaluates at 0.
* DPMSolverMultistep of order 3 is `dpmpp_3m` as published. Its second step follows `solver_type`: `midpoint` in our
  `dpmpp_3m`, `heun` in our `dpmpp_3m_sde`. In the latter it has a sign the wrong way round, see `Mended`.
* EDM* precondition the network; the analytic D takes the place of both. So with churn D is evaluated at the raised
  level, after the noise, as in Algorithm 2 of Karras et al. In use, EDMEuler gets the network's output from before it.
* DEIS is in log sigma only, up to order 3; IPNDM has order 4 only.
* `lower_order_final` is compared where the last step ends at the lowest level (`alone`), where both count alike.
"""

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import diffusers
import pytest
import torch

from harness.sampling.initial_state import initial_state
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory
from tests.sampling.orders import latents, mixture

pytestmark = [  # numpy functions that its schedulers apply to tensors
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

LEVELS = torch.tensor([80.0, 48.0, 24.0, 10.0, 4.5, 1.6, 0.5, 0.08, 0.002], dtype=torch.float64)

FLOAT32, FLOAT64 = "float32 state: every step casts the sample", "float64 throughout"

TOLERANCE = {FLOAT32: 1e-6, FLOAT64: 1e-13}
"""Relative to the largest entry of a state. We see up to 3e-7 and 1e-14."""


def plain(levels):
    return torch.cat([levels, levels.new_zeros(1)])


def alone(levels):
    """Where the last step ends at the lowest level."""
    return levels


def twice(levels):
    """Heun's: every level but the first is where a stage and the next step are evaluated."""
    return plain(torch.cat([levels[:1], levels[1:].repeat_interleave(2)]))


def middles(levels):
    """Geometric middles in between: r = 1/2."""
    table = twice(levels)
    table[1:-1:2] = (levels[1:] * levels[:-1]).sqrt()
    return table


def sigmas(table):
    return {"sigmas": table}


def alphas_and_betas(table):
    return {"alphas": 1 / (1 + table**2).sqrt(), "betas": table / (1 + table**2).sqrt()}


def sigmas_and_middles(table):
    return {"sigmas": twice(LEVELS), "sigmas_interpol": table}


def data(xbar, denoised, sigma):
    return denoised


def eps(xbar, denoised, sigma):
    return (xbar - denoised) / sigma


def velocity(xbar, denoised, sigma):
    return (eps(xbar, denoised, sigma) - sigma * denoised) / (1 + sigma**2).sqrt()


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Theirs(NamedTuple):
    """A scheduler and what it is used with.

    Args:
        scheduler: the class.
        limit: of the agreement.
        config: for its constructor.
        vp: whether it holds xbar / sqrt(1 + sigma^2).
        output: what it wants of the network, from xbar, denoised and sigma.
        stages: the levels at which it wants that, and a 0, from ours.
        tables: its attributes that hold those levels.
    """

    scheduler: Any
    limit: str
    config: Mapping[str, Any] = NOTHING
    vp: bool = False
    output: Callable[..., Any] = data
    stages: Callable[..., Any] = plain
    tables: Callable[..., Any] = sigmas


class Pair(NamedTuple):
    """A solver of ours and a scheduler that should be the same, with more for its constructor and for its step."""

    solver: Any
    theirs: Theirs
    config: Mapping[str, Any] = NOTHING
    given: Mapping[str, Any] = NOTHING
    stochasticity: Any = "deterministic"
    lands: bool = True


class Mended(diffusers.DPMSolverMultistepScheduler):
    """Its third-order SDE step with the right sign of a half.

    The weight of the second difference is phi_3 = 1/2 - phi_2 / 2h, in k-diffusion too, and vanishes with h. Theirs is
    -1/2 - phi_2 / 2h, so that the second difference is missing once.
    """

    def multistep_dpm_solver_third_order_update(self, outputs, *, sample, noise):
        wrong = super().multistep_dpm_solver_third_order_update(outputs, sample=sample, noise=noise)
        at = self.step_index
        h_1, h_0, h = -self.sigmas[at - 2 : at + 2].log().diff()
        new, old = (outputs[-1] - outputs[-2]) * h / h_0, (outputs[-2] - outputs[-3]) * h / h_1
        return wrong + (new - old) * h / (h_0 + h_1) / (1 + self.sigmas[at + 1] ** 2).sqrt()


OF_DATA = {"prediction_type": "sample"}
SAME_ORDER = {"lower_order_final": False}

MULTISTEP = Theirs(diffusers.DPMSolverMultistepScheduler, FLOAT32, OF_DATA | SAME_ORDER, vp=True)
MENDED = MULTISTEP._replace(scheduler=Mended)
SINGLESTEP = Theirs(
    diffusers.DPMSolverSinglestepScheduler, FLOAT64, OF_DATA | {"lower_order_final": True}, vp=True, stages=middles
)
UNIPC = Theirs(diffusers.UniPCMultistepScheduler, FLOAT64, OF_DATA, vp=True)
DEIS = Theirs(diffusers.DEISMultistepScheduler, FLOAT64, OF_DATA | SAME_ORDER, vp=True)
IPNDM = Theirs(diffusers.IPNDMScheduler, FLOAT64, vp=True, output=velocity, tables=alphas_and_betas)
HEUN = Theirs(diffusers.HeunDiscreteScheduler, FLOAT64, OF_DATA, stages=twice)
KDPM2 = Theirs(diffusers.KDPM2DiscreteScheduler, FLOAT64, output=eps, stages=middles, tables=sigmas_and_middles)
LMS = Theirs(diffusers.LMSDiscreteScheduler, FLOAT64, OF_DATA)
EULER_ANCESTRAL = Theirs(diffusers.EulerAncestralDiscreteScheduler, FLOAT32, output=eps)
EDM_EULER = Theirs(diffusers.EDMEulerScheduler, FLOAT32)
EDM_MULTISTEP = Theirs(diffusers.EDMDPMSolverMultistepScheduler, FLOAT64, SAME_ORDER)

SECOND, THIRD = {"solver_order": 2}, {"solver_order": 3}
MIDPOINT, BY_HEUN = {"solver_type": "midpoint"}, {"solver_type": "heun"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
CHURN = {"S_churn": 3.0, "S_tmin": 0.5, "S_tmax": 24.0, "S_noise": 1.01}


def unipc(order, variant, corrector):
    off = [] if corrector else list(range(len(LEVELS)))
    config = {"solver_order": order, "solver_type": variant, "disable_corrector": off, "lower_order_final": order < 3}
    solver = {"kind": "unipc", "order": order, "variant": variant, "corrector": corrector}
    return Pair(solver, UNIPC, config, lands=order < 3 and variant == "bh2")


PAIRS = [
    Pair("ddim", MULTISTEP, {"solver_order": 1}),
    Pair("dpmpp_2m", MULTISTEP, SECOND | MIDPOINT),
    Pair({"kind": "dpmpp_2m", "form": "heun"}, MULTISTEP, SECOND | BY_HEUN),
    Pair({"kind": "dpmpp_3m", "weights": "published"}, MULTISTEP, THIRD | MIDPOINT),
    Pair("dpmpp_2m_sde", MULTISTEP, SECOND | MIDPOINT | SDE),
    Pair({"kind": "dpmpp_2m_sde", "form": "heun"}, MULTISTEP, SECOND | BY_HEUN | SDE),
    Pair("dpmpp_3m_sde", MENDED, THIRD | BY_HEUN | SDE),
    Pair("dpmpp_2s", SINGLESTEP, SECOND),
    Pair("dpmpp_sde", SINGLESTEP, SECOND | SDE),
    *(
        unipc(order, variant, corrects)
        for order in (1, 2, 3)
        for variant in ("bh1", "bh2")
        for corrects in (True, False)
    ),
    *(
        Pair({"kind": "deis", "order": order, "variable": "log_sigma"}, DEIS, {"solver_order": order}, lands=False)
        for order in (1, 2, 3)
    ),
    Pair({"kind": "ipndm", "order": 4}, IPNDM, lands=False),
    Pair({"kind": "rk2", "alpha": 1.0}, HEUN),
    Pair("dpm_2", KDPM2, lands=False),
    *(Pair({"kind": "lms", "order": order}, LMS, given={"order": order}, lands=False) for order in (1, 2, 3, 4)),
    *(Pair(kind, EULER_ANCESTRAL, stochasticity={"kind": "ancestral", "eta": 1.0}) for kind in ("ddim", "euler")),
    Pair("euler", EDM_EULER),
    Pair(
        "euler",
        EDM_EULER,
        given={name.lower(): value for name, value in CHURN.items()},
        stochasticity={"kind": "churn", **CHURN},
    ),
    Pair("dpmpp_2m", EDM_MULTISTEP, SECOND | MIDPOINT),
    Pair({"kind": "dpmpp_2m", "form": "heun"}, EDM_MULTISTEP, SECOND | BY_HEUN),
    Pair("dpmpp_3m", EDM_MULTISTEP, THIRD | MIDPOINT),
    *(
        Pair(
            {"kind": kind, "lower_order_final": True, **fields},
            theirs._replace(stages=alone),
            {"solver_order": order, "lower_order_final": True, **config},
        )
        for kind, fields, theirs, order, config in [
            ("dpmpp_2m", {}, MULTISTEP, 2, MIDPOINT),
            ("dpmpp_3m", {}, MULTISTEP, 3, MIDPOINT),
            ("unipc", {"order": 2}, UNIPC, 2, {"solver_type": "bh2"}),
            ("unipc", {"order": 3}, UNIPC, 3, {"solver_type": "bh2"}),
            ("unipc", {"order": 3, "variant": "bh1"}, UNIPC, 3, {"solver_type": "bh1"}),
            ("deis", {"order": 3, "variable": "log_sigma"}, DEIS, 3, {}),
        ]
    ),
    Pair("dpmpp_2m_sde", EDM_MULTISTEP, SECOND | MIDPOINT | SDE),
    Pair({"kind": "dpmpp_2m_sde", "form": "heun"}, EDM_MULTISTEP, SECOND | BY_HEUN | SDE),
]


class Wide:
    """torch, with float64 by the name of float32."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def name(pair):
    words = [pair.theirs.scheduler.__name__.removesuffix("Scheduler"), pair.solver, pair.stochasticity]
    return "-".join(str(word) for word in words if word != "deterministic")


def our_states(pair, denoiser, unit):
    """The state after every step, and the normals drawn, in order."""
    levels = {"kind": "explicit", "sigmas": LEVELS.tolist()}
    end = "sigma_min" if pair.theirs.stages is alone else "zero"
    fields = {"solver": pair.solver, "stochasticity": pair.stochasticity, "discretization": levels, "end": end}
    sampler, drawn = Sampler.model_validate(fields), []
    begun = initial_state(denoiser, sampler, range(len(unit)), latents=unit)
    for source in ("noise", "increment_between"):
        draw = getattr(begun.dynamics, source)
        setattr(begun.dynamics, source, lambda *args, draw=draw: drawn.append(draw(*args)) or drawn[-1])
    return [step.x for step in trajectory(begun.dynamics, sampler, begun.time_steps.times, begun.x)], drawn


def made(pair, denoiser, table):
    """Their scheduler, on these levels from the first on."""
    scheduler = pair.theirs.scheduler(**pair.theirs.config | pair.config)
    scheduler.set_timesteps(len(table) - 1)
    scheduler.set_begin_index(0)
    for attribute, values in pair.theirs.tables(table).items():
        assert hasattr(scheduler, attribute)
        setattr(scheduler, attribute, values)
    if hasattr(scheduler, "precondition_outputs"):
        scheduler.precondition_outputs = lambda sample, output, sigma: denoiser(sample.double(), sigma)
    return scheduler


def their_states(pair, denoiser, unit, drawn, monkeypatch):
    """The states after every step, as xbar; a step's noise is the one of the same number in `drawn`, or nothing."""
    table = pair.theirs.stages(LEVELS)
    scheduler = made(pair, denoiser, table)

    def normal(shape, dtype, generator=None, device=None):
        return dict(enumerate(drawn)).get(scheduler.step_index, torch.zeros(shape)).to(dtype)

    monkeypatch.setattr(sys.modules[scheduler.step.__module__], "randn_tensor", normal, raising=False)
    s = 1 / (1 + table**2).sqrt() if pair.theirs.vp else torch.ones_like(table)
    x, states = s[0] * table[0] * unit, []
    for at, sigma in enumerate(table[:-1] if pair.lands else table[:-2]):
        xbar, t = x / s[at], scheduler.timesteps[0]
        scheduler.scale_model_input(x, t)
        output = pair.theirs.output(xbar, denoiser(xbar, sigma), sigma)
        x = scheduler.step(output, t, x, **pair.given).prev_sample
        states.append(x / s[at + 1])
    return states if pair.theirs.stages in (plain, alone) else [*states[1:-1:2], states[-1]]


def difference(pair, monkeypatch):
    """The largest relative difference of two states, NaN if one is."""
    denoiser = mixture()
    unit = latents(denoiser, 4)
    ours, drawn = our_states(pair, denoiser, unit)
    theirs = their_states(pair, denoiser, unit, drawn, monkeypatch)
    both = zip(ours if pair.lands else ours[:-1], theirs, strict=True)
    return torch.stack([(one - other).abs().max() / one.abs().max() for one, other in both]).max().item()


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_every_state_is_theirs(pair, monkeypatch):
    assert difference(pair, monkeypatch) < TOLERANCE[pair.theirs.limit]


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.theirs.limit == FLOAT32], ids=name)
def test_every_state_is_theirs_to_more_digits_without_the_cast(pair, monkeypatch):
    monkeypatch.setattr(sys.modules[pair.theirs.scheduler.step.__module__], "torch", Wide())
    assert difference(pair, monkeypatch) < TOLERANCE[FLOAT64]
