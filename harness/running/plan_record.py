"""A plan as the report needs it: JSON that names panels, series and items, without code."""

from typing import Any

from harness.denoisers.cards import denoiser_cards
from harness.denoisers.load import Description, Source
from harness.metrics import extractors
from harness.planning.grid import Plan
from harness.running.reference import Baseline


def plan_record(plan: Plan, base: Baseline) -> dict[str, Any]:
    """The plan's JSON for `Store.put_grid`."""
    grid = plan.grid
    panels = [
        {
            "name": name,
            "title": panel.title or name,
            "paper": panel.paper,
            "weights": plan.described[name].identity,
            "card": _facts(panel.source if panel.source is not None else name, plan.described[name]),
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
        "metric": grid.metric,
        "metric_title": extractors.metric(grid.metric).title,
        "extractor": base.extractor,
        "reference": base.reference,
        "first_seed": grid.first_seed,
        "n": grid.samples,
        "panels": panels,
        "series": plan.series,
        "items": items,
    }


def _facts(source: Source, found: Description) -> dict[str, Any]:
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
