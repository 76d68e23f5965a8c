"""ComfyUI: nodes in its API format: a sampler, and a list of levels as text, for the node SamplerCustom.

`ManualSigmas` finds its numbers with a pattern that knows no exponents, so that 1e-05 would be read as 1 and -05:
levels are written out. In ComfyUI a model of flow matching has its time as sigma; under schedule and scaling `flow` the
levels are that time, t = sigma / (1 + sigma).
"""

import json
from decimal import Decimal
from typing import Any

from harness.exporting.k_diffusion import FunctionCall, function_call
from harness.exporting.settings import DETERMINISTIC, IN_FLOW_TIME, Settings, method, refusal

TOOL = "ComfyUI"

NODES = {
    "euler_ancestral": "SamplerEulerAncestral",
    "dpmpp_2s_ancestral": "SamplerDPMPP_2S_Ancestral",
    "dpmpp_sde": "SamplerDPMPP_SDE",
    "dpmpp_2m_sde": "SamplerDPMPP_2M_SDE",
    "dpmpp_3m_sde": "SamplerDPMPP_3M_SDE",
    "lms": "SamplerLMS",
}
"""Nodes with fields for what a function takes; the others are named to KSamplerSelect, which has none."""

LIMITS = {"eta": 100.0, "s_noise": 100.0}
"""The most that a node's field takes."""


def text(settings: Settings) -> str:
    """JSON of two nodes, "sampler" and "sigmas", whose outputs the inputs of the same names of SamplerCustom take."""
    call, levels = _call(settings), settings.sigmas
    if settings.coordinates == IN_FLOW_TIME:
        levels = settings.times
    nodes = {
        "sampler": _node(call),
        "sigmas": {"class_type": "ManualSigmas", "inputs": {"sigmas": ", ".join(map(written, levels))}},
    }
    return json.dumps(nodes, indent=1) + "\n"


def written(value: float) -> str:
    """A number without an exponent that reads back as itself."""
    plain = format(Decimal(repr(value)), "f")
    return plain if "." in plain else f"{plain}.0"


def _call(settings: Settings) -> FunctionCall:
    if settings.clips:
        raise refusal(TOOL, "clip_denoised", "clip_denoised: false, or --to python")
    name, solver, noise = (
        method(settings, TOOL, ("euler", "heun"), from_noise=True),
        settings.solver,
        settings.noise["kind"],
    )
    if noise == "churn":
        raise refusal(TOOL, "churn, for which no node has a field", f"{DETERMINISTIC}, or --to k-diffusion")
    if settings.coordinates == IN_FLOW_TIME:
        if noise != "deterministic" or name not in ("euler", "heun"):
            what = f"solver '{name}' with stochasticity '{noise}' on a model of flow matching"
            raise refusal(TOOL, what, "solver: euler or heun, deterministic")
        return FunctionCall(name, {})
    if noise == "deterministic" and not solver.get("lower_order_final"):
        if name == "lms" and solver["order"] > 1:
            return FunctionCall("lms", {"order": solver["order"]})
        if name == "ipndm" and solver["order"] == 4:
            return FunctionCall("ipndm", {})
        if name in ("ipndm", "lms") and solver["order"] > 1:
            raise refusal(TOOL, f"order {solver['order']} of solver '{name}'", "order: 4, or solver: lms")
    return function_call(settings, TOOL)


def _node(call: FunctionCall) -> dict[str, Any]:
    """The node of a function, with its arguments as fields."""
    if call.name not in NODES:
        if any(value != 1.0 for value in call.arguments.values()):
            what = " and ".join(f"{name} {value:g}" for name, value in call.arguments.items())
            raise refusal(TOOL, f"{what} of '{call.name}'", "eta: 1.0 and S_noise: 1.0, or --to k-diffusion")
        return {"class_type": "KSamplerSelect", "inputs": {"sampler_name": call.name}}
    fields = dict(call.arguments)
    if call.name == "dpmpp_2s_ancestral":
        fields.setdefault("s_noise", 1.0)
    if call.name in ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"):
        fields["noise_device"] = "cpu"
    for name, most in LIMITS.items():
        if fields.get(name, 0.0) > most:
            raise refusal(TOOL, f"{name} {fields[name]:g}", f"{name}: {most:g}")
    return {"class_type": NODES[call.name], "inputs": fields}
