"""k-diffusion: the name of a sampling function, its arguments, and the list of levels.

Its functions work on (xbar, sigma), as `dpm_2`, `dpmpp_2m` and the others do here. Names and arguments are those of
version 0.1.1.
"""

from typing import Any, NamedTuple

from harness.exporting.settings import (
    ANYTHING,
    DETERMINISTIC,
    Settings,
    churn_arguments,
    literal,
    literals,
    method,
    refusal,
)

TOOL = "k-diffusion"


class FunctionCall(NamedTuple):
    """A sampling function without its prefix `sample_`, and its arguments beside model, x and sigmas."""

    name: str
    arguments: dict[str, Any]


def text(settings: Settings) -> str:
    """Python text that defines `sample(model, x)`, from unit normals to images."""
    call = function_call(settings)
    given = "".join(f", {name}={_value(value)}" for name, value in call.arguments.items())
    model, clip = "model", ""
    if settings.clips:
        model = "clipped"
        clip = (
            "\n    def clipped(x, sigma, **extra):\n"
            "        return model(x, sigma, **extra).clip(-1, 1)\n\n"
        )  # fmt: skip
    return f'''"""{settings.title}: for k-diffusion."""

import torch
from k_diffusion.sampling import sample_{call.name}

SIGMAS = {literals(settings.sigmas)}


def sample(model, x, **options):
    """Images from unit normals x [B, C, H, W]; model(x, sigma) is the denoised image, sigma [B]."""
{clip}    sigmas = torch.tensor(SIGMAS, dtype=x.dtype, device=x.device)
    return sample_{call.name}({model}, x * sigmas[0], sigmas{given}, **options)
'''


def _value(value: Any) -> str:
    return repr(value) if isinstance(value, str | int) else literal(value)


def function_call(settings: Settings, tool: str = TOOL) -> FunctionCall:
    """The function that takes the sampler's steps.

    Args:
        settings: the sampler.
        tool: whose functions these are, for messages.

    Raises:
        InputError: there is none, with the nearest that there is.
    """
    name, solver, noise = method(settings, tool), settings.solver, settings.noise["kind"]
    if solver.get("lower_order_final"):
        raise refusal(tool, "lower_order_final", "lower_order_final: false, or --to python")
    if name in ("dpm_2", "dpmpp_2s") and solver["r"] != 0.5:
        raise refusal(tool, f"r {solver['r']:g} of solver '{name}'", "r: 0.5, or --to python")
    if name in ("lms", "ipndm") and solver["order"] == 1:
        name = "euler"
    if noise == "ancestral":
        return _ancestral(settings, tool, name)
    if name in ("euler", "heun", "dpm_2"):
        return FunctionCall(name, dict(churn_arguments(settings)))
    if noise == "churn":
        raise refusal(tool, f"churn with solver '{name}'", f"solver: dpm_2, or {DETERMINISTIC}")
    if name == "dpmpp_2s":
        return FunctionCall("dpmpp_2s_ancestral", {"eta": 0.0})
    if name == "dpmpp_2m":
        if solver["form"] != "midpoint":
            raise refusal(tool, "form heun of solver 'dpmpp_2m'", "form: midpoint, or --to python")
        return FunctionCall(name, {})
    if name in ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"):
        return _sde(settings, tool, name)
    if name == "ddpm" and solver["variance"] == "small":
        return FunctionCall("euler_ancestral", {"eta": 1.0, "s_noise": 1.0})
    raise _no_function(tool, name)


def _ancestral(settings: Settings, tool: str, name: str) -> FunctionCall:
    """The ancestral functions: a step to sigma_down, and noise."""
    if name not in ("euler", "dpm_2", "dpmpp_2s"):
        raise refusal(tool, f"ancestral noise with solver '{name}'", "solver: ddim, dpm_2 or dpmpp_2s, or --to python")
    amount = {"eta": settings.number("eta"), "s_noise": settings.number("S_noise")}
    return FunctionCall(f"{name}_ancestral", amount)


def _sde(settings: Settings, tool: str, name: str) -> FunctionCall:
    """The SDE functions; their noise is a Brownian path in sigma, of which the multistep ones see disjoint steps."""
    solver = settings.solver
    arguments: dict[str, Any] = {"eta": float(solver["eta"]), "s_noise": float(solver["S_noise"])}
    if name == "dpmpp_2m_sde":
        arguments["solver_type"] = solver["form"]
    if name == "dpmpp_sde":
        if solver.get("clock", "sde") != "sigma":
            raise refusal(tool, "clock sde of solver 'dpmpp_sde'", "clock: sigma, in which its own noise runs")
        arguments["r"] = float(solver["r"])
    return FunctionCall(name, arguments)


_NEAREST = {
    "lms": "order: 1, since it keeps the order in the step to 0",
    "ipndm": "solver: lms of order 1, or dpmpp_2m",
    "deis": "solver: dpmpp_2m",
    "unipc": "solver: dpmpp_2m, or --to diffusers",
    "dpmpp_3m": "solver: dpmpp_2m, or --to diffusers",
    "ddpm": "variance: small",
    "rk45": "solver: heun",
    "adaptive_sde": "solver: dpmpp_2m_sde",
    "solve_ivp": "solver: heun",
}


def _no_function(tool: str, name: str) -> Exception:
    return refusal(tool, f"solver '{name}'", _NEAREST.get(name, ANYTHING))
