"""A plan as the report needs it: JSON that names panels, series and items, without code."""

from itertools import groupby
from typing import Any

from harness.denoisers.config import Description
from harness.denoisers.load import Source
from harness.execution.design_table import design
from harness.execution.measurements import Measurement
from harness.experiments.plan import Plan
from harness.hub.cards import denoiser_cards
from harness.metrics.choices import FID, Coverage, FeatureMetric, FrechetDigits, Memorisation, Precision, Recall
from harness.metrics.diagnostics import Measure

DISTANCES = (FrechetDigits, FID)
"""Frechet distances between finite sets, to which the paper's 3 % rule and a floor apply."""

SHARES = (Precision, Recall, Coverage, Memorisation)
"""Metrics between 0 and 1."""


def plan_record(plan: Plan, measurements: list[Measurement]) -> dict[str, Any]:
    """The plan's JSON for `Store.put_grid`."""
    grid = plan.grid
    panels = [
        {
            "name": name,
            "title": panel.title or name,
            "paper": panel.paper,
            "weights": plan.described[name].identity,
            "card": denoiser_facts(panel.source if panel.source is not None else name, plan.described[name]),
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
        }
        for item in plan.items
    ]
    return {
        "name": plan.name,
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
    }


def metric_record(ranges: list[Measurement]) -> dict[str, Any]:
    """What the report needs to know of a metric, from its measurements, one a range of seeds."""
    measurement = ranges[0]
    measure = measurement.metric if isinstance(measurement.metric, Measure) else None
    return {
        "metric": measurement.metric.name,
        "title": measurement.metric.title,
        "about": first_paragraph(measurement.metric),
        "fields": measurement.metric.model_dump(
            mode="json", exclude={"kind", "samples", "series", "denoisers", "label", "ranges"}, exclude_none=True
        ),
        "method": measurement.metric.method if isinstance(measurement.metric, FeatureMetric) else "",
        "is_measure": measure is not None,
        "is_distance": isinstance(measurement.metric, DISTANCES),
        "is_share": isinstance(measurement.metric, SHARES),
        "by_level": measurement.metric.by_level,
        "better": measurement.metric.better,
        "pictures": {key: measurement.pictures(key) for key in measurement.trials if measurement.pictures(key)}
        if measure
        else {},
        "extractor": measurement.extractor,
        "reference": measurement.reference,
        "n": measurement.samples,
        "first_seeds": [each.first for each in ranges],
        "series": measurement.metric.series,
        "denoisers": measurement.metric.denoisers,
    }


def first_paragraph(choice: Any) -> str:
    """The first paragraph of a choice's docstring, in one line."""
    text = (choice.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def denoiser_facts(source: Source, found: Description) -> dict[str, Any]:
    """What the report says of a denoiser: its card, or what a plan knows of it."""
    cards = denoiser_cards()
    if isinstance(source, str) and source in cards:
        return cards[source].model_dump(mode="json", exclude_none=True)
    return {
        "source": source if isinstance(source, str) else "analytic",
        "shape": list(found.shape),
        "label_dim": found.label_dim,
        "sigma_min": found.sigma_min,
        "sigma_max": found.sigma_max if found.sigma_max < float("inf") else "inf",
    }
