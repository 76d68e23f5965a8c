"""Numbers as text for people: significant digits, ranges, durations."""

import math
from collections.abc import Callable
from typing import Any

NONE = "–"
"""What stands where there is no value."""


def as_float(value: Any) -> float:
    """A stored number; NaN for what is none."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def significant(value: float | None, digits: int = 3) -> str:
    """A value to some significant digits, never in exponent notation between 1e-4 and 1e15: 0.0123, 4.56, 1,230."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -5 < exponent < 15:
        return _minus(f"{value:.{digits - 1}e}")
    rounded = round(value, digits - 1 - exponent)
    exponent = math.floor(math.log10(abs(rounded)))
    return _minus(f"{rounded:,.{max(0, digits - 1 - exponent)}f}")


def ratio(value: float | None) -> str:
    """A factor to two significant digits: 7.3, 0.85, 310."""
    return significant(value, 2)


def signed(value: float | None) -> str:
    """A difference to two significant digits, with its sign: +0.012, −3.0."""
    return ("+" if value is not None and value > 0 else "") + significant(value, 2)


def whole(value: float | None) -> str:
    """A count with thousands separated; one decimal where it is not whole (mean NFE of an adaptive solver)."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def evaluations(nfe: float | None) -> str:
    """NFE as axes and papers write it, without separators: 35, 1024; one decimal where a mean is not whole."""
    return whole(nfe).replace(",", "")


def large(value: float) -> str:
    """A count in words where it is long: 12,345 or 4.81 million."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{significant(value / size)} {name}"
    return whole(value)


def span(low: float | None, high: float | None, form: Callable[[float | None], str] = significant) -> str:
    """`low to high`, or one number where both read the same; nothing where one is missing."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NONE
    a, b = form(low), form(high)
    return a if a == b else f"{a} to {b}"


def distance_span(low: float | None, high: float | None) -> str:
    """The interval of a distance, which is never below 0: `at most 0.03` where the interval reaches there."""
    if low is not None and high is not None and low <= 0 < high:
        return f"at most {significant(high)}"
    return span(low, high)


def open_span(low: float | None, high: float | None, is_least: bool, form: Callable[[float | None], str]) -> str:
    """`low to high`, and `low to ≥ high` or `≥ high` where the true number may be any above."""
    text = span(low, high, form)
    if not is_least or text == NONE:
        return text
    return f"≥ {text}" if form(low) == form(high) else f"{form(low)} to ≥ {form(high)}"


def ratio_span(low: float | None, high: float | None) -> str:
    """The range of a factor: `3.1 to 5.3`, `≥ 3.1` where it has no upper end, `≤ 5.3` where it has no lower one."""
    if low is None or high is None:
        return NONE
    if math.isinf(high):
        return "any factor" if low <= 0 else f"≥ {ratio(low)}"
    return f"≤ {ratio(high)}" if low <= 0 else span(low, high, ratio)


def bracketed(low: float | None, high: float | None, form: Callable[[float | None], str] = significant) -> str:
    """` (low to high)`; nothing where one is missing."""
    text = span(low, high, form)
    return "" if text == NONE else f" ({text})"


def duration(seconds: float) -> str:
    """Seconds in the two largest units: 41 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole_seconds = round(seconds)
    hours, minutes, rest = whole_seconds // 3600, whole_seconds // 60 % 60, whole_seconds % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `2 trials`."""
    return f"{whole(count)} {one if count == 1 else many or one + 's'}"


def listing(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text
