"""Slices: the value at the first rung against one parameter at a time, pruned and done trials told apart."""

from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from harness.report.figures import glyphs as marks
from harness.report.figures import search_axes as draw
from harness.report.figures.axes import Frame
from harness.report.figures.glyphs import TICK
from harness.report.figures.legend import Sign
from harness.report.pages.sections import Drawn
from harness.report.parameters import Parameter, Point, parameters, points
from harness.report.study import DONE, FAILED, SUGGESTED, Search, by_factors, sign
from harness.report.text.numbers import plural, whole

WIDTH, HEIGHT = 4.1, 2.35  # inches
MOST_WORDS = 6
"""Choices whose names fit upright under an axis; more are numbered by letters turned."""


class Slices(NamedTuple):
    """A panel a parameter, their legend, and how many values lie beyond the axis."""

    panels: list[Drawn]
    signs: list[Sign]
    beyond: int


def slices(search: Search, prefix: str = "slice") -> Slices | None:
    """Draw them; None while nothing was measured."""
    every = points(search)
    inside = [point for point in every if point.slot.settings]
    if not every:
        return None
    values = [point.value.value for point in every]
    better = sign(search.objective)
    y, log = draw.limits(values, by_factors(search.objective), better)
    best = best_point(search, every)
    found = []
    for index, each in enumerate(parameters(search)):
        having = [point for point in every if each.of(point.slot) is not None]
        if having:
            svg = _panel(search, each, having, (y, log), best, f"{prefix}{index}")
            about = (
                each.path if len(having) == len(inside) else f"{each.path}; active in {plural(len(having), 'trial')}"
            )
            found.append(Drawn(each.name, about, Markup(svg)))
    beyond = sum(not y[0] <= value <= y[1] for value in values)
    return Slices(found, _signs(every, beyond), beyond) if found else None


def best_point(search: Search, every: list[Point]) -> Point | None:
    """The slot that is best at full N; None while none is done."""
    done = [(point, point.slot.full) for point in every if point.slot.full]
    return min(done, key=lambda pair: sign(search.objective) * pair[1].value)[0] if done else None


def _panel(
    search: Search,
    each: Parameter,
    every: list[Point],
    upright: tuple[tuple[float, float], bool],
    best: Point | None,
    prefix: str,
) -> str:
    title = f"{search.objective['title']}, first {whole(search.spec['rungs'][0])} images"
    y, log = upright
    x = (-0.6, len(each.choices) - 0.4) if each.is_choice else _across(each, every)
    turned = each.is_choice and len(each.choices) > MOST_WORDS
    frame = Frame(x, y, title, each.name, x_log=each.log, y_log=log, counts=False)
    with marks.plain_style():
        figure, axes = draw.canvas(frame, WIDTH, HEIGHT, below=1.0 if turned else 0.48)
        if each.is_choice:
            axes.xaxis.set_major_locator(FixedLocator(list(range(len(each.choices)))))
            names = [_short(name, 14 if turned else max(6, 44 // len(each.choices))) for name in each.choices]
            axes.set_xticks(
                range(len(names)),
                names,
                fontsize=TICK,
                rotation=35 if turned else 0,
                ha="right" if turned else "center",
            )
            axes.xaxis.set_minor_formatter(NullFormatter())
        elif each.low <= x[0] or each.high >= x[1]:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
        places = [(_place(each, point), point) for point in every]
        for look, wanted in _looks():
            kept = [(at, point.value.value) for at, point in places if wanted(point)]
            inside = [pair for pair in kept if y[0] <= pair[1] <= y[1]]
            axes.plot([at for at, _ in inside], [value for _, value in inside], **look)
            outside = [pair for pair in kept if pair not in inside]
            draw.at_edge(axes, [at for at, _ in outside], [value for _, value in outside], frame)
        for at, point in places:
            if point is best:
                draw.best_ring(axes, at, point.value.value)
        return draw.finish(figure, prefix, f"{title} against {each.name}, {plural(len(every), 'trial')}.")


def _looks() -> list[tuple[dict[str, Any], Any]]:
    return [
        (draw.PRUNED_LOOK | {"zorder": 3}, lambda point: point.slot.status != DONE),
        (draw.DONE_LOOK | {"zorder": 4}, lambda point: point.slot.status == DONE and point.slot.origin == SUGGESTED),
        (draw.NAMED_LOOK | {"zorder": 5}, lambda point: point.slot.status == DONE and point.slot.origin != SUGGESTED),
    ]


def _across(each: Parameter, every: list[Point]) -> tuple[float, float]:
    inside = [float(value) for point in every if (value := each.of(point.slot)) is not None]
    return draw.span_of([each.low, each.high, *inside], each.log, 0.04)


def _place(each: Parameter, point: Point) -> float:
    """Where a slot stands; slots of one choice side by side, in a fixed order that looks like none."""
    value = each.of(point.slot)
    if each.is_choice:
        return each.choices.index(str(value)) + 0.5 * ((point.slot.number * 0.618034) % 1 - 0.5)
    assert isinstance(value, float)
    return value


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _signs(every: list[Point], beyond: int) -> list[Sign]:
    found = [draw.dot_sign("slice-done", "done", draw.DONE_LOOK)]
    if any(point.slot.origin != SUGGESTED and point.slot.status == DONE for point in every):
        found.append(draw.dot_sign("slice-named", "the baseline or the paper’s, done", draw.NAMED_LOOK))
    if any(point.slot.status not in (DONE, FAILED) for point in every):
        found.append(draw.dot_sign("slice-pruned", "pruned, or still running", draw.PRUNED_LOOK))
    if beyond:
        found.append(draw.dot_sign("slice-beyond", "beyond the axis", draw.EDGE_LOOK | {"marker": "^"}))
    if any(point.slot.full for point in every):
        found.append(draw.legend_sign("slice-best", "best at full N", lambda axes: draw.best_ring(axes, 1, 0.5)))
    return found
