"""The tables of a search: settings on fresh seeds, the front, what was pruned and why, and every trial."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from harness.report.holdout import JUDGEMENTS, HoldoutResult, against, known, seed_shift
from harness.report.study import FAILED, PRUNED, SUGGESTED, SearchData, SearchTrial, ValueInterval, sign
from harness.report.tables.table import NUMBER, RowGroup, Table, TableCell, TableColumn, code
from harness.report.text.choices import setting_line
from harness.report.text.numbers import NONE, distance_span, evaluations, large, signed, significant, span, whole
from harness.report.text.search_summary import saving

ROLES = {"top": "best of the search", "spread": "along the ranking", "baseline": "baseline", "paper": "the paper’s"}


def holdout_table(search: SearchData, results: list[HoldoutResult], heading: str) -> Table:
    """The settings measured again, the best on fresh seeds first, each against the known ones."""
    objective, metric = str(search.objective["title"]), str(search.metric["title"])
    done = whole(sum(trial.full is not None for trial in search.own))
    over = metric if search.compares else "Value"
    one, other = ("", "") if search.compares else (f"{objective}, ", f"{metric}, ")
    columns = [
        TableColumn(
            "Setting",
            lambda each: TableCell(each.label, [", ".join(ROLES.get(role, role) for role in each.roles)]),
            heads_rows=True,
        ),
        TableColumn("Parameters", lambda each: each.settings, "parameters"),
        TableColumn("NFE", lambda each: evaluations(each.nfe), NUMBER),
        TableColumn(f"{one}search seeds", lambda each: _search_value(each, done), NUMBER, over),
        TableColumn(f"{other}fresh seeds", _fresh_value, NUMBER, over),
    ]
    is_distance = bool(search.metric.get("is_distance"))
    if is_distance:
        columns.append(TableColumn(f"{other}fresh seeds, at infinite N", _settled_value, NUMBER, over))
    if search.compares:
        columns.append(TableColumn("moved", lambda each: _moved(search, each), NUMBER, over))
    columns.append(TableColumn("rank, search → fresh", _ranks, NUMBER))
    columns += [_against_column(search, each) for each in known(results)]
    way = "negative" if sign(search.metric) == 1 else "positive"
    caption = (
        "Small print under a number is its 95 % interval. Ranks are among the settings that have both values. "
        f"Differences are paired, block by block of the same seeds, by the jackknife; a {way} one is better than the "
        "setting in the column’s head. A place is that among all trials that the search measured at full N."
    )
    if is_distance:
        caption += (
            " Ranks on fresh seeds and differences are of estimates at infinite N, free of the bias of 1/N, which is "
            "another for each sampler."
        )
    table = Table(columns, [RowGroup("", results)], "costs finals", labelled_by=heading, caption=caption)
    return table._replace(row_css=lambda each: "changed" if each.is_reordered else "")


def _search_value(each: HoldoutResult, done: str) -> TableCell:
    place = f"place {each.place} of {done}" if each.place else ""
    return _interval_cell(each.search)._replace(small=[_interval(each.search) if each.search else "", place])


def _fresh_value(each: HoldoutResult) -> TableCell:
    if each.fresh is None:
        return TableCell("failed" if each.row and each.row["status"] == "failed" else "missing", css="key")
    return _interval_cell(each.fresh)._replace(css="key")


def _settled_value(each: HoldoutResult) -> TableCell:
    if each.settled is None or each.settled == each.fresh:
        return TableCell(NONE)
    return TableCell(significant(max(each.settled.value, 0.0)), [distance_span(each.settled.low, each.settled.high)])


def _moved(search: SearchData, each: HoldoutResult) -> str:
    shift = seed_shift(search, each)
    return signed(shift.by) if shift else NONE


def _ranks(each: HoldoutResult) -> TableCell:
    return TableCell(f"{each.ranks[0]} → {each.ranks[1]}" if each.ranks else NONE, css="ranks")


def _against_column(search: SearchData, other: HoldoutResult) -> TableColumn:
    def cell(each: HoldoutResult) -> TableCell:
        gap, verdict = against(search, each, other)
        if each is other or gap is None:
            return TableCell(NONE)
        words = "not told apart" if verdict == "undecided" else JUDGEMENTS[verdict]
        judged = Markup('<span class="{}">{}</span>').format(words.replace(" ", "-"), words)
        return TableCell(signed(gap.estimate), [span(gap.low, gap.high, signed), judged])

    return TableColumn(other.label, cell, NUMBER, "Paired difference on the fresh seeds, against")


def _interval(value: ValueInterval | None) -> str:
    return span(value.low, value.high) if value else NONE


def _interval_cell(value: ValueInterval | None) -> TableCell:
    return TableCell(significant(value.value if value else None), [_interval(value)])


def front_table(search: SearchData, front: list[SearchTrial], results: list[HoldoutResult], heading: str) -> Table:
    """The front of value and cost, from the fewest evaluations up."""
    fresh: Mapping[str, ValueInterval | None] = {each.fingerprint: each.fresh for each in results}
    columns = [
        TableColumn("NFE", lambda trial: TableCell(evaluations(trial.nfe), css="key"), NUMBER),
        TableColumn("Trial", lambda trial: TableCell(f"No. {trial.number}", [_origin(trial)]), heads_rows=True),
        TableColumn("Parameters", lambda trial: _setting(search, trial), "parameters"),
        TableColumn(f"{search.objective['title']}, search seeds", lambda trial: _interval_cell(trial.full), NUMBER),
        TableColumn(
            f"{search.metric['title']}, fresh seeds", lambda trial: _fresh_of(fresh.get(trial.fingerprint)), NUMBER
        ),
    ]
    return Table(columns, [RowGroup("", front)], labelled_by=heading, tall=12)


def _origin(trial: SearchTrial) -> str:
    return "" if trial.origin == SUGGESTED else trial.origin


def _setting(search: SearchData, trial: SearchTrial) -> str:
    return setting_line(trial.settings, trial.trial, search.paths)


def _fresh_of(value: ValueInterval | None) -> TableCell:
    return _interval_cell(value) if value else TableCell(NONE)


class EndedTrials(NamedTuple):
    """Trials that ended at one rung for one reason."""

    status: str
    images: int
    reason: str
    trials: list[SearchTrial]


def pruned_table(search: SearchData, heading: str) -> Table:
    """What ended early, by rung and reason; numbers within a reason stand as … where they differ."""
    groups: dict[tuple[str, int, str], list[SearchTrial]] = {}
    for trial in search.own:
        if trial.status in (PRUNED, FAILED):
            pattern = re.sub(r"[−+-]?\d[\d.,]*(?:e[+-]?\d+)?", "…", trial.reason)
            groups.setdefault((trial.status, trial.images, pattern), []).append(trial)
    ended = [
        EndedTrials(status, images, own[0].reason if len({trial.reason for trial in own}) == 1 else pattern, own)
        for (status, images, pattern), own in groups.items()
    ]
    ended.sort(key=lambda each: (each.status != PRUNED, each.images, -len(each.trials), each.reason))
    columns = [
        TableColumn("Ended", lambda each: each.status, heads_rows=True),
        TableColumn("after images", lambda each: whole(each.images) if each.images else NONE, NUMBER),
        TableColumn("Reason", lambda each: each.reason or NONE, "reason"),
        TableColumn("trials", lambda each: TableCell(whole(len(each.trials)), css="key"), NUMBER),
        TableColumn("evaluations spent", lambda each: large(sum(trial.evaluations for trial in each.trials)), NUMBER),
        TableColumn("evaluations saved", lambda each: _saved(search, each), NUMBER),
    ]
    caption = (
        "Saved is what the images from there to full N would have taken. Where reasons differ in their numbers only, … "
        "stands for these."
    )
    return Table(columns, [RowGroup("", ended)], "costs pruned", labelled_by=heading, caption=caption)


def _saved(search: SearchData, each: EndedTrials) -> str:
    return large(round(sum(saving(search, trial) for trial in each.trials))) if each.status == PRUNED else NONE


def search_trial_table(search: SearchData) -> Table:
    """Every trial, in order; it sorts and filters."""
    columns = [
        TableColumn("No.", lambda trial: TableCell(str(trial.number), number=trial.number), NUMBER),
        TableColumn("Origin", lambda trial: trial.origin, is_filter=True),
        TableColumn("Parameters", lambda trial: _setting(search, trial), "parameters"),
        TableColumn("NFE", lambda trial: TableCell(evaluations(trial.nfe), number=trial.nfe), NUMBER),
        TableColumn("Status", _status, is_filter=True),
        TableColumn(
            "Images", lambda trial: TableCell(whole(trial.images or None), number=trial.images or None), NUMBER
        ),
        TableColumn(str(search.objective["title"]), _last, NUMBER),
        TableColumn("From rival", _difference, NUMBER),
        TableColumn("Reason", _reason, "reason"),
        TableColumn("Evaluations", lambda trial: TableCell(whole(trial.evaluations), number=trial.evaluations), NUMBER),
        TableColumn("Trial", lambda trial: code(trial.fingerprint, 10)),
    ]
    caption = (
        "Values are of as many images as the column beside says, and compare at equal numbers only. “From rival” is "
        "the paired difference on those images, with the interval at the pruner’s own confidence."
    )
    table = Table(
        columns, [RowGroup("", search.trials)], "slots", "Every trial of the search", caption=caption, id="trials"
    )
    return table._replace(row_css=lambda trial: "failed" if _status(trial) == FAILED else "slot", tall=0)


def _status(trial: SearchTrial) -> str:
    return trial.status if trial.duplicate_of is None else f"repeat of {trial.duplicate_of}"


def _last(trial: SearchTrial) -> TableCell:
    if trial.last is None:
        return TableCell(NONE)
    return _interval_cell(trial.last)._replace(number=trial.last.value)


def _difference(trial: SearchTrial) -> TableCell:
    gap = trial.difference
    if gap is None:
        return TableCell(NONE)
    ends = span(gap.low, gap.high, signed) if gap.low == gap.low else ""
    rival = f"from {trial.incumbent}" if trial.incumbent is not None else ""
    return TableCell(signed(gap.value), [ends, rival], gap.value)


def _reason(trial: SearchTrial) -> str:
    if trial.status != FAILED or trial.step is None:
        return trial.reason
    return f"{trial.reason} (step {trial.step})" if trial.reason else f"step {trial.step}"
