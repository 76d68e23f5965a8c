"""The first paragraphs of a search's page: what was found, whether it holds on fresh seeds, and what it took."""

import re
from typing import NamedTuple

from harness.report.holdout import (
    WORDS,
    Final,
    Moved,
    Paired,
    against,
    best,
    chosen,
    is_reordered,
    known,
    moved,
)
from harness.report.study import DONE, FAILED, PRUNED, RUNNING, Search, Value, sign
from harness.report.text.numbers import evaluations, large, listing, plural, ratio, signed, significant, span, whole
from harness.report.text.spent import Spent, spent

PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


class Lead(NamedTuple):
    """A sentence in three parts, of which the middle one is set off."""

    lead: str
    number: str
    rest: str


class Cost(NamedTuple):
    """Network evaluations.

    Args:
        search: what the search spent.
        full: what its trials would have taken without pruning.
        fresh: of measuring the finals on fresh seeds.
    """

    search: int
    full: int
    fresh: Spent


class Words(NamedTuple):
    """The paragraphs.

    Args:
        finding: the best setting and its value.
        compared: that against the known settings, a sentence each.
        change: whether the ranking changed, and how far the search-time best went.
        extent: trials and evaluations.
        cautions: what to keep in mind.
    """

    finding: Lead | None
    compared: list[str]
    change: list[str]
    extent: list[str]
    cautions: list[str]


def words(search: Search, found: list[Final]) -> Words:
    """Put a search's results in words."""
    top = best(found)
    return Words(
        finding=_finding(search, found, top) if top else _unconfirmed(search),
        compared=_compared(search, found, top) if top else [],
        change=change(search, found),
        extent=[_trials(search), *_costs(search)],
        cautions=_cautions(search, found),
    )


def interval(value: Value | None) -> str:
    """`1.2 to 1.4`; "–" where there is none."""
    return span(value.low, value.high) if value else span(None, None)


def bracketed(value: Value) -> str:
    """The interval in brackets after a blank; nothing where there is none."""
    return f" ({interval(value)})" if value.low == value.low else ""


def best_word(search: Search) -> str:
    """`lowest` or `highest`."""
    return "lowest" if sign(search.metric) == 1 else "highest"


def _finding(search: Search, found: list[Final], top: Final) -> Lead:
    assert top.fresh is not None
    count = sum(each.fresh is not None for each in found)
    what = f"the {best_word(search)} {search.metric['title']}"
    many = f"Of {whole(count)} settings measured again on fresh seeds, " if count > 1 else "On fresh seeds, "
    lead = f"{many}{_name(top)} has {what}: " if count > 1 else f"{many}{_name(top)} has {search.metric['title']} "
    where = f" at NFE {evaluations(top.nfe)}" if top.nfe is not None else ""
    rest = f"{bracketed(top.fresh)}{where}{', with ' + top.settings if top.settings else ''}."
    return Lead(lead, significant(top.fresh.value), rest)


def _name(final: Final) -> str:
    """The label, in quotes unless it is a trial's number."""
    return final.label if re.fullmatch(r"No\. \d+", final.label) else f"“{final.label}”"


def _unconfirmed(search: Search) -> Lead | None:
    """What leads on the search seeds, while nothing is measured on fresh ones."""
    full = [(slot, slot.full) for slot in search.own if slot.full]
    if not full:
        return None
    slot, value = min(full, key=lambda pair: sign(search.objective) * pair[1].value)
    word = "lowest" if sign(search.objective) == 1 else "highest"
    lead = (
        f"On the seeds that the search chose by, No. {slot.number} has the {word} {search.objective['title']} so far: "
    )
    rest = (
        f"{bracketed(value)}. Chosen for that, it will be less good on fresh seeds, on which nothing is measured yet."
    )
    return Lead(lead, significant(value.value), rest)


def _compared(search: Search, found: list[Final], top: Final) -> list[str]:
    told = []
    for other in known(found):
        if other is top:
            continue
        is_baseline = "baseline" in other.roles
        name = f"the baseline {_name(other)}" if is_baseline else _name(other)
        if other.fresh is None:
            told.append(f"There is no fresh value of {name} to compare with.")
            continue
        paired = against(search, top, other)
        where = "" if other.nfe == top.nfe else f" at NFE {evaluations(other.nfe)}"
        told.append(f"Against {name} ({significant(other.fresh.value)}{where}) that is {difference(paired)}.")
    if top.is_known and not top.is_found:
        told.append("That setting was known before: the search found none that is better on fresh seeds.")
    return told


def difference(paired: Paired) -> str:
    """`a difference of −0.12 (−0.2 to −0.04): better`; the verdict in plain words."""
    if paired.difference is None:
        return "a difference that cannot be judged, the rows having no common blocks of seeds"
    gap = paired.difference
    return f"a difference of {signed(gap.estimate)} ({span(gap.low, gap.high, signed)}): {WORDS[paired.verdict]}"


def change(search: Search, found: list[Final]) -> list[str]:
    """Whether the order held on fresh seeds, and how far the best by search-time values fell back."""
    ranked = [each for each in found if each.ranks]
    first = chosen(found)
    if len(ranked) < 2 or first is None or first.ranks is None:
        return []
    if is_reordered(found):
        changed = sum(each.ranks[0] != each.ranks[1] for each in ranked if each.ranks)
        told = [
            f"The ranking changed on fresh seeds: {whole(changed)} of {whole(len(ranked))} settings have another "
            f"place, and {_name(first)}, which the search put {_place(first.ranks[0])} of them, is "
            f"{_place(first.ranks[1])}."
        ]
    else:
        told = [f"All {whole(len(ranked))} settings keep their rank on fresh seeds."]
    return told + _regressed(search, found, first)


def _place(rank: int) -> str:
    if rank <= len(PLACES):
        return PLACES[rank - 1]
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}"


def _regressed(search: Search, found: list[Final], first: Final) -> list[str]:
    gone = moved(search, first)
    if gone is None or first.search is None or first.fresh is None:
        return []
    share = abs(gone.by / first.search.value) if first.search.value else 0.0
    way = "worse" if gone.by * sign(search.metric) > 0 else "better"
    reach = f" ± {significant(gone.reach, 2)}" if gone.reach == gone.reach else ""
    told = [
        f"Its value went from {significant(first.search.value)} on the search seeds to "
        f"{significant(first.fresh.value)} on fresh ones: {signed(gone.by)}{reach}, "
        f"{significant(100 * share, 2)} % {way}{_beyond_chance(gone)}."
    ]
    others = [move.by for each in found if "top" in each.roles and (move := moved(search, each))]
    if len(others) > 1:
        mean = signed(sum(others) / len(others))
        told.append(f"The {whole(len(others))} best by search-time values moved by {mean} on average.")
    still = next((each for each in known(found) if each is not first and moved(search, each)), None)
    if still and (other := moved(search, still)):
        told.append(
            f"{_name(still)}, which was not chosen for its value, moved by {signed(other.by)} between the same seeds."
        )
    return told


def _beyond_chance(gone: Moved) -> str:
    if not gone.reach > 0:
        return ""
    more = abs(gone.by) > gone.reach
    return ", more than other seeds alone would do" if more else ", which other seeds alone could do"


def _trials(search: Search) -> str:
    wanted = search.budget.get("trials")
    started = len(search.slots)
    of = f" of {whole(wanted)}" if wanted and wanted != started else ""
    is_one = started == 1 and not of
    parts = [
        f"{whole(count)} {word}"
        for status, word in ((DONE, "done"), (PRUNED, "pruned"), (FAILED, "failed"), (RUNNING, "running"))
        if (count := sum(slot.status == status for slot in search.own)) or status == DONE
    ]
    repeats = len(search.slots) - len(search.own)
    if repeats:
        parts.append(f"{plural(repeats, 'repeat', 'repeats')} of earlier settings, which cost nothing")
    word = "trial was" if is_one else "trials were"
    return f"{whole(started)}{of} {word} started: {listing(parts)}."


def cost(search: Search) -> Cost:
    """What was spent, and what pruning saved."""
    used = sum(slot.evaluations for slot in search.slots)
    saved = sum(saving(search, slot.number) for slot in search.own)
    return Cost(used, used + round(saved), spent(search.rows.values()))


def saving(search: Search, number: int) -> float:
    """Network evaluations that a pruned slot did not take: those of the images from its last rung to full N."""
    slot = search.by_number[number]
    if slot.status != PRUNED or slot.twin is not None:
        return 0.0
    full = float(search.record.get("full") or 0)
    if search.spec.get("pareto") and slot.nfe:  # `full` is of one NFE
        full = float(slot.nfe * search.samples)
    return full * (1 - slot.reached / search.samples)


def _costs(search: Search) -> list[str]:
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


def _cautions(search: Search, found: list[Final]) -> list[str]:
    told = []
    if search.provisional:
        told.append(f"These numbers are provisional: {listing(search.provisional)}.")
    count = sum(each.fresh is not None for each in found)
    if count > 1:
        told.append(
            f"The best of {whole(count)} on fresh seeds is still chosen among {whole(count)}, so its own value is a "
            "little too good, and the intervals are not corrected for the choice."
        )
    broken = [each.label for each in found if each.row and each.row["status"] == "failed"]
    if broken:
        told.append(f"On fresh seeds {listing(broken)} failed.")
    if search.spec.get("pareto"):
        told.append("Settings have different NFE; more evaluations can buy a better value.")
    return told
