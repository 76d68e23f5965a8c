"""diffusers: a scheduler's class and configuration, the levels given to it, and how the network is called.

Three schedulers take levels in `set_timesteps`. The others make their own from a table of betas, and step by their
attribute `sigmas`, so that is set. The levels are then ours in all of them; their timesteps are not, so the network is
given the noise level itself. The classes and what they do are those of 0.42.1, where each was run.

The configuration has the levels under `sigmas`, which diffusers keeps and does not read: a saved configuration says all
of the sampler, and `import-scheduler` makes it again.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.exporting.settings import DETERMINISTIC, IN_FLOW_TIME, Settings, literals, method, refusal

TOOL = "diffusers"

VP_LOOP = """    for sigma, t in zip(SIGMAS, scheduler.timesteps):
        scale = (1 + sigma**2) ** -0.5  # diffusers' x is image + sigma * noise, times this
        denoised = denoise(x / scale, sigma){clip}
        x = scheduler.step(denoised, t, x{more}).prev_sample"""

SIGMA_LOOP = """    for sigma, t in zip({levels}, scheduler.timesteps):
        denoised = denoise(x, sigma){clip}
        x = scheduler.step({output}, t, x{more}).prev_sample"""

FLOW_LOOP = """    for time, t in zip({levels}, scheduler.timesteps):
        xbar, sigma = (x / (1 - time), time / (1 - time)) if time < 1 else (x, float("inf"))
        denoised = denoise(xbar, sigma){clip}  # at sigma = inf, t = 1, it is given the noise itself
        x = scheduler.step((x - denoised) / time, t, x).prev_sample"""

SIGMAS_SET = """scheduler.set_timesteps({steps})
scheduler.sigmas = torch.tensor(SIGMAS, dtype=torch.float64)"""

TWICE = """scheduler.set_timesteps({steps})
LEVELS = [SIGMAS[0], *(sigma for sigma in SIGMAS[1:-1] for _ in range(2))]  # of the calls
scheduler.sigmas = torch.tensor([*LEVELS, SIGMAS[-1]], dtype=torch.float64)"""

MIDDLES = """scheduler.set_timesteps({steps})
MIDDLES = [(high * low) ** 0.5 for high, low in zip(SIGMAS, SIGMAS[1:-1])]
LEVELS = [SIGMAS[0], *(level for pair in zip(MIDDLES, SIGMAS[1:-1]) for level in pair)]
doubled = [SIGMAS[0], *(sigma for sigma in SIGMAS[1:] for _ in range(2)), SIGMAS[-1]]
scheduler.sigmas = torch.tensor(doubled, dtype=torch.float64)
middles = [SIGMAS[0], *(middle for middle in [*MIDDLES, 0.0] for _ in range(2)), 0.0]
scheduler.sigmas_interpol = torch.tensor(middles, dtype=torch.float64)"""


class Scheduler(NamedTuple):
    """A scheduler that takes the sampler's steps.

    Args:
        name: its class.
        config: the fields that are not at their default.
        setup: lines after it is made, which give it the levels.
        loop: lines that call network and scheduler, with x at its scale.
        start: what unit normals are multiplied with.
        random: whether steps draw noise.
    """

    name: str
    config: dict[str, Any]
    setup: str
    loop: str
    start: str = "SIGMAS[0]"
    random: bool = False


def text(settings: Settings) -> str:
    """Python text that makes `scheduler`, and defines `sample(denoise, x)` with it, from unit normals to images."""
    chosen = scheduler(settings)
    steps = len(settings.sigmas) - 1
    fill = {"steps": steps, "clip": ".clip(-1, 1)" if settings.clips else ""}
    config = {"_class_name": chosen.name, **chosen.config}
    written = "\n".join(f"    {_quoted(name)}: {_literal(value)}," for name, value in config.items())
    options = ", generator=None" if chosen.random else ""
    return f'''"""{settings.title}: for diffusers.

In a pipeline the network's own prediction_type and betas take the place of those of CONFIG.
"""

import torch
from diffusers import {chosen.name}

SIGMAS = {literals(settings.sigmas)}
CONFIG = {{
{written}
    "sigmas": SIGMAS,
}}
scheduler = {chosen.name}.from_config(CONFIG)
{_filled(chosen.setup, fill)}
scheduler.set_begin_index(0)


def sample(denoise, x{options}):
    """Images from unit normals x; denoise(x, sigma) is the denoised image of x = image + sigma * noise."""
    x = x * {chosen.start}
{_filled(chosen.loop, fill)}
    return x
'''


def _filled(lines: str, values: Mapping[str, Any]) -> str:
    for name, value in values.items():
        lines = lines.replace(f"{{{name}}}", str(value))
    return lines


def _quoted(name: str) -> str:
    return f'"{name}"'


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def scheduler(settings: Settings) -> Scheduler:
    """The scheduler that takes the sampler's steps.

    Raises:
        InputError: there is none, with the nearest that there is.
    """
    name, noise = method(settings, TOOL, ("euler", "heun"), from_noise=True), settings.noise["kind"]
    if noise == "churn":
        churn = "churn, since it evaluates the network before it adds the noise"
        raise refusal(TOOL, churn, f"{DETERMINISTIC}, or --to k-diffusion")
    if not settings.ends_at_zero and (name != "euler" or settings.coordinates == IN_FLOW_TIME):
        raise refusal(TOOL, f"end sigma_min with solver '{name}'", "end: zero, or --to k-diffusion")
    if name in ("lms", "ipndm") and settings.solver["order"] == 1:
        name = "euler"
    if name == "ddpm" and settings.solver["variance"] == "small":
        return _euler_ancestral()
    if noise == "ancestral":
        return _ancestral(settings, name)
    if name in ("euler", "heun"):
        return _in_flow_time(name) if settings.coordinates == IN_FLOW_TIME else _in_sigma(name)
    made = {"dpm_2": _dpm_2, "lms": _lms, "unipc": _unipc}.get(name)
    made = _dpm if name in ("dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde") else made
    if made is None:
        raise refusal(TOOL, f"solver '{name}'", _NEAREST.get(name, "--to python, which can express it"))
    return made(settings)


_NEAREST = {
    "ipndm": "solver: lms",
    "deis": "solver: lms",
    "dpmpp_2s": "solver: dpm_2",
    "dpmpp_sde": "solver: dpmpp_2m_sde",
    "dpmpp_3m_sde": "solver: dpmpp_2m_sde",
    "ddpm": "variance: small",
    "rk45": "solver: heun",
    "solve_ivp": "solver: heun",
    "adaptive_sde": "solver: dpmpp_2m_sde",
}


def _in_sigma(name: str) -> Scheduler:
    loop = SIGMA_LOOP.replace("{output}", "denoised").replace("{more}", "")
    if name == "heun":
        given = loop.replace("{levels}", "LEVELS")
        return Scheduler("HeunDiscreteScheduler", {"prediction_type": "sample"}, TWICE, given)
    setup = "scheduler.set_timesteps(sigmas=SIGMAS)"
    given = loop.replace("{levels}", "SIGMAS")
    return Scheduler("EulerDiscreteScheduler", {"prediction_type": "sample"}, setup, given)


def _in_flow_time(name: str) -> Scheduler:
    """Schedulers of flow matching: their sigma is the time t = sigma / (1 + sigma), their x has the factor 1 - t."""
    times = "TIMES = [1 / (1 + 1 / sigma) if sigma else 0.0 for sigma in SIGMAS]"
    if name == "heun":
        setup = f"{times}\n{TWICE.replace('SIGMAS', 'TIMES')}"
        loop = FLOW_LOOP.replace("{levels}", "LEVELS")
        return Scheduler("FlowMatchHeunDiscreteScheduler", {"shift": 1.0}, setup, loop, "TIMES[0]")
    setup = f"{times}\nscheduler.set_timesteps(sigmas=TIMES[:-1])  # it adds the 0"
    loop = FLOW_LOOP.replace("{levels}", "TIMES")
    return Scheduler("FlowMatchEulerDiscreteScheduler", {"shift": 1.0}, setup, loop, "TIMES[0]")


def _euler_ancestral() -> Scheduler:
    loop = SIGMA_LOOP.replace("{output}", "(x - denoised) / sigma").replace("{levels}", "SIGMAS")
    loop = loop.replace("{more}", ", generator=generator")
    return Scheduler("EulerAncestralDiscreteScheduler", {"prediction_type": "epsilon"}, SIGMAS_SET, loop, random=True)


def _ancestral(settings: Settings, name: str) -> Scheduler:
    if name != "euler":
        raise refusal(TOOL, f"ancestral noise with solver '{name}'", "solver: ddim, or --to python")
    if not settings.ends_at_zero:
        raise refusal(TOOL, "end sigma_min with ancestral noise", "end: zero, or --to k-diffusion")
    for field in ("eta", "S_noise"):
        if settings.number(field) != 1:
            raise refusal(TOOL, f"{field} {settings.number(field):g} of ancestral noise", f"{field}: 1.0")
    return _euler_ancestral()


def _dpm_2(settings: Settings) -> Scheduler:
    if settings.solver["r"] != 0.5:
        raise refusal(TOOL, f"r {settings.solver['r']:g} of solver 'dpm_2'", "r: 0.5, or --to python")
    loop = SIGMA_LOOP.replace("{output}", "(x - denoised) / sigma").replace("{levels}", "LEVELS").replace("{more}", "")
    return Scheduler("KDPM2DiscreteScheduler", {"prediction_type": "epsilon"}, MIDDLES, loop)


def _lms(settings: Settings) -> Scheduler:
    """Its order is given step by step, so that it falls to 1 in the last."""
    order, steps = settings.solver["order"], len(settings.levels)
    orders = [order] * (steps - 1) + [1]
    if settings.solver.get("lower_order_final"):
        orders = [min(order, max(steps - 1 - step, 1)) for step in range(steps)]
    loop = SIGMA_LOOP.replace("for sigma, t in zip({levels}, ", "for sigma, order, t in zip(SIGMAS, ORDERS, ")
    loop = loop.replace("{output}", "denoised").replace("{more}", ", order=order")
    config = {"prediction_type": "sample", "orders": orders}
    setup = f'ORDERS = CONFIG["orders"]\n{SIGMAS_SET}'
    return Scheduler("LMSDiscreteScheduler", config, setup, loop)


def _dpm(settings: Settings) -> Scheduler:
    """DPM-Solver++ with several steps and its SDE form, whose last step to 0 is of first order."""
    solver, kind = settings.solver, settings.solver["kind"]
    if solver.get("lower_order_final"):
        raise refusal(TOOL, f"lower_order_final of solver '{kind}'", "lower_order_final: false, or --to python")
    if kind == "dpmpp_3m" and solver["weights"] != "published":
        raise refusal(TOOL, "weights taylor of solver 'dpmpp_3m'", "weights: published, or --to python")
    random = kind == "dpmpp_2m_sde"
    for field in ("eta", "S_noise"):
        if random and solver[field] != 1:
            raise refusal(TOOL, f"{field} {solver[field]:g} of solver '{kind}'", f"{field}: 1.0, or --to k-diffusion")
    config = {
        "prediction_type": "sample",
        "algorithm_type": "sde-dpmsolver++" if random else "dpmsolver++",
        "solver_order": 3 if kind == "dpmpp_3m" else 2,
        "solver_type": solver.get("form", "midpoint"),
        "lower_order_final": False,
    }
    loop = VP_LOOP.replace("{more}", ", generator=generator" if random else "")
    start = "SIGMAS[0] * (1 + SIGMAS[0] ** 2) ** -0.5"
    return Scheduler("DPMSolverMultistepScheduler", config, SIGMAS_SET, loop, start, random)


def _unipc(settings: Settings) -> Scheduler:
    solver, steps = settings.solver, len(settings.levels)
    if solver["variant"] != "bh2":
        raise refusal(TOOL, "variant bh1 of solver 'unipc', which does not reach 0 there", "variant: bh2")
    if solver["order"] == 3 or (solver["order"] == 2 and solver.get("lower_order_final")):
        lowered = "lowered in the step before the last, not otherwise"
        raise refusal(
            TOOL, f"order {solver['order']} of solver 'unipc', {lowered}", "order: 2 without lower_order_final"
        )
    config = {
        "prediction_type": "sample",
        "solver_order": solver["order"],
        "solver_type": solver["variant"],
        "lower_order_final": True,
        "disable_corrector": [] if solver["corrector"] else list(range(steps)),
    }
    start = "SIGMAS[0] * (1 + SIGMAS[0] ** 2) ** -0.5"
    loop = VP_LOOP.replace("{more}", "")
    return Scheduler("UniPCMultistepScheduler", config, SIGMAS_SET, loop, start)
