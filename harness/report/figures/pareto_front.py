"""Value against cost: every trial by its NFE, and the front of those that no other beats in both."""

from typing import Any, NamedTuple

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.axes import Frame, is_log
from harness.report.figures.history import estimate
from harness.report.figures.legend import Sign
from harness.report.holdout import Final
from harness.report.study import SUGGESTED, Search, Slot, Value, by_factors, sign
from harness.report.text.numbers import evaluations, plural, significant
from harness.report.text.search_summary import interval
from harness.report.text.settings import setting_line

WIDTH, HEIGHT = 9.4, 3.2  # inches


class FrontRow(NamedTuple):
    """A trial on the front, as text."""

    nfe: str
    number: int
    origin: str
    settings: str
    value: str
    interval: str
    fresh: str
    fresh_interval: str


class Tradeoff(NamedTuple):
    """The figure, its legend, and the front as a table, from the fewest evaluations up."""

    svg: str
    signs: list[Sign]
    rows: list[FrontRow]


def front(search: Search) -> list[Slot]:
    """Done slots that none other equals or beats in both NFE and value, by NFE."""
    better = sign(search.objective)
    done = [slot for slot in search.own if slot.full and slot.nfe is not None]
    done.sort(key=lambda slot: (slot.nfe or 0, better * slot.full.value if slot.full else 0))
    kept: list[Slot] = []
    for slot in done:
        last = kept[-1].full if kept else None
        if slot.full and (last is None or better * (slot.full.value - last.value) < 0):
            kept.append(slot)
    return kept


def tradeoff(search: Search, found: list[Final], prefix: str = "front") -> Tradeoff | None:
    """Draw it; None where the search has one objective, or nothing is done."""
    best = front(search)
    if not search.spec.get("pareto") or not best:
        return None
    fresh = {each.fingerprint: each.fresh for each in found if each.fresh}
    paths = [str(each["path"]) for each in search.parameters]
    rows = [_row(slot, fresh.get(slot.fingerprint), paths) for slot in best]
    return Tradeoff(*_draw(search, best, found, prefix), rows)


def _row(slot: Slot, fresh: Value | None, paths: list[str]) -> FrontRow:
    assert slot.full is not None
    origin = "" if slot.origin == SUGGESTED else slot.origin
    line = setting_line(slot.settings, slot.trial, paths)
    values = significant(slot.full.value), interval(slot.full)
    return FrontRow(
        evaluations(slot.nfe),
        slot.number,
        origin,
        line,
        *values,
        significant(fresh.value if fresh else None),
        interval(fresh),
    )


def _draw(search: Search, best: list[Slot], found: list[Final], prefix: str) -> tuple[str, list[Sign]]:
    done = [(float(slot.nfe), slot.full.value) for slot in search.own if slot.full and slot.nfe is not None]
    guesses = [
        (float(slot.nfe), guess.value)
        for slot in search.own
        if slot.nfe is not None and (guess := estimate(search, slot))
    ]
    fresh = [(float(each.nfe), each.fresh.value) for each in found if search.compares and each.fresh and each.nfe]
    every = [*done, *guesses, *fresh]
    better, title = sign(search.objective), str(search.objective["title"])
    y, log = draw.limits([value for _, value in every], by_factors(search.objective), better)
    counts = [nfe for nfe, _ in every]
    x_log = is_log(counts, ratio=6)
    frame = Frame(draw.span_of(counts, x_log, 0.06), y, title, x_log=x_log, y_log=log, counts=True)
    line = [(float(slot.nfe), slot.full.value) for slot in best if slot.full and slot.nfe is not None]
    with marks.plain_style():
        figure, axes = draw.canvas(frame, WIDTH, HEIGHT)
        _dots(axes, guesses, draw.PRUNED_LOOK | {"zorder": 2, "alpha": 0.6}, frame)
        _dots(axes, [pair for pair in done if pair not in line], draw.PALE_LOOK | {"zorder": 3}, frame)
        x, values = [nfe for nfe, _ in line], [value for _, value in line]
        axes.step([*x, frame.x[1]], [*values, values[-1]], where="post", zorder=4, **draw.STEP)
        _dots(axes, line, draw.DONE_LOOK | {"zorder": 5}, frame)
        _dots(axes, fresh, draw.FRESH_LOOK | {"zorder": 6}, frame)
        words = ", ".join(f"{significant(value)} at {evaluations(nfe)}" for nfe, value in line)
        svg = draw.finish(figure, prefix, f"{title} against NFE of {plural(len(done), 'trial')}; the front: {words}.")
    return svg, _signs(bool(guesses), bool(fresh))


def _dots(axes: Any, pairs: list[tuple[float, float]], look: dict[str, Any], frame: Frame) -> None:
    inside = [pair for pair in pairs if frame.y[0] <= pair[1] <= frame.y[1]]
    axes.plot([x for x, _ in inside], [y for _, y in inside], **look)
    outside = [pair for pair in pairs if pair not in inside]
    draw.at_edge(axes, [x for x, _ in outside], [y for _, y in outside], frame)


def _signs(has_guesses: bool, has_fresh: bool) -> list[Sign]:
    found = [
        draw.dot_sign("front", "on the front, at full N", draw.DONE_LOOK),
        draw.dot_sign("front-behind", "beaten in both", draw.PALE_LOOK),
    ]
    if has_guesses:
        found.append(draw.dot_sign("front-pruned", "pruned: estimated, by the paired difference", draw.PRUNED_LOOK))
    if has_fresh:
        found.append(draw.dot_sign("front-fresh", "on fresh seeds", draw.FRESH_LOOK))
    return found
