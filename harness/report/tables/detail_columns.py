"""What a metric says beside its number: customary forms of it, and how it was come by, from a row's details."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from harness.report.data import GridData, records
from harness.report.text.numbers import significant, span, whole

Details = Mapping[str, Any]


class Beside(NamedTuple):
    """A column: its heading, its cell from a row's details, and a sentence about it."""

    head: str
    cell: Callable[[Details], str]
    about: str


def columns(data: GridData) -> list[Beside]:
    """The columns for which finished trials have details."""
    seen: dict[str, Any] = {}
    for line in records(data.trials[data.trials["status"] == "done"]):
        seen = dict(line["details"]) | seen
    return [make(seen) for name, make in _KNOWN.items() if seen.get(name) is not None]


def _spread(mean: str, sd: str) -> Callable[[Details], str]:
    return lambda found: f"{significant(found[mean])} ± {significant(found[sd], 2)}" if mean in found else "–"


def _subsets(seen: Details) -> Beside:
    about = (
        f"“Subset mean” is the customary form: the mean over {whole(seen['subsets'])} random subsets of "
        f"{whole(seen['subset'])} images, ± their standard deviation; the value takes every pair."
    )
    return Beside("subset mean", _spread("subset_mean", "subset_sd"), about)


def _blocks(seen: Details) -> Beside:
    about = (
        f"“Split mean” is the customary form: the mean over {whole(seen['blocks'])} parts, ± their standard deviation; "
        "a part has fewer images, and so a lower score than all together."
    )
    return Beside("split mean", _spread("block_mean", "block_sd"), about)


def _slope(_: Details) -> Beside:
    about = "The value is where the line FD∞ + slope/n through the distances of n images meets n = ∞;"
    return Beside("slope", lambda found: significant(found.get("slope")), about)


def _r2(_: Details) -> Beside:
    about = "r² is the share of their variance that the line explains."
    return Beside("r²", lambda found: significant(found.get("r2")), about)


def _copies(_: Details) -> Beside:
    about = "“Exact” counts images at distance 0 of a training image."
    return Beside("exact", lambda found: whole(found.get("copies")), about)


def _distance(_: Details) -> Beside:
    def cell(found: Details) -> str:
        quantiles = found.get("distance") or {}
        return span(quantiles.get("0.05"), quantiles.get("0.95"))

    return Beside("nearest", cell, "“Nearest” is the distance to the nearest training image, 5 to 95 % of images.")


_KNOWN: dict[str, Callable[[Details], Beside]] = {
    "subset_mean": _subsets,
    "block_mean": _blocks,
    "slope": _slope,
    "r2": _r2,
    "copies": _copies,
    "distance": _distance,
}
