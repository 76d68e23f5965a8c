"""What is handed to another tool: a sampler as JSON and the noise levels that it has on a denoiser."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from harness.core.errors import InputError

DETERMINISTIC = "stochasticity: deterministic"
IN_SIGMA, IN_FLOW_TIME = ("linear", "none"), ("flow", "flow")
"""Schedule and scaling in which a step in (x, t) is one in sigma, and in the time of flow matching."""


class Settings(NamedTuple):
    """A sampler on a denoiser, as other tools need it.

    Args:
        sampler: the sampler's JSON, every field written.
        levels: the N noise levels on that denoiser, falling, without the final 0; in units of the data. The first is
            infinite where the sampler starts at t = 1 of flow matching.
        rounds: whether the denoiser rounds noise levels, so that levels raised by churn are other ones.
    """

    sampler: Mapping[str, Any]
    levels: tuple[float, ...]
    rounds: bool = False

    @classmethod
    def of_row(cls, sampler: Mapping[str, Any], levels: Mapping[str, Any]) -> "Settings":
        """Those of a measured sampler.

        Args:
            sampler: its JSON.
            levels: what its row keeps: `sigmas`, where JSON has "inf" for infinity, and whether the denoiser `rounds`.
        """
        return cls(sampler, tuple(map(float, levels["sigmas"])), bool(levels.get("rounds")))

    @property
    def solver(self) -> Mapping[str, Any]:
        """The solver's fields."""
        fields: Mapping[str, Any] = self.sampler["solver"]
        return fields

    @property
    def noise(self) -> Mapping[str, Any]:
        """The fields of the stochasticity; those of `deterministic` where it adds none."""
        fields: Mapping[str, Any] = self.sampler["stochasticity"]
        idle = {
            "churn": not fields.get("S_churn"),
            "ancestral": not fields.get("eta"),
            "restart": not fields.get("intervals"),
        }
        return {"kind": "deterministic"} if idle.get(fields["kind"]) else fields

    @property
    def coordinates(self) -> tuple[str, str]:
        """The kinds of schedule and scaling."""
        return self.sampler["schedule"]["kind"], self.sampler["scaling"]["kind"]

    @property
    def ends_at_zero(self) -> bool:
        """Whether the last step goes from the last level to 0."""
        return bool(self.sampler.get("end", "zero") == "zero")

    @property
    def sigmas(self) -> list[float]:
        """The levels, and the final 0 where the sampler goes there."""
        return [*self.levels, 0.0] if self.ends_at_zero else list(self.levels)

    @property
    def starts_at_infinity(self) -> bool:
        """Whether the first level is t = 1 of flow matching."""
        return math.isinf(self.levels[0])

    @property
    def times(self) -> list[float]:
        """`sigmas` in the time of flow matching, t = sigma / (1 + sigma), which is 1 at infinity."""
        return [sigma / (1 + sigma) if math.isfinite(sigma) else 1.0 for sigma in self.sigmas]

    @property
    def clips(self) -> bool:
        """Whether denoised images are clipped to [-1, 1]."""
        return bool(self.sampler.get("clip_denoised"))

    @property
    def title(self) -> str:
        """The sampler in a line."""
        ends = f"{len(self.levels)} noise levels from {self.levels[0]:g} to {self.levels[-1]:g}"
        return f"{_words(self.solver)}, {_words(self.noise)}, {ends}{' and 0' if self.ends_at_zero else ''}"

    def number(self, name: str) -> float:
        """A field of the stochasticity as a number; infinity is written "inf" in JSON."""
        return float(self.noise[name])


def _words(choice: Mapping[str, Any]) -> str:
    fields = ", ".join(f"{name} {value}" for name, value in choice.items() if name != "kind" and value is not None)
    return f"{choice['kind']} ({fields})" if fields else str(choice["kind"])


def refusal(tool: str, what: str, nearest: str) -> InputError:
    """The error that a tool cannot do what a sampler does.

    Args:
        tool: its name.
        what: what the sampler asks for, as the object of "cannot express".
        nearest: the nearest setting that it can.
    """
    return InputError(f"{tool} cannot express {what}; the nearest that it can: {nearest}")


ANYTHING = "--to python, which can express it"


def method(settings: Settings, tool: str, in_flow: tuple[str, ...] = ("euler",), from_noise: bool = False) -> str:
    """The method of a sampler in (xbar, sigma), where other tools work: `euler`, `heun`, or a solver's kind.

    Under other schedules and scalings than those of sigma the steps of `euler` and `rk2` are different steps.

    Args:
        settings: the sampler.
        tool: whose words are looked for, for the message.
        in_flow: which methods the tool can take in the time of flow matching too.
        from_noise: whether they can start at t = 1 there, where sigma is infinite.

    Raises:
        InputError: afs, a schedule that changes the steps, or noise that no other tool adds.
    """
    kind = settings.solver["kind"]
    if any(high <= low for high, low in pairwise(settings.levels)):
        raise refusal(tool, "levels that repeat, as where a denoiser rounds them", "fewer steps, or other levels")
    if settings.starts_at_infinity and not (from_noise and settings.coordinates == IN_FLOW_TIME):
        raise refusal(tool, "t = 1 of flow matching, where sigma is infinite", "t_max below 1, such as 0.999")
    if settings.sampler.get("afs"):
        raise refusal(tool, "afs, the analytical first step", "afs: false, or --to python")
    if settings.noise["kind"] not in ("deterministic", "churn", "ancestral"):
        raise refusal(tool, f"stochasticity '{settings.noise['kind']}'", f"{DETERMINISTIC}, or --to python")
    if settings.noise["kind"] == "churn" and settings.rounds:
        raise refusal(tool, "churn on a denoiser that rounds the raised levels", f"{DETERMINISTIC}, or --to python")
    name = {"ddim": "euler", "rk2": "heun"}.get(kind, kind)
    if kind == "rk2" and settings.solver["alpha"] != 1:
        raise refusal(tool, f"alpha {settings.solver['alpha']:g} of solver 'rk2'", "solver: heun, or --to python")
    if kind in ("euler", "rk2") and not _fits(settings, name, in_flow):
        schedule, scaling = settings.coordinates
        other = "ddim" if kind == "euler" else "heun with schedule linear and scaling none"
        steps = f"solver '{kind}' in the time of schedule '{schedule}' with scaling '{scaling}'"
        raise refusal(tool, steps, f"solver: {other}, or --to python")
    return name


def _fits(settings: Settings, name: str, in_flow: tuple[str, ...]) -> bool:
    """Whether the coordinates are the tool's; in both of these Euler's method is DDIM."""
    return settings.coordinates == IN_SIGMA or (settings.coordinates == IN_FLOW_TIME and name in in_flow)


def churn_arguments(settings: Settings) -> dict[str, float]:
    """s_churn, s_tmin, s_tmax and s_noise of the functions that have Algorithm 2; none without churn.

    They take gamma from s_churn over the number of steps, and ours is over the number of levels, one more where the
    sampler ends at sigma_min.
    """
    if settings.noise["kind"] != "churn":
        return {}
    steps = len(settings.sigmas) - 1
    churn = settings.number("S_churn")
    return {
        "s_churn": churn if settings.ends_at_zero else churn * steps / len(settings.levels),
        "s_tmin": settings.number("S_tmin"),
        "s_tmax": settings.number("S_tmax"),
        "s_noise": settings.number("S_noise"),
    }


def literal(value: float) -> str:
    """A number as Python text that gives the same number back; infinity is `float("inf")`."""
    return repr(float(value)) if math.isfinite(value) else 'float("inf")'


def literals(values: list[float], width: int = 112) -> str:
    """A list of numbers as Python text, broken into lines."""
    lines, line = [], "   "
    for value in values:
        word = f" {literal(value)},"
        if len(line) + len(word) > width:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join(["[", *lines, line, "]"])
