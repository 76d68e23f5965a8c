"""A plan as the report needs it: JSON that names panels, series and items, without code."""

import json
from itertools import groupby
from typing import Any

from harness.denoisers.analytic.specs import AnalyticSpec
from harness.denoisers.config import DenoiserConfig, Description
from harness.denoisers.load import Source, parse
from harness.execution.design_table import design
from harness.execution.measurements import Measurement
from harness.experiments.plan import Plan
from harness.experiments.training_table import FOLDER, TrainingTable
from harness.hub.cards import denoiser_cards
from harness.training.loop import LEVELS
from harness.training.recipe import load_recipe


def plan_record(plan: Plan, measurements: list[Measurement]) -> dict[str, Any]:
    """The plan's JSON for `Store.put_grid`."""
    grid = plan.grid
    panels = [
        {
            "name": name,
            "title": panel.title or name,
            "paper": panel.paper,
            "weights": plan.described[name].identity,
            "card": denoiser_facts(panel.source_of(name), plan.described[name]),
        }
        for name, panel in grid.denoisers.items()
    ]
    items = [
        {
            "panel": item.panel,
            "series": item.series,
            "fingerprint": item.trial.fingerprint,
            "steps": item.trial.sampler.steps,
            "nfe": item.nfe,
            "x": item.x,
            "base": item.base,
            "adaptive": item.trial.sampler.solver.adaptive,
            "mosaic": item.mosaic,
            "labels": item.trial.labels,
            "sampler": item.trial.sampler.model_dump(mode="json"),
            **({"notes": list(item.notes)} if item.notes else {}),
        }
        for item in plan.items
    ]
    return {
        "name": plan.name,
        "place": plan.place,
        "title": grid.title,
        "description": grid.description,
        "source": plan.source,
        "first_seed": grid.first_seed,
        "metrics": [
            metric_record(list(ranges))
            for _, ranges in groupby(measurements, key=lambda measurement: measurement.metric.name)
        ],
        "x": {"path": grid.x, "title": grid.x_title or grid.x.rsplit(".", 1)[-1]},
        "panels": panels,
        "series": plan.series,
        "items": items,
        "design": design(plan) if grid.design else None,
        **({"training": training_record(grid.training)} if grid.training else {}),
        "claims": [claim.model_dump(mode="json", exclude_none=True) for claim in grid.claims],
    }


def training_record(table: TrainingTable) -> dict[str, Any]:
    """What the report needs to know of trained networks: the table, and each training's loss by noise level."""
    networks = list(table.networks())
    results = [network for network in networks if network.images is None]
    return {
        "rows": [{"name": name, "about": about} for name, about in table.rows.items()],
        "columns": [{"name": name, "paper": paper} for name, paper in table.columns.items()],
        "networks": [
            {
                "panel": network.panel,
                "row": network.row,
                "column": network.column,
                "seed": network.seed,
                "images": load_recipe(network.recipe).images if network.images is None else network.images,
                "is_last": network.images is None,
            }
            for network in networks
        ],
        "levels": [
            {
                "row": network.row,
                "column": network.column,
                "seed": network.seed,
                **{name: curve for name, curve in json.loads(path.read_text()).items() if name != "weights"},
            }
            for network in results
            if (path := FOLDER / network.name / LEVELS).is_file()
        ],
    }


def metric_record(ranges: list[Measurement]) -> dict[str, Any]:
    """What the report needs to know of a metric, from its measurements, one a range of seeds."""
    measurement = ranges[0]
    metric = measurement.metric
    pictures = {key: measurement.pictures(key) for key in measurement.trials} if metric.pictures else {}
    return {
        "metric": metric.name,
        "about": first_paragraph(metric),
        "fields": metric.model_dump(
            mode="json", exclude={"kind", "samples", "series", "denoisers", "label", "ranges"}, exclude_none=True
        ),
        "method": metric.method,
        "is_measure": metric.is_diagnostic,
        "is_distance": metric.is_distance,
        "by_level": metric.by_level,
        **({} if metric.compares_by_factors or not metric.is_diagnostic else {"by_factors": False}),
        **metric.display(),
        "pictures": {key: names for key, names in pictures.items() if names},
        "extractor": measurement.extractor,
        "reference": measurement.reference,
        "n": measurement.samples,
        "first_seeds": [each.first for each in ranges],
        "series": metric.series,
        "denoisers": metric.denoisers,
    }


def first_paragraph(choice: Any) -> str:
    """The first paragraph of a choice's docstring, in one line."""
    text = (choice.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def denoiser_facts(source: Source, described: Description) -> dict[str, Any]:
    """What the report says of a denoiser: its card, or what a plan knows of it."""
    cards = denoiser_cards()
    if isinstance(source, str) and source in cards:
        return cards[source].model_dump(mode="json", exclude_none=True)
    return {
        **({"source": source} if isinstance(source, str) else _spec_facts(parse(source), described)),
        "shape": list(described.shape),
        "label_dim": described.label_dim,
        "sigma_min": described.sigma_min,
        "sigma_max": described.sigma_max if described.sigma_max < float("inf") else "inf",
    }


KNOWN_BY = ("sha256", "code", "weights", "identity")
"""What own networks are known by, in their identities: hashes of a file, of code and of its weights, or a word."""


def _spec_facts(spec: DenoiserConfig, described: Description) -> dict[str, Any]:
    """What a spec is, and of a user's own network what it is known by."""
    if isinstance(spec, AnalyticSpec):
        return {"source": "analytic", "kind": spec.kind}
    known = json.loads(described.identity) if spec.is_own else {}
    return {"source": spec.title, "kind": spec.kind} | {name: known[name] for name in KNOWN_BY if known.get(name)}
