"""From the table of trials to what is drawn and judged: panels of curves, one a series."""

import math
from typing import Any, NamedTuple

import pandas as pd

from harness.core.published import PaperPanel, Published, load_paper
from harness.report.data import GridData, records
from harness.report.three_percent import Lowest, Point, SpeedUp, lowest_nfe, speed_up


class Curve(NamedTuple):
    """One series of one panel.

    Args:
        name: of the series.
        role: `baseline`, `ours` or None.
        trials: its lines of the table, by their place on the horizontal axis.
        lowest: the lowest NFE within 3 % of the best; None while no trial is done, or where that rule does not apply.
        published: the paper's point for this series, if it has one.
        paper: the paper's name of the series; "" if it has none.
    """

    name: str
    role: str | None
    trials: pd.DataFrame
    lowest: Lowest | None
    published: Published | None
    paper: str = ""

    @property
    def done(self) -> pd.DataFrame:
        """The finished trials."""
        return self.trials[self.trials["status"] == "done"]

    @property
    def is_level(self) -> bool:
        """Whether it has no place on the horizontal axis, and so is the same all along it."""
        return bool(self.trials["x"].isna().all())

    @property
    def best_interval(self) -> tuple[float, float]:
        """The interval of the best value; NaN without one."""
        name = self.lowest.best.fingerprint if self.lowest else ""
        line = next(iter(records(self.trials[self.trials["fingerprint"] == name])), {})
        return line.get("low", math.nan), line.get("high", math.nan)


class Panel(NamedTuple):
    """One denoiser.

    Args:
        name: of the denoiser.
        title: for people.
        card: free-form facts about it.
        weights: what identifies it.
        curves: in the order of the plan; series without trials here are left out.
        baseline: the curve that others are compared with, if the panel has one.
        ours: the last curve with role `ours`, or else the last one that is not the baseline; None without a baseline.
        paper: what the paper published for its counterpart.
    """

    name: str
    title: str
    card: dict[str, Any]
    weights: str
    curves: list[Curve]
    baseline: Curve | None
    ours: Curve | None
    paper: PaperPanel | None

    def speed_up(self, curve: Curve) -> SpeedUp | None:
        """How many times fewer evaluations a curve needs than the baseline; None for the baseline itself."""
        if self.baseline is None or self.baseline.lowest is None or curve is self.baseline or curve.lowest is None:
            return None
        return speed_up(self.baseline.lowest, curve.lowest)


def panels(data: GridData) -> list[Panel]:
    """The panels of a grid, in the order of the plan."""
    return [_panel(entry, data) for entry in data.plan["panels"]]


def _panel(entry: dict[str, Any], data: GridData) -> Panel:
    known = load_paper().panels
    paper = known.get(entry.get("paper") or "")
    here = data.trials[data.trials["panel"] == entry["name"]]
    end = data.metric["first_seed"] + data.metric["n"]
    curves = []
    for series in data.plan["series"]:
        trials = here[here["series"] == series["name"]].drop_duplicates("fingerprint")
        if len(trials):
            trials = trials.sort_values(["x", "nfe", "steps", "fingerprint"], kind="stable")
            ruled = data.is_distance and data.against_nfe
            published = paper.points.get(series.get("paper") or "") if paper and ruled else None
            lowest = lowest_nfe(points(trials, end)) if ruled else None
            named = series.get("paper") or ""
            curves.append(Curve(series["name"], series.get("role"), trials, lowest, published, named))
    baseline = next((curve for curve in curves if curve.role == "baseline"), None)
    ours = _ours(curves, baseline)
    title, card = entry.get("title") or entry["name"], entry.get("card") or {}
    return Panel(entry["name"], title, card, str(entry.get("weights", "")), curves, baseline, ours, paper)


def _ours(curves: list[Curve], baseline: Curve | None) -> Curve | None:
    if baseline is None:
        return None
    others = [curve for curve in curves if curve is not baseline]
    named = [curve for curve in others if curve.role == "ours"] or others
    return named[-1] if named else None


def points(trials: pd.DataFrame, end: int) -> list[Point]:
    """The finished trials, as comparisons want them; `end` is the seed after the last."""
    return [
        Point(line["fingerprint"], line["nfe"], line["value"], tuple(line["replicates"]), tuple(line["blocks"]), end)
        for line in records(trials)
        if line["status"] == "done" and math.isfinite(line["nfe"])
    ]
