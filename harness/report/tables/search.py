"""The page's tables, cell by cell as text: finals side by side, what was pruned and why, and every slot."""

import re
from typing import NamedTuple

from harness.report.holdout import WORDS, Final, against, known, moved
from harness.report.study import FAILED, PRUNED, Search, Slot
from harness.report.tables.trials import Cell
from harness.report.text.numbers import NONE, evaluations, large, signed, significant, span, whole
from harness.report.text.search_summary import interval, saving
from harness.report.text.settings import setting_line

ROLES = {"top": "best of the search", "spread": "along the ranking", "baseline": "baseline", "paper": "the paper’s"}


class AgainstCell(NamedTuple):
    """A paired difference: number, interval, verdict, each as text."""

    text: str
    interval: str
    verdict: str


class FinalRow(NamedTuple):
    """A final as text; `ranks` is `1 → 3`, `moved` the fresh value less the search-time one."""

    label: str
    roles: str
    settings: str
    nfe: str
    search: str
    search_interval: str
    place: str
    fresh: str
    fresh_interval: str
    ranks: str
    is_changed: bool
    moved: str
    against: list[AgainstCell]
    fingerprint: str


class PrunedRow(NamedTuple):
    """Trials that ended at one rung for one reason."""

    status: str
    rung: str
    reason: str
    trials: str
    used: str
    saved: str


class SlotRow(NamedTuple):
    """A slot; numbers come with their text, so that the page can sort by them."""

    number: Cell
    origin: str
    settings: str
    nfe: Cell
    status: str
    reached: Cell
    value: Cell
    interval: str
    difference: Cell
    difference_interval: str
    rival: str
    reason: str
    evaluations: Cell
    fingerprint: str


def final_rows(search: Search, found: list[Final]) -> list[FinalRow]:
    """The table of finals, the best on fresh seeds first."""
    others = known(found)
    return [_final(search, each, others) for each in found]


def _final(search: Search, each: Final, others: list[Final]) -> FinalRow:
    gone = moved(search, each)
    done = whole(sum(slot.full is not None for slot in search.own))
    state = "failed" if each.row and each.row["status"] == "failed" else "missing"
    return FinalRow(
        label=each.label,
        roles=", ".join(ROLES.get(role, role) for role in each.roles),
        settings=each.settings,
        nfe=evaluations(each.nfe),
        search=significant(each.search.value if each.search else None),
        search_interval=interval(each.search) if each.search else "",
        place=f"place {each.place} of {done}" if each.place else "",
        fresh=significant(each.fresh.value) if each.fresh else state,
        fresh_interval=interval(each.fresh) if each.fresh else "",
        ranks=f"{each.ranks[0]} → {each.ranks[1]}" if each.ranks else NONE,
        is_changed=bool(each.ranks and each.ranks[0] != each.ranks[1]),
        moved=signed(gone.by) if gone else NONE,
        against=[_against(search, each, other) for other in others],
        fingerprint=each.fingerprint,
    )


def _against(search: Search, each: Final, other: Final) -> AgainstCell:
    if each is other:
        return AgainstCell(NONE, "", "")
    paired = against(search, each, other)
    if paired.difference is None:
        return AgainstCell(NONE, "", "")
    gap = paired.difference
    verdict = "not told apart" if paired.verdict == "undecided" else WORDS[paired.verdict]
    return AgainstCell(signed(gap.estimate), span(gap.low, gap.high, signed), verdict)


def pruned_rows(search: Search) -> list[PrunedRow]:
    """What ended early, by rung and reason; numbers within a reason stand as … where they differ."""
    groups: dict[tuple[str, int, str], list[Slot]] = {}
    for slot in search.own:
        if slot.status in (PRUNED, FAILED):
            groups.setdefault((slot.status, slot.reached, _pattern(slot.reason)), []).append(slot)
    ordered = sorted(groups.items(), key=lambda pair: (pair[0][0] != PRUNED, pair[0][1], -len(pair[1]), pair[0][2]))
    return [
        PrunedRow(
            status=status,
            rung=f"{whole(rung)}" if rung else NONE,
            reason=(slots[0].reason if len({slot.reason for slot in slots}) == 1 else pattern) or NONE,
            trials=whole(len(slots)),
            used=large(sum(slot.evaluations for slot in slots)),
            saved=large(round(sum(saving(search, slot.number) for slot in slots))) if status == PRUNED else NONE,
        )
        for (status, rung, pattern), slots in ordered
    ]


def _pattern(reason: str) -> str:
    return re.sub(r"[−+-]?\d[\d.,]*(?:e[+-]?\d+)?", "…", reason)


def slot_rows(search: Search) -> list[SlotRow]:
    """Every slot, in order."""
    paths = [str(each["path"]) for each in search.parameters]
    return [_slot(slot, paths) for slot in search.slots]


def _slot(slot: Slot, paths: list[str]) -> SlotRow:
    rung = slot.rungs[-1] if slot.rungs else {}
    gap = slot.difference
    reason = slot.reason
    if slot.status == FAILED and slot.step is not None:
        reason = f"{reason} (step {slot.step})" if reason else f"step {slot.step}"
    return SlotRow(
        number=(slot.number, str(slot.number)),
        origin=slot.origin,
        settings=setting_line(slot.settings, slot.trial, paths),
        nfe=(slot.nfe, evaluations(slot.nfe)),
        status=slot.status if slot.twin is None else f"repeat of {slot.twin}",
        reached=(slot.reached or None, whole(slot.reached) if slot.reached else NONE),
        value=(rung.get("value"), significant(rung.get("value"))),
        interval=span(rung.get("low"), rung.get("high")) if rung else "",
        difference=(gap.value, signed(gap.value)) if gap else (None, NONE),
        difference_interval=span(gap.low, gap.high, signed) if gap and gap.low == gap.low else "",
        rival=f"from {slot.rival}" if slot.rival is not None and gap else "",
        reason=reason,
        evaluations=(slot.evaluations, whole(slot.evaluations)),
        fingerprint=slot.fingerprint,
    )
