"""Words of a file, a server or a user on their way to a terminal, which must not take them for commands."""

import re

LONGEST = 300
LONGEST_LINE = 200

NUMBER = re.compile(r"[-+\d][-+\d.,e ()to%]*")
"""Numbers, with their interval, which begin as formulas do."""


def printable(text: str, keep: str = "") -> str:
    """Text with `?` for every letter that is not shown, such as the start of an escape sequence.

    Args:
        text: somebody's words.
        keep: letters that stay, such as the end of a line.
    """
    return "".join(letter if letter.isprintable() or letter in keep else "?" for letter in text)


def brief(text: str) -> str:
    """The same, and not too much of it."""
    return printable(text)[:LONGEST]


def told(error: BaseException) -> str:
    """An error in one line: its class, and the first line of what it says."""
    return _with_class(error, next(iter(_lines(error)), ""))


def told_at_end(error: BaseException) -> str:
    """The same with the last line, where torch puts the reason when a program in a file fails."""
    return _with_class(error, next(reversed(_lines(error)), "")[:LONGEST_LINE])


def last_line(error: BaseException) -> str:
    """That line alone; the error's class where it says nothing."""
    return next(reversed(_lines(error)), type(error).__name__)[:LONGEST_LINE]


def _lines(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()]


def _with_class(error: BaseException, line: str) -> str:
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def spreadsheet_text(text: str) -> str:
    """Text as a cell of CSV: behind a quotation mark where a spreadsheet would run it as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not NUMBER.fullmatch(text) else text


def clock(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
