"""The history of a search: every slot in order at its value, and the running best.

A value of few images is not on the scale of one of many: a Frechet distance of finite sets is too large by about c / n.
So a pruned slot is not drawn at what it measured. It stands where the paired difference puts it: its rival's value at
full N plus the difference from the rival at the same few images. That is an estimate, and drawn hollow.
"""

from typing import Any, NamedTuple

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.axes import Frame
from harness.report.figures.legend import Sign
from harness.report.figures.style import INK, MUTED
from harness.report.study import DONE, FAILED, PRUNED, SUGGESTED, Search, Slot, Value, by_factors, sign
from harness.report.text.numbers import plural, significant, whole

WIDTH, HEIGHT = 9.4, 2.9  # inches


class History(NamedTuple):
    """The figure, its legend, and how many pruned slots have no estimate."""

    svg: str
    signs: list[Sign]
    unplaced: int
    beyond: int


def estimate(search: Search, slot: Slot) -> Value | None:
    """Where a pruned slot would be at full N, by the paired difference from its rival; None without a full rival."""
    rival = search.by_number.get(slot.rival) if slot.rival is not None else None
    gap = slot.difference
    if slot.status != PRUNED or rival is None or rival.full is None or gap is None or gap.value != gap.value:
        return None
    return Value(*(rival.full.value + part for part in gap))


def running_best(search: Search) -> list[tuple[int, float]]:
    """Slot numbers at which the best value at full N changes, with the new best."""
    steps: list[tuple[int, float]] = []
    for slot in search.own:
        if slot.full and (not steps or sign(search.objective) * (slot.full.value - steps[-1][1]) < 0):
            steps.append((slot.number, slot.full.value))
    return steps


def history(search: Search, prefix: str = "history") -> History | None:
    """Draw it; None while no slot is done."""
    done = [(slot, slot.full) for slot in search.slots if slot.full]
    if not done:
        return None
    guesses = [(slot, found) for slot in search.slots if (found := estimate(search, slot))]
    better, title = sign(search.objective), str(search.objective["title"])
    values = [value.value for _, value in (*done, *guesses)]
    y, log = draw.limits(values, by_factors(search.objective), better)
    last = max(slot.number for slot in search.slots)
    room = max(1.0, 0.015 * last)
    x_title = "Trial of the search, in order"
    way = "lower" if better == 1 else "higher"
    frame = Frame((-room, last + room), y, title, x_title, x_log=False, y_log=log, counts=False, better=way)  # type: ignore[arg-type]
    with marks.plain_style():
        figure, axes = draw.canvas(frame, WIDTH, HEIGHT)
        ends = [
            (slot.number, max(found.low, y[0]), min(found.high, y[1]))
            for slot, found in guesses
            if found.low == found.low and y[0] < found.value < y[1]
        ]
        if ends:
            axes.vlines(*zip(*ends, strict=True), color=MUTED.light, lw=0.7, alpha=0.45, zorder=2)
        _dots(axes, guesses, draw.PRUNED_LOOK | {"zorder": 3}, frame)
        _step(axes, search, frame)
        once = [pair for pair in done if pair[0].twin is None]
        _dots(axes, [pair for pair in done if pair[0].twin is not None], draw.PALE_LOOK | {"zorder": 3}, frame)
        _dots(axes, [pair for pair in once if pair[0].origin == SUGGESTED], draw.DONE_LOOK | {"zorder": 5}, frame)
        _dots(axes, [pair for pair in once if pair[0].origin != SUGGESTED], draw.NAMED_LOOK | {"zorder": 6}, frame)
        top = min(once or done, key=lambda pair: better * pair[1].value)
        draw.best_ring(axes, top[0].number, top[1].value)
        failed = [float(slot.number) for slot in search.slots if slot.status == FAILED]
        marks.cross(axes, failed, 0.975, INK.light, transform=axes.get_xaxis_transform(), clip_on=False)
        svg = draw.finish(figure, prefix, _label(search, top[0], top[1].value))
    unplaced = sum(slot.status == PRUNED for slot in search.slots) - len(guesses)
    beyond = sum(not y[0] <= value <= y[1] for value in values)
    return History(svg, _signs(search, bool(guesses), bool(failed), beyond), unplaced, beyond)


def _dots(axes: Any, pairs: list[tuple[Slot, Value]], look: dict[str, Any], frame: Frame) -> None:
    within = [pair for pair in pairs if frame.y[0] <= pair[1].value <= frame.y[1]]
    axes.plot([slot.number for slot, _ in within], [value.value for _, value in within], **look)
    beyond = [pair for pair in pairs if pair not in within]
    draw.at_edge(axes, [slot.number for slot, _ in beyond], [value.value for _, value in beyond], frame)


def _step(axes: Any, search: Search, frame: Frame) -> None:
    steps = running_best(search)
    x = [*(number for number, _ in steps), frame.x[1]]
    axes.step(x, [*(value for _, value in steps), steps[-1][1]], where="post", zorder=4, **draw.STEP)


def _signs(search: Search, has_guesses: bool, has_failed: bool, beyond: int) -> list[Sign]:
    named = any(slot.origin != SUGGESTED and slot.full for slot in search.own)
    repeats = any(slot.twin is not None and slot.full for slot in search.slots)
    found = [draw.dot_sign("done", "done: at full N", draw.DONE_LOOK)]
    if named:
        found.append(draw.dot_sign("named", "the baseline or the paper’s, done", draw.NAMED_LOOK))
    if has_guesses:
        found.append(draw.dot_sign("pruned", "pruned: estimated, by the paired difference", draw.PRUNED_LOOK))
    if repeats:
        found.append(draw.dot_sign("repeat", "repeat of an earlier setting", draw.PALE_LOOK))
    if has_failed:
        found.append(draw.legend_sign("failed", "failed", lambda axes: marks.cross(axes, [1], 0.5, INK.light)))
    if beyond:
        found.append(draw.dot_sign("beyond", "beyond the axis", draw.EDGE_LOOK | {"marker": "^"}))
    found.append(
        draw.legend_sign(
            "step", "running best", lambda axes: axes.plot([0.1, 1, 1, 1.9], [0.75, 0.75, 0.25, 0.25], **draw.STEP)
        )
    )
    found.append(draw.legend_sign("best", "best on the search seeds", lambda axes: draw.best_ring(axes, 1, 0.5)))
    return found


def _label(search: Search, slot: Slot, value: float) -> str:
    counts = f"{plural(search.count(DONE), 'trial')} done, {whole(search.count(PRUNED))} pruned"
    best = f"best {significant(value)} at No. {slot.number}"
    return f"{search.objective['title']} of every trial in order: {counts}; {best}."
