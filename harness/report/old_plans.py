"""Plans as earlier versions stored them, in the terms of today's; what a store holds is not changed."""

from collections.abc import Mapping
from typing import Any

ONE_METRIC = ("metric", "extractor", "reference", "n")
"""Keys of plans of schema 1, which have one metric: a Frechet distance of features."""


def current_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A stored plan with the keys that a report reads; one of this version as it is."""
    if "metrics" in plan:
        return dict(plan)
    metric = {key: plan[key] for key in ONE_METRIC}
    metric |= {
        "title": plan["metric_title"],
        "better": "lower",
        "is_distance": True,
        "is_measure": False,
        "by_level": None,
    }
    metric |= {"series": None, "denoisers": None}
    items = [{**item, "base": item["series"], "x": None} for item in plan["items"]]
    series = [{**curve, "base": curve["name"]} for curve in plan["series"]]
    old = {key: value for key, value in plan.items() if key not in (*ONE_METRIC, "metric_title")}
    return {**old, "metrics": [metric], "items": items, "series": series, "x": {"path": "nfe", "title": "NFE"}}
