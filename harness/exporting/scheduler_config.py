"""A diffusers `scheduler_config.json` as a sampler: the setting that people run today, as the baseline of a grid.

Where the scheduler does something that no sampler does, the field is named; `nearest` takes the nearest sampler then,
and says how it differs. What the network predicts (`prediction_type`) is the denoiser's affair.
"""

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from pydantic import ValidationError

from harness.core.errors import InputError
from harness.core.yaml import explain
from harness.exporting.noise_tables import Fields, Spacing, levels, shifted, table, timesteps
from harness.sampling.sampler import Sampler

STEPS = 50
"""Steps where the file does not say: what pipelines take by default."""

MOST_TIME = float(np.float32(1 - 1e-6))
"""What t = 1 of flow matching, where sigma is infinite, is written as; sigma is then about 1e6, as in their UniPC."""

DEFAULTS: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "timestep_spacing": "linspace",
    "steps_offset": 0,
    "final_sigmas_type": "zero",
}
"""What most classes take where a field is not there."""


FRACTIONS = Spacing(is_whole=False)
"""How the schedulers that work in sigma take timesteps."""


class ImportedScheduler(NamedTuple):
    """A sampler that a scheduler became, and how it differs, in sentences; mostly not at all."""

    sampler: Sampler
    differences: list[str]


class _Draft:
    """A sampler in the making.

    Args:
        fields: of the scheduler.
        steps: how many the pipeline takes.

    Attributes:
        choices: of the sampler, as YAML has them.
        differences: how it differs from the scheduler.
    """

    def __init__(self, fields: Fields, steps: int, given: list[float] | None) -> None:
        self.fields, self.steps, self.given = fields, steps, given
        self.choices: dict[str, Any] = {}
        self.differences: list[str] = []

    def differs(self, field: str, why: str) -> None:
        """Note that a field has no counterpart."""
        self.differences.append(f"{field} {self.fields[field]!r} of {self.fields.name} has no counterpart here: {why}")

    def lay_out(self, sigmas: list[float], last: float = 0.0) -> None:
        """The levels as a list, and where the last step ends: at 0, or at one more level."""
        if self.given is not None:
            sigmas, last = (self.given[:-1], 0.0) if self.given[-1] == 0 else (self.given[:-1], self.given[-1])
        if last > 0:
            self.choices["end"] = "sigma_min"
            sigmas = [*sigmas, last] if last < sigmas[-1] else sigmas  # a step over nothing changes nothing
        self.choices["discretization"] = {"kind": "explicit", "sigmas": sigmas}

    def place(self, spacing: Spacing, ends_of_table: bool = True) -> None:
        """The levels of a class that takes timesteps of a table, or lays levels out between two of its ends.

        Args:
            spacing: how timesteps are taken.
            ends_of_table: whether new levels run between the ends of the table, not between the first and last taken.
        """
        if self.given is not None:
            return self.lay_out([])
        fields = self.fields
        for name in ("use_beta_sigmas", "use_lu_lambdas", "use_dynamic_shifting", "shift_terminal"):
            if fields[name]:
                raise fields.refuse(name)
        last = float(table(fields)[0]) if fields["final_sigmas_type"] == "sigma_min" else 0.0
        spread: dict[str, dict[str, Any]] = {
            "use_karras_sigmas": {"kind": "edm", "rho": 7.0},
            "use_exponential_sigmas": {"kind": "exponential"},
        }
        named = [name for name in (*spread, "use_flow_sigmas") if fields[name]]
        if named and last > 0:
            raise fields.refuse("final_sigmas_type", f"with {named[0]} it is a level of another kind")
        if not named:
            return self.lay_out(levels(fields, self.steps, spacing), last)
        if named[0] == "use_flow_sigmas":
            return self.lay_out(_of_times(shifted(self._flow_times(), fields.number("flow_shift"))))
        taken = [float(table(fields)[-1]), float(table(fields)[0])]
        taken = taken if ends_of_table else levels(fields, self.steps, spacing)
        high = taken[0] if fields["sigma_max"] is None else fields.number("sigma_max")
        low = taken[-1] if fields["sigma_min"] is None else fields.number("sigma_min")
        self.choices["discretization"] = {**spread[named[0]], "sigma_min": low, "sigma_max": high}
        self.choices["steps"] = self.steps
        return None

    def _flow_times(self) -> np.ndarray:
        """Evenly spaced times of flow matching, falling: from 1 down for UniPC, from 1 - 1/T for DPM-Solver."""
        down = np.linspace(1, 1 / self.fields.count("num_train_timesteps"), self.steps + 1)
        return down[:-1] if self.fields.name.startswith("UniPC") else (1 - down)[::-1][:-1]

    def clip(self) -> None:
        """What is done to denoised images."""
        if self.fields["thresholding"]:
            raise self.fields.refuse("thresholding")
        if self.fields["clip_sample"]:
            if self.fields.number("clip_sample_range") != 1:
                raise self.fields.refuse("clip_sample_range", "denoised images are clipped to 1, or not at all")
            self.choices["clip_denoised"] = True


def import_scheduler(config: Mapping[str, Any], steps: int | None = None, nearest: bool = False) -> ImportedScheduler:
    """The sampler that a scheduler's configuration is.

    Args:
        config: the content of `scheduler_config.json`. Where it has `sigmas`, as what `export` writes, these are the
            levels.
        steps: num_inference_steps; `STEPS`, or as many as there are sigmas, by default.
        nearest: take the nearest sampler where there is no equal one.

    Raises:
        InputError: no scheduler that is known, or a field that has no counterpart, by name.
    """
    name = config.get("_class_name")
    if not isinstance(name, str):
        raise InputError("this is no scheduler_config.json: it has no `_class_name`")
    if name not in _CLASSES:
        raise InputError(f"{name} has no counterpart here; known are {', '.join(_CLASSES)}")
    defaults, fill = _CLASSES[name]
    fields = Fields(config, {**DEFAULTS, **defaults})
    given = _given(config, steps)
    draft = _Draft(fields, len(given) - 1 if given else steps or STEPS, given)
    fill(draft)
    if draft.differences and not nearest:
        raise InputError(f"{draft.differences[0]}; --nearest takes it so")
    try:
        sampler = Sampler.model_validate(draft.choices)
    except ValidationError as error:
        raise InputError(f"{name}: {explain(error.errors()[0])}") from None
    return ImportedScheduler(sampler, draft.differences)


def read_config(path: Path) -> dict[str, Any]:
    """A scheduler's configuration from a file, or from a folder that has it.

    Raises:
        InputError: there is none, or it is no JSON object.
    """
    path = path / "scheduler_config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: a scheduler's configuration is a JSON object")
    return config


def yaml_of(sampler: Sampler) -> str:
    """A sampler as the YAML of its fields, without those that are at their default."""
    fields = sampler.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(fields, default_flow_style=None, sort_keys=False, width=112)


def _given(config: Mapping[str, Any], steps: int | None) -> list[float] | None:
    sigmas = config.get("sigmas")
    if sigmas is None:
        return None
    if not isinstance(sigmas, list) or len(sigmas) < 2 or not all(isinstance(each, int | float) for each in sigmas):
        raise InputError("`sigmas` must be a list of at least two numbers")
    if steps not in (None, len(sigmas) - 1):
        raise InputError(f"`sigmas` has {len(sigmas) - 1} steps, and --steps {steps} was given; leave it out")
    return [float(sigma) for sigma in sigmas]


def _euler(draft: _Draft) -> None:
    draft.choices["solver"] = "euler"
    if draft.fields["interpolation_type"] not in (None, "linear"):
        raise draft.fields.refuse("interpolation_type")
    draft.place(FRACTIONS, ends_of_table=False)


def _euler_ancestral(draft: _Draft) -> None:
    draft.choices |= {"solver": "ddim", "stochasticity": {"kind": "ancestral"}}
    draft.place(FRACTIONS)


def _heun(draft: _Draft) -> None:
    draft.choices["solver"] = "heun"
    draft.clip()
    draft.place(FRACTIONS, ends_of_table=False)


def _dpm_2(draft: _Draft) -> None:
    draft.choices["solver"] = "dpm_2"
    draft.place(FRACTIONS, ends_of_table=False)


def _dpm_2_ancestral(draft: _Draft) -> None:
    draft.choices |= {"solver": "dpm_2", "stochasticity": {"kind": "ancestral"}}
    draft.place(FRACTIONS, ends_of_table=False)


def _lms(draft: _Draft) -> None:
    """Its order is an argument of its step; `orders` is what `export` writes."""
    orders = draft.fields["orders"]
    draft.choices["solver"] = {"kind": "lms", "order": max(orders) if orders else 4}
    if orders and len(orders) > 2 and orders[-2] < min(max(orders), len(orders) - 1):
        draft.choices["solver"]["lower_order_final"] = True
    if not orders:
        draft.differs("_class_name", "it keeps order 4 in the step to 0, and solver 'lms' lands on the denoised image")
    draft.place(FRACTIONS, ends_of_table=False)


def _dpm_multistep(draft: _Draft) -> None:
    fields = draft.fields
    order, kind = fields.count("solver_order"), fields["algorithm_type"]
    form = fields["solver_type"] if fields["solver_type"] in ("midpoint", "heun") else "midpoint"
    if kind not in ("dpmsolver++", "sde-dpmsolver++", "deis") and order > 1:
        raise fields.refuse(
            "algorithm_type", "use dpmsolver++, or `dpm_2` for DPM-Solver-2 with two evaluations a step"
        )
    if kind.startswith("sde") and order == 3:
        raise fields.refuse("solver_order", "its weight of the second difference has another sign than published")
    if order == 3 and form == "heun":
        raise fields.refuse("solver_type", "of order 3 only the midpoint form is there")
    draft.clip()
    draft.choices["solver"] = {
        ("dpmsolver++", 1): "ddim",
        ("dpmsolver++", 2): {"kind": "dpmpp_2m", "form": form},
        ("dpmsolver++", 3): {"kind": "dpmpp_3m"},
        ("sde-dpmsolver++", 1): {"kind": "ddpm"},
        ("sde-dpmsolver++", 2): {"kind": "dpmpp_2m_sde", "form": form},
    }.get(("sde-dpmsolver++" if kind.startswith("sde") else "dpmsolver++", order))
    if draft.choices["solver"] is None:
        raise fields.refuse("solver_order")
    count = None
    if fields["lambda_min_clipped"] is not None:
        count = int((-np.log(table(fields)) >= float(fields["lambda_min_clipped"])).sum())
    draft.place(Spacing(extra=1, available=count))
    _lower_last(draft, order)


def _lower_last(draft: _Draft, order: int) -> None:
    """Where the order falls: in short runs in the last steps, and always in the step to 0, as here."""
    fields, is_short = draft.fields, draft.steps < 15 and draft.fields["lower_order_final"]
    if order == 1:
        return
    if draft.choices.get("end") != "sigma_min":
        if order == 3 and is_short and draft.steps > 2:
            draft.differs("lower_order_final", "the step before the last has order 2 there, and 3 here")
        return
    if fields["algorithm_type"].startswith("sde") and (is_short or fields["euler_at_final"]):
        raise fields.refuse("final_sigmas_type", "an SDE solver here does not lower its order at the end")
    if is_short:
        draft.choices["solver"] = {**draft.choices["solver"], "lower_order_final": True}
    elif fields["euler_at_final"]:
        if order == 2:
            draft.choices["solver"] = {**draft.choices["solver"], "lower_order_final": True}
        else:
            draft.differs("euler_at_final", "the last step alone has order 1 there")


def _unipc(draft: _Draft) -> None:
    fields = draft.fields
    order, disabled = fields.count("solver_order"), fields["disable_corrector"] or []
    if fields["predict_x0"] is False:
        raise fields.refuse("predict_x0")
    if fields["solver_p"] is not None:
        raise fields.refuse("solver_p")
    draft.clip()
    corrector = not disabled
    if disabled and not set(range(draft.steps - 1)) <= set(disabled):
        draft.differs("disable_corrector", "the corrector is on in all steps here, or in none")
        corrector = True
    variant = fields["solver_type"] if fields["solver_type"] in ("bh1", "bh2") else "bh2"
    draft.choices["solver"] = {"kind": "unipc", "order": order, "variant": variant, "corrector": corrector}
    draft.place(Spacing(extra=1))
    ends_at_zero = draft.choices.get("end") != "sigma_min"
    if not fields["lower_order_final"]:
        if ends_at_zero and order > 1:
            raise fields.refuse("lower_order_final", "the step to 0 is of first order")
    elif not ends_at_zero:
        draft.choices["solver"]["lower_order_final"] = True
    elif order == 3 and draft.steps > 2:
        draft.differs("lower_order_final", "the step before the last has order 2 there, and 3 here")
    if variant == "bh1" and ends_at_zero:
        raise fields.refuse("solver_type", "with bh1 it does not reach 0")


def _ddim(draft: _Draft) -> None:
    """eta is an argument of its step, and 0 by default."""
    draft.choices["solver"] = "ddim"
    draft.clip()
    _jumps(draft)


def _ddpm(draft: _Draft) -> None:
    fields = draft.fields
    kind = str(fields["variance_type"]).removesuffix("_log")
    if kind not in ("fixed_small", "fixed_large"):
        raise fields.refuse("variance_type", "a denoiser here has no learned variance")
    draft.choices["solver"] = {"kind": "ddpm", "variance": kind.removeprefix("fixed_")}
    draft.clip()
    if kind == "fixed_large" and fields.count("steps_offset") > 0 and fields["timestep_spacing"] == "leading":
        raise fields.refuse("steps_offset", "with it the last step adds noise")
    draft.lay_out(levels(fields, draft.steps, Spacing()))


def _pndm(draft: _Draft) -> None:
    draft.choices["solver"] = {"kind": "ipndm"}
    what = "it starts with a step of Heun's kind, or with Runge-Kutta steps, and 'ipndm' with a step of first order"
    draft.differs("skip_prk_steps", what)
    _jumps(draft)


def _jumps(draft: _Draft) -> None:
    """Levels of schedulers whose steps go T / N timesteps down, whatever the spacing."""
    if draft.given is not None:
        return draft.lay_out([])
    fields, sigmas = draft.fields, table(draft.fields)
    places = timesteps(fields, draft.steps, Spacing()).astype(int).tolist()
    jump = fields.count("num_train_timesteps") // draft.steps
    if any(place - jump != following for place, following in pairwise(places)):
        raise fields.refuse("timestep_spacing", f"with {draft.steps} steps a step does not end where the next begins")
    if places[-1] >= jump:
        last = float(sigmas[places[-1] - jump])
    else:
        last = 0.0 if fields["set_alpha_to_one"] else float(sigmas[0])
    return draft.lay_out([float(sigmas[place]) for place in places], last)


def _flow_euler(draft: _Draft) -> None:
    draft.choices["solver"] = "euler"
    _flow_times(draft)


def _flow_heun(draft: _Draft) -> None:
    draft.choices["solver"] = "heun"
    _flow_times(draft)


def _flow_times(draft: _Draft) -> None:
    """Times evenly spaced between the ends of the shifted table, and shifted again, as the schedulers do it."""
    fields = draft.fields
    draft.choices |= {"schedule": "flow", "scaling": "flow"}
    unknown = ("invert_sigmas", "stochastic_sampling", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
    for name in unknown:
        if fields[name]:
            raise fields.refuse(name)
    if draft.given is not None:
        return draft.lay_out([])
    if fields["use_dynamic_shifting"]:
        raise fields.refuse(
            "use_dynamic_shifting", "its shift depends on the image's size; set it to false, and `shift`"
        )
    count, shift = fields.count("num_train_timesteps"), fields.number("shift")
    high, low = shifted(np.array([1.0, 1 / count]), shift).tolist()
    times = shifted(np.linspace(high, low, draft.steps), shift)
    if fields["shift_terminal"]:
        signal = 1 - times
        times = 1 - signal / (signal[-1] / (1 - fields.number("shift_terminal")))
    return draft.lay_out(_of_times(times))


def _of_times(times: np.ndarray) -> list[float]:
    """Levels of times of flow matching, which are float32: sigma = t / (1 - t)."""
    exact = times.astype(np.float32).astype(np.float64).clip(max=MOST_TIME)
    return [float(time / (1 - time)) for time in exact]


_TABLE = {"timestep_spacing": "leading", "clip_sample": True, "clip_sample_range": 1.0}

_CLASSES: dict[str, tuple[dict[str, Any], Callable[[_Draft], None]]] = {
    "EulerDiscreteScheduler": ({}, _euler),
    "EulerAncestralDiscreteScheduler": ({}, _euler_ancestral),
    "HeunDiscreteScheduler": ({"beta_start": 0.00085, "beta_end": 0.012, "clip_sample_range": 1.0}, _heun),
    "KDPM2DiscreteScheduler": ({"beta_start": 0.00085, "beta_end": 0.012}, _dpm_2),
    "KDPM2AncestralDiscreteScheduler": ({"beta_start": 0.00085, "beta_end": 0.012}, _dpm_2_ancestral),
    "LMSDiscreteScheduler": ({}, _lms),
    "DPMSolverMultistepScheduler": (
        {
            "solver_order": 2,
            "algorithm_type": "dpmsolver++",
            "solver_type": "midpoint",
            "lower_order_final": True,
            "flow_shift": 1.0,
        },
        _dpm_multistep,
    ),
    "UniPCMultistepScheduler": (
        {"solver_order": 2, "solver_type": "bh2", "lower_order_final": True, "predict_x0": True, "flow_shift": 1.0},
        _unipc,
    ),
    "DDIMScheduler": ({**_TABLE, "set_alpha_to_one": True}, _ddim),
    "DDPMScheduler": ({**_TABLE, "variance_type": "fixed_small"}, _ddpm),
    "PNDMScheduler": ({"timestep_spacing": "leading", "set_alpha_to_one": False, "skip_prk_steps": False}, _pndm),
    "FlowMatchEulerDiscreteScheduler": ({"shift": 1.0}, _flow_euler),
    "FlowMatchHeunDiscreteScheduler": ({"shift": 1.0}, _flow_heun),
}
"""The schedulers that are known, each with the defaults that differ from `DEFAULTS`, and what makes its sampler."""
