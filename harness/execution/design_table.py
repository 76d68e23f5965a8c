"""The samplers of a plan as a table of design choices, like the paper's Table 1, taken from the code itself.

A column is a series on a denoiser: what it samples with, and how the denoiser's kind of network is preconditioned and
trained. Formulas are the expressions that stand beside the code, and tests hold them against it; numbers are the fields
of the choices, and the defaults of preconditionings and losses.
"""

import inspect
from typing import Any, NamedTuple

from harness.denoisers.guidance import GuidedSpec
from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.experiments.plan import Plan, Planned
from harness.hub.cards import denoiser_cards
from harness.sampling.discretizations import IDDPM
from harness.sampling.discretizations.iddpm import iddpm_levels
from harness.sampling.sampler import Sampler
from harness.training.losses import COLUMNS

SKIPPED = ("kind", "levels", "reference", "seeds", "sigmas")


class Cell(NamedTuple):
    """A choice by name, an expression, and words; each may be empty."""

    name: str = ""
    formula: str = ""
    words: str = ""


def design(plan: Plan) -> dict[str, Any]:
    """The table as JSON: columns, and groups of rows with a cell a column."""
    columns = list({(item.base, item.panel): item for item in reversed(plan.items)}.values())[::-1]
    titles = {name: panel.title or name for name, panel in plan.grid.denoisers.items()}
    sampling = {
        "ODE or SDE solver": [_solver(item.trial.sampler) for item in columns],
        "Noise levels σ_i, i < N": [_levels(item.trial.sampler) for item in columns],
        "Schedule σ(t)": [_formula(item.trial.sampler.schedule) for item in columns],
        "Scaling s(t)": [_formula(item.trial.sampler.scaling) for item in columns],
        "Stochasticity": [_stochasticity(item.trial.sampler) for item in columns],
    }
    network = {name: [_network(item, name) for item in columns] for name in ("c_skip", "c_out", "c_in", "c_noise")}
    training = {
        "Noise distribution": [_noise_distribution(item) for item in columns],
        "Loss weight": [_loss_weight(item) for item in columns],
    }
    groups = {"Sampling": sampling, "Network and preconditioning": network, "Training": training}
    numbers = {"Parameters": {"Sampling": [Cell(words=_numbers(item.trial.sampler)) for item in columns]}}
    numbers["Parameters"]["Network and training"] = [Cell(words=_kind_numbers(item)) for item in columns]
    return {
        "columns": [{"series": item.base, "panel": titles[item.panel]} for item in columns],
        "groups": [
            {
                "title": title,
                "rows": [{"name": name, "cells": [cell._asdict() for cell in cells]} for name, cells in rows],
            }
            for title, rows in ((title, list(part.items())) for title, part in (groups | numbers).items())
            if any(any(cell) for _, cells in rows for cell in cells)
        ],
    }


def _solver(sampler: Sampler) -> Cell:
    order = sampler.solver.convergence_order
    kind = "strong order" if sampler.solver.is_stochastic else "order"
    words = "to a tolerance" if sampler.solver.adaptive else "" if order is None else f"{kind} {order:g}"
    return Cell(_name(sampler.solver), words=words)


def _levels(sampler: Sampler) -> Cell:
    levels = sampler.discretization
    words = "" if levels.formula else (levels.__doc__ or "").strip().splitlines()[0]
    return Cell(_name(levels), levels.formula, words)


def _formula(choice: Any) -> Cell:
    return Cell(_name(choice), choice.formula)


def _stochasticity(sampler: Sampler) -> Cell:
    if sampler.solver.is_stochastic and not sampler.stochasticity.is_stochastic:
        return Cell(words="the solver's own noise")
    return Cell(_name(sampler.stochasticity))


def _name(choice: Any) -> str:
    from harness.sampling.solvers import ALIASES

    fields = choice.model_dump()
    same = (alias for alias, long in ALIASES.items() if len(long) == len(fields) and long == fields)
    return next(same, str(fields["kind"]))


def _kind(item: Planned) -> str | None:
    """Which preconditioning a denoiser has; None where it is not a network of a card."""
    source = item.trial.denoiser
    card = denoiser_cards().get(source) if isinstance(source, str) else None
    return card.preconditioning if card else None


def _network(item: Planned, name: str) -> Cell:
    kind = _kind(item)
    if kind is None:
        exact = item.trial.weights.startswith("{") and not isinstance(item.trial.denoiser, GuidedSpec)
        return Cell(words="closed form" if exact and name == "c_skip" else "")
    return Cell(formula=getattr(PRECONDITIONINGS[kind].formulas, name))


def _noise_distribution(item: Planned) -> Cell:
    column = COLUMNS.find(_kind(item) or "")  # none for no network, or one of a kind that Table 1 has no column for
    return Cell() if column is None else Cell(words=column.distribution)


def _loss_weight(item: Planned) -> Cell:
    column = COLUMNS.find(_kind(item) or "")
    return Cell() if column is None else Cell(formula=column().weight().formula)


def _numbers(sampler: Sampler) -> str:
    """Every number among a sampler's fields, as text."""
    numbers: dict[str, Any] = {}
    for axis in ("solver", "discretization", "stochasticity"):
        fields = getattr(sampler, axis).model_dump(mode="json", exclude_none=True)
        numbers |= {name: value for name, value in fields.items() if name not in SKIPPED}
    levels = sampler.discretization
    if isinstance(levels, IDDPM) and levels.j_0 is None:
        table = iddpm_levels(levels.M, levels.C_1, levels.C_2)
        numbers["j_0"] = int((table > levels.sigma_max).sum())
    return _list(numbers)


def _kind_numbers(item: Planned) -> str:
    """The numbers of a preconditioning and its loss, if it has one here, as the code has them by default."""
    kind = _kind(item)
    if kind is None:
        return ""
    shared = ("img_resolution", "img_channels", "label_dim", "use_fp16", "model_type")
    arguments = inspect.signature(PRECONDITIONINGS[kind].__init__).parameters.values()
    own = {p.name: p.default for p in arguments if p.default is not p.empty and p.name not in shared}
    column = COLUMNS.read(kind) if kind in COLUMNS.kinds else None
    training = column.model_dump(mode="json", exclude={"kind", "exponent"}, exclude_none=True) if column else {}
    return _list(own | training)


def _list(numbers: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_text(value)}" for name, value in numbers.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
