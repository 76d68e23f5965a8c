"""What a metric says beside its number: customary forms of it, and how it was come by, from a row's details."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.report.data import GridData
from harness.report.tables.table import TableColumn
from harness.report.text.numbers import NONE, significant, span, whole

Details = Mapping[str, Any]


def detail_columns(data: GridData) -> list[TableColumn]:
    """The columns for which finished trials have details; cells are made from a trial's details."""
    seen: dict[str, Any] = {}
    for trial in data.trials:
        if trial.done:
            seen = dict(trial.details) | seen
    return [make(seen) for name, make in _KNOWN.items() if seen.get(name) is not None]


def _column(heading: str, about: str, cell: Callable[[Details], str]) -> TableColumn:
    return TableColumn(heading, cell, "n", about=about)


def _spread(mean: str, sd: str) -> Callable[[Details], str]:
    return lambda found: f"{significant(found[mean])} ± {significant(found[sd], 2)}" if mean in found else NONE


def _subsets(seen: Details) -> TableColumn:
    about = (
        f"“Subset mean” is the customary form: the mean over {whole(seen['subsets'])} random subsets of "
        f"{whole(seen['subset'])} images, ± their standard deviation; the value takes every pair."
    )
    return _column("subset mean", about, _spread("subset_mean", "subset_sd"))


def _parts(seen: Details) -> TableColumn:
    about = (
        f"“Split mean” is the customary form: the mean over {whole(seen['blocks'])} parts, ± their standard deviation; "
        "a part has fewer images, and so a lower score than all together."
    )
    return _column("split mean", about, _spread("block_mean", "block_sd"))


def _slope(_: Details) -> TableColumn:
    about = "The value is where the line FD∞ + slope/n through the distances of n images meets n = ∞;"
    return _column("slope", about, lambda found: significant(found.get("slope")))


def _r2(_: Details) -> TableColumn:
    about = "r² is the share of their variance that the line explains."
    return _column("r²", about, lambda found: significant(found.get("r2")))


def _copies(_: Details) -> TableColumn:
    about = "“Exact” counts images at distance 0 of a training image."
    return _column("exact", about, lambda found: whole(found.get("copies")))


def _distance(_: Details) -> TableColumn:
    def cell(found: Details) -> str:
        quantiles = found.get("distance") or {}
        return span(quantiles.get("0.05"), quantiles.get("0.95"))

    about = "“Nearest” is the distance to the nearest training image, 5 to 95 % of images."
    return _column("nearest", about, cell)


_KNOWN: dict[str, Callable[[Details], TableColumn]] = {
    "subset_mean": _subsets,
    "block_mean": _parts,
    "slope": _slope,
    "r2": _r2,
    "copies": _copies,
    "distance": _distance,
}
