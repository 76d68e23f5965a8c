"""A sampler's choices as text (`heun`, `edm (rho 7, sigma 0.002 to 80)`), a setting in a line, and YAML to copy."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

AXES = ("solver", "discretization", "schedule", "scaling", "stochasticity")
"""The axes of the design space, in the order of the paper's Table 1."""

DEFAULTS: dict[str, Any] = {"afs": False, "clip_denoised": False, "noise_device": "cpu"}
"""Fields of a sampler that are left out of YAML at their default; a test holds them against the code."""

WIDEST = 80
"""Letters of a line of YAML, where a choice can be broken."""


class ChoiceText(NamedTuple):
    """One axis: the name of the choice, and its parameters in words ("" for none)."""

    kind: str
    details: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.details})" if self.details else self.kind


def describe(choice: Any) -> ChoiceText:
    """One axis of a sampler, as stored: a mapping with a `kind`, or a bare name.

    The second-order Runge-Kutta method with alpha 1 goes by its own name, heun.
    """
    if not isinstance(choice, Mapping):
        return ChoiceText("" if choice is None else str(choice), "")
    kind = str(choice.get("kind", "?"))
    fields = {key: value for key, value in choice.items() if key != "kind" and value is not None}
    if kind == "rk2" and fields.get("alpha") == 1:
        kind = "heun"
        del fields["alpha"]
    if {"sigma_min", "sigma_max"} <= fields.keys():
        fields["sigma"] = f"{_value(fields.pop('sigma_min'))} to {_value(fields.pop('sigma_max'))}"
    return ChoiceText(kind, ", ".join(f"{key} {_value(value)}" for key, value in fields.items()))


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def setting_text(value: Any) -> str:
    """A parameter's value: five significant digits, a word, or short JSON."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return f"{value:.5g}".replace("-", "\N{MINUS SIGN}", 1) if value < 0 else f"{value:.5g}"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and "kind" in value:
        return str(describe(value))
    return json.dumps(value, sort_keys=True)


def setting_line(settings: Mapping[str, Any] | None, trial: Mapping[str, Any], paths: list[str]) -> str:
    """A setting in a line: parameter by parameter, or what is searched where it lies outside of the space.

    Args:
        settings: by the names of parameters; None or empty for a setting outside the space.
        trial: the Trial's JSON.
        paths: of the parameters, e.g. `sampler.stochasticity.S_churn` or `denoiser.weight`.
    """
    if settings:
        return ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items())
    sampler, denoiser = trial.get("sampler") or {}, trial.get("denoiser")
    words = [path.split(".") for path in paths]  # words between `sampler` and an axis are of choices
    fields = dict.fromkeys(next((word for word in path if word in sampler), "") for path in words)
    parts = [(field, sampler[field]) for field in fields if field]
    if isinstance(denoiser, Mapping):
        own = dict.fromkeys(path[1] for path in words if path[0] == "denoiser" and len(path) > 1)
        parts += [(field, denoiser[field]) for field in own if field in denoiser]
    return ", ".join(
        str(describe(value)) if field in AXES else f"{field} {setting_text(value)}" for field, value in parts
    )


def sampler_yaml(trial: Mapping[str, Any]) -> str:
    """The `sampler:` block of a trial, to be pasted into a grid: a line an axis, or more where
    they would be long, and defaults of small fields left out."""
    lines = ["sampler:"]
    for name, value in (trial.get("sampler") or {}).items():
        if name not in DEFAULTS or value != DEFAULTS[name]:
            lines += _lines(name, _short(value))
    return "\n".join(lines) + "\n"


def source_yaml(trial: Mapping[str, Any], paths: list[str]) -> str:
    """The denoiser of a trial as a grid's `source`, where fields of its guidance are searched; "" elsewhere."""
    denoiser = trial.get("denoiser")
    if not isinstance(denoiser, Mapping) or not any(path.split(".")[0] == "denoiser" for path in paths):
        return ""
    return f"source: {_flow(_short(denoiser, is_axis=False))}\n"


def _short(value: Any, is_axis: bool = True) -> Any:
    """Without fields that are not set; an axis whose choice has a kind only as its bare name."""
    if not isinstance(value, Mapping):
        return value
    kept = {name: _short(child, is_axis=False) for name, child in value.items() if child is not None}
    if is_axis and kept == {"kind": "rk2", "alpha": 1.0}:
        return "heun"
    return kept["kind"] if is_axis and kept.keys() == {"kind"} else kept


def _lines(name: str, value: Any) -> list[str]:
    line = f"  {name}: {_flow(value)}"
    if len(line) <= WIDEST or not isinstance(value, Mapping):
        return [line]
    return [f"  {name}:", *(f"    {key}: {_flow(child)}" for key, child in value.items())]


def _flow(value: Any) -> str:
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=False)
    return written.removesuffix("\n").removesuffix("\n...")
