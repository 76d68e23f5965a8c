"""What a metric says beside its number: the columns that it declares, filled from the details of a result."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.metrics import METRICS
from harness.report.data import GridData
from harness.report.tables.table import TableColumn
from harness.report.text.numbers import NONE, significant, span, whole

Details = Mapping[str, Any]


def detail_columns(data: GridData) -> list[TableColumn]:
    """The metric's columns for which finished trials have details; cells are made from a trial's details."""
    seen: dict[str, Any] = {}
    for trial in data.trials:
        if trial.done:
            seen = dict(trial.details) | seen
    declared = data.metric.get("columns")
    if declared is None:  # a plan stored by a version whose records do not name columns
        declared = [column._asdict() for member in METRICS.members for column in member.columns]
    return [
        TableColumn(column["heading"], _cell(column["form"], column["details"]), "n", about=_about(column, seen))
        for column in declared
        if _value(seen, column["details"][0]) is not None
    ]


def _cell(form: str, keys: Sequence[str]) -> Callable[[Details], str]:
    """How a cell is written, by the form that `harness.metrics.base.Column` names."""

    def text(details: Details) -> str:
        first, last = (_value(details, key) for key in (keys[0], keys[-1]))
        if form == "count":
            return whole(first)
        if form == "range":
            return span(first, last)
        if form == "spread":
            return NONE if first is None else f"{significant(first)} ± {significant(last, 2)}"
        return significant(first)

    return text


def _about(column: Mapping[str, Any], details: Details) -> str:
    """The sentence about a column, with the details that it names."""
    about = str(column["about"])
    for key, value in details.items():
        if isinstance(value, int | float):
            about = about.replace(f"{{{key}}}", whole(value))
    return about


def _value(details: Details, key: str) -> Any:
    """One detail; the part after a first dot is a key of the mapping before it."""
    name, _, inside = key.partition(".")
    value = details.get(name)
    return value.get(inside) if inside and isinstance(value, Mapping) else value
