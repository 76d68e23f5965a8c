"""The first paragraphs of a search's page: what was found, whether it holds on fresh seeds, and what it took."""

import re
from typing import NamedTuple

from harness.report.holdout import (
    JUDGEMENTS,
    HoldoutResult,
    against,
    best,
    known,
    search_best,
    seed_shift,
)
from harness.report.study import DONE, FAILED, PRUNED, RUNNING, SearchData, SearchTrial, sign
from harness.report.text.numbers import (
    bracketed,
    distance_span,
    evaluations,
    large,
    listing,
    plural,
    ratio,
    signed,
    significant,
    span,
    whole,
)
from harness.report.text.provenance import Spent, spent
from harness.report.text.summary import Finding

PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class SearchCost(NamedTuple):
    """Network evaluations.

    Args:
        search: what the search spent.
        full: what its trials would have taken without pruning.
        fresh: of measuring the finals on fresh seeds.
    """

    search: int
    full: int
    fresh: Spent


class SearchSummary(NamedTuple):
    """The paragraphs.

    Args:
        finding: the best setting and its value.
        compared: that against the known settings, a sentence each.
        change: whether the ranking changed, and how far the search-time best went.
        extent: trials and evaluations.
        provisional: why the numbers may still change; "" for a search that is over.
        cautions: what to keep in mind.
    """

    finding: Finding | None
    compared: list[str]
    change: list[str]
    extent: list[str]
    provisional: str
    cautions: list[str]


def summarize_search(search: SearchData, results: list[HoldoutResult]) -> SearchSummary:
    """Put a search's results in words."""
    top = best(results)
    return SearchSummary(
        finding=_finding(search, results, top) if top else _unconfirmed(search),
        compared=_compared(search, results, top) if top else [],
        change=_change(search, results),
        extent=[_trials(search), *_costs(search)],
        provisional=f"These numbers are provisional: {listing(why)}." if (why := search.provisional) else "",
        cautions=_cautions(search, results),
    )


def _finding(search: SearchData, results: list[HoldoutResult], top: HoldoutResult) -> Finding:
    assert top.fresh is not None
    count, title = sum(each.fresh is not None for each in results), search.metric["title"]
    lead = f"On fresh seeds, {_name(top)} has {title} "
    if count > 1:
        best_word = "lowest" if sign(search.metric) == 1 else "highest"
        lead = f"Of {whole(count)} settings measured again on fresh seeds, {_name(top)} has the {best_word} {title}: "
    where = f" at NFE {evaluations(top.nfe)}" if top.nfe is not None else ""
    value, inner = significant(top.fresh.value), bracketed(top.fresh.low, top.fresh.high)
    if top.settled and top.settled != top.fresh:
        value = significant(max(top.settled.value, 0.0))
        inner = (
            f" at infinite N ({distance_span(top.settled.low, top.settled.high)}), "
            f"{significant(top.fresh.value)} at N = {whole(search.fresh_samples)},"
        )
    rest = f"{inner}{where}{', with ' + top.settings if top.settings else ''}."
    return Finding(lead, value, rest)


def _name(result: HoldoutResult) -> str:
    """The label, in quotes unless it is a trial's number."""
    return result.label if re.fullmatch(r"No\. \d+", result.label) else f"“{result.label}”"


def _unconfirmed(search: SearchData) -> Finding | None:
    """What leads on the search seeds, while nothing is measured on fresh ones."""
    trial = search.best
    if trial is None or trial.full is None:
        return None
    word, value = "lowest" if search.sign == 1 else "highest", trial.full
    lead = (
        f"On the seeds that the search chose by, No. {trial.number} has the {word} {search.objective['title']} so far: "
    )
    interval = bracketed(value.low, value.high)
    rest = f"{interval}. Chosen for that, it will be less good on fresh seeds, on which nothing is measured yet."
    return Finding(lead, significant(value.value), rest)


def _compared(search: SearchData, results: list[HoldoutResult], top: HoldoutResult) -> list[str]:
    told = []
    for other in known(results):
        if other is top:
            continue
        is_baseline = "baseline" in other.roles
        name = f"the baseline {_name(other)}" if is_baseline else _name(other)
        if other.fresh is None:
            told.append(f"There is no fresh value of {name} to compare with.")
            continue
        gap, verdict = against(search, top, other)
        where = "" if other.nfe == top.nfe else f" at NFE {evaluations(other.nfe)}"
        words = "a difference that cannot be judged, the rows having no common blocks of seeds"
        if gap:
            words = f"a difference of {signed(gap.estimate)} ({span(gap.low, gap.high, signed)}): {JUDGEMENTS[verdict]}"
        told.append(f"Against {name} ({significant(other.fresh.value)}{where}) that is {words}.")
    if top.is_known and not top.is_chosen:
        told.append("That setting was known before: the search found none that is better on fresh seeds.")
    return told


def _change(search: SearchData, results: list[HoldoutResult]) -> list[str]:
    """Whether the order held on fresh seeds, and how far the best by search-time values fell back."""
    ranked = [each for each in results if each.ranks]
    first = search_best(results)
    if len(ranked) < 2 or first is None or first.ranks is None:
        return []
    if any(each.is_reordered for each in results):
        changed = sum(each.is_reordered for each in ranked)
        told = [
            f"The ranking changed on fresh seeds: {whole(changed)} of {whole(len(ranked))} settings have another "
            f"place, and {_name(first)}, which the search put {_place(first.ranks[0])} of them, is "
            f"{_place(first.ranks[1])}."
        ]
    else:
        told = [f"All {whole(len(ranked))} settings keep their rank on fresh seeds."]
    return told + _regressed(search, results, first)


def _place(rank: int) -> str:
    if rank <= len(PLACES):
        return PLACES[rank - 1]
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def _regressed(search: SearchData, results: list[HoldoutResult], first: HoldoutResult) -> list[str]:
    shift = seed_shift(search, first)
    if shift is None or first.search is None or first.fresh is None:
        return []
    share = abs(shift.by / first.search.value) if first.search.value else 0.0
    way = "worse" if shift.by * sign(search.metric) > 0 else "better"
    reach = f" ± {significant(shift.reach, 2)}" if shift.reach == shift.reach else ""
    chance = ", which other seeds alone could do"
    if not shift.reach > 0:
        chance = ""
    elif abs(shift.by) > shift.reach:
        chance = ", more than other seeds alone would do"
    told = [
        f"Its value went from {significant(first.search.value)} on the search seeds to "
        f"{significant(first.fresh.value)} on fresh ones: {signed(shift.by)}{reach}, "
        f"{significant(100 * share, 2)} % {way}{chance}."
    ]
    others = [own.by for each in results if "top" in each.roles and (own := seed_shift(search, each))]
    if len(others) > 1:
        mean = signed(sum(others) / len(others))
        told.append(f"The {whole(len(others))} best by search-time values moved by {mean} on average.")
    still = next((each for each in known(results) if each is not first and seed_shift(search, each)), None)
    if still and (other := seed_shift(search, still)):
        told.append(
            f"{_name(still)}, which was not chosen for its value, moved by {signed(other.by)} between the same seeds."
        )
    return told


def _trials(search: SearchData) -> str:
    wanted = search.budget.get("trials")
    started = len(search.trials)
    of = f" of {whole(wanted)}" if wanted and wanted != started else ""
    is_one = started == 1 and not of
    parts = [
        f"{whole(count)} {word}"
        for status, word in ((DONE, "done"), (PRUNED, "pruned"), (FAILED, "failed"), (RUNNING, "running"))
        if (count := sum(trial.status == status for trial in search.own)) or status == DONE
    ]
    repeats = len(search.trials) - len(search.own)
    if repeats:
        parts.append(f"{plural(repeats, 'repeat', 'repeats')} of earlier settings, which cost nothing")
    word = "trial was" if is_one else "trials were"
    return f"{whole(started)}{of} {word} started: {listing(parts)}."


def cost(search: SearchData) -> SearchCost:
    """What was spent, and what pruning saved."""
    used = sum(trial.evaluations for trial in search.trials)
    saved = sum(saving(search, trial) for trial in search.own)
    return SearchCost(used, used + round(saved), spent(search.rows.values()))


def saving(search: SearchData, trial: SearchTrial) -> float:
    """Network evaluations that a pruned trial did not take: those of the images from its last rung to full N."""
    if trial.status != PRUNED or trial.duplicate_of is not None:
        return 0.0
    full = float(search.record.get("full") or 0)
    if search.spec.get("pareto") and trial.nfe:  # `full` is of one NFE
        full = float(trial.nfe * search.samples)
    return full * (1 - trial.images / search.samples)


def _costs(search: SearchData) -> list[str]:
    took = cost(search)
    told = []
    if took.search:
        told.append(f"The search took {large(took.search)} network evaluations.")
        if took.full > took.search:
            times = f", {ratio(took.full / took.search)} times as many"
            told[0] = told[0].removesuffix(".") + (
                f"; the same trials, each at full N ({whole(search.samples)} images), would have taken "
                f"{large(took.full)}{times}."
            )
    if took.fresh.evaluations:
        told.append(f"Measuring on fresh seeds took {large(took.fresh.evaluations)} more, apart from these.")
    return told


def _cautions(search: SearchData, results: list[HoldoutResult]) -> list[str]:
    told = []
    count = sum(each.fresh is not None for each in results)
    if count > 1:
        told.append(
            f"The best of {whole(count)} on fresh seeds is still chosen among {whole(count)}, so its own value is a "
            "little too good, and the intervals are not corrected for the choice."
        )
    broken = [each.label for each in results if each.row and each.row["status"] == "failed"]
    if broken:
        told.append(f"On fresh seeds {listing(broken)} failed.")
    if search.spec.get("pareto"):
        told.append("Settings have different NFE; more evaluations can buy a better value.")
    return told
