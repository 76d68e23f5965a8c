"""The report: one HTML file that carries its figures, styles and images in itself and asks the network for nothing."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from harness.core.errors import InputError
from harness.core.files import write_bytes
from harness.core.published import load_paper
from harness.report.curves import Panel
from harness.report.data import GridData, load
from harness.report.figures.legend import SIZE, series_signs
from harness.report.figures.style import styles, variables
from harness.report.pages.sections import Section, sections
from harness.report.tables import trials as lists
from harness.report.tables.design import table
from harness.report.text import provenance
from harness.report.text.choices import AXES
from harness.report.text.numbers import listing
from harness.report.text.summary import summarize
from harness.store.database import Store

TEMPLATES = Path(__file__).parents[1] / "templates"


def write_report(store: Store, grid: str, out: Path) -> Path:
    """Render a grid's rows, finished or not, to one HTML file.

    Args:
        store: where the rows are; nothing is written to it.
        grid: name of a grid that was run.
        out: the file to write; its folder is made. A report that is there is replaced at once, never half.

    Returns:
        The file's path.

    Raises:
        InputError: the store has no such grid, or the file cannot be written.
    """
    return write_page(render(store, grid), out)


def write_page(html: str, out: Path) -> Path:
    """Write a page to a file, and return its path.

    Raises:
        InputError: the file cannot be written.
    """
    out = Path(out)
    try:
        write_bytes(out, html.encode())
    except OSError as error:
        raise InputError(f"{out}: cannot write the report ({error.strerror}); give another --output") from None
    return out


def render(store: Store, grid: str) -> str:
    """The page as text; the same rows give the same text.

    Raises:
        InputError: the store has no such grid.
    """
    every = load(store, grid)
    plan = every[0].plan
    looks = styles(plan["series"])
    shown = sections(store, every, looks)
    signs = series_signs(looks)
    marks = {sign.id: sign for section in shown for sign in [*section.marks, *section.profile_signs]}
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("report.html")
        .render(
            plan=plan,
            sections=shown,
            summary=summarize(every),
            paper=load_paper() if _has_published(shown) else None,
            signs=signs,
            symbols=[Markup(sign.symbol) for sign in [*signs.values(), *marks.values()]],
            sign_box=f"0 0 {72 * SIZE[0]:g} {72 * SIZE[1]:g}",
            notes=_notes(plan),
            design=table(plan.get("design")),
            axes=AXES,
            trials=[row for section in shown for row in lists.trials(section.data, section.panels)],
            failures=[row for section in shown for row in lists.failures(section.data, section.panels)],
            missing=[line for section in shown for line in lists.missing(section.data, section.panels)],
            missing_count=sum(data.count("missing") for data in every),
            trial_count=sum(len(data.every_range) for data in every),
            left_out=[f"{data.title}: {line}" if len(every) > 1 else line for data in every for line in data.left_out],
            nothing=_nothing(every),
            **_origin(every, shown[0].panels),
            style=Markup(style()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _has_published(shown: list[Section]) -> bool:
    """Whether any curve has a point of the paper beside it."""
    return any(curve.published for section in shown for panel in section.panels for curve in panel.curves)


def environment() -> jinja2.Environment:
    """Templates with every name and error text escaped, and no variable silently empty."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _notes(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """What the series are: one note for all curves of a series, under its own name where they are several."""
    found: dict[str, tuple[list[str], str]] = {}
    for curve in plan["series"]:
        if curve.get("note"):
            found.setdefault(curve.get("base") or curve["name"], ([], curve["note"]))[0].append(curve["name"])
    return [(names[0] if len(names) == 1 else base, note) for base, (names, note) in found.items()]


def _origin(every: list[GridData], shown: list[Panel]) -> dict[str, Any]:
    rows = [row for data in every for row in data.rows]
    finished = sorted(row["finished_at"] for row in rows if row["finished_at"])
    return {
        "facts": provenance.facts(rows),
        "cards": [(panel.title, panel.name, panel.weights, provenance.card_facts(panel.card)) for panel in shown],
        "finished": (finished[0], finished[-1]) if finished else None,
    }


def _nothing(every: list[GridData]) -> str:
    """Which of the three lists are empty, in one sentence."""
    counts = {word: sum(data.count(word.split()[-1]) for data in every) for word in ("failed", "is missing")}
    empty = [f"no trial {word}" for word, count in counts.items() if not count]
    empty += [] if any(data.left_out for data in every) else ["no result was left out"]
    sentence = listing(empty)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def style() -> str:
    """The style sheet with the palette's variables in front, light and dark."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {variables(dark=True)} }} }}"
    sheet = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return f":root {{ {variables(dark=False)} }}\n{dark}\n{sheet}"
