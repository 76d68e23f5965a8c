"""What may be compared: rows of one metric, extractor, reference, range of seeds and label policy, and no others.

A sampler's fingerprint holds its label policy, so a row never changes sides; a curve could still run from one policy to
another where a panel's trials have several. Such a panel comes apart into one panel a policy, and no curve, no best and
no comparison joins what was drawn of different classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

SAME = ("metric", "extractor", "reference", "first_seed", "n")
"""Columns in which all rows of one range of seeds agree."""

WORDS = {"first_seed": "first seed", "n": "N", "labels": "label policy"}


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row was made with."""
    return tuple(row[name] for name in SAME)


def difference(row: Mapping[str, Any], metric: Mapping[str, Any], item: Mapping[str, Any]) -> str:
    """Why a row does not belong to an item of the plan under a metric, in words; "" if it does.

    Args:
        row: of the store.
        metric: with `SAME`.
        item: the plan's, with the row's fingerprint.
    """
    pairs = [(name, row[name], metric[name]) for name in SAME]
    given = (row.get("trial") or {}).get("labels")
    if given is not None and item.get("labels") is not None:
        pairs.append(("labels", given, item["labels"]))
    return " and ".join(
        f"{WORDS.get(name, name)} {own} instead of {asked}" for name, own, asked in pairs if own != asked
    )


def apart_by_labels(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan with a panel for each label policy, where a panel's trials have more than one.

    Items get `denoiser`, the panel that the plan itself names.
    """
    policies: dict[str, list[Any]] = {}
    for item in plan["items"]:
        own = policies.setdefault(item["panel"], [])
        if item.get("labels") not in own:
            own.append(item.get("labels"))
    panels = [part for panel in plan["panels"] for part in _parts(panel, policies.get(panel["name"], []))]
    items = [
        item | {"denoiser": item["panel"], "panel": _name(item["panel"], item.get("labels"), policies[item["panel"]])}
        for item in plan["items"]
    ]
    return plan | {"panels": panels, "items": items}


def _parts(panel: dict[str, Any], policies: Sequence[Any]) -> list[dict[str, Any]]:
    if len(policies) < 2:
        return [panel]
    title = panel.get("title") or panel["name"]
    names = [(_name(panel["name"], labels, policies), _name(title, labels, policies)) for labels in policies]
    return [panel | {"name": name, "title": own} for name, own in names]


def _name(name: str, labels: Any, policies: Sequence[Any]) -> str:
    return name if len(policies) < 2 else f"{name}, labels {labels}"
