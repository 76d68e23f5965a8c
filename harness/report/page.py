"""The report: one HTML file that carries its figures, styles and images in itself and asks the network for nothing."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from harness.atomic import write_bytes
from harness.errors import InputError
from harness.report import lists, provenance
from harness.report.choices import AXES
from harness.report.curves import Panel, panels
from harness.report.data import GridData, load
from harness.report.figures import common_frame, panel_svg
from harness.report.mosaics import galleries
from harness.report.numbers import listing, significant, span
from harness.report.palette import styles, variables
from harness.report.paper import load_paper
from harness.report.signs import SIZE, mark_signs, series_signs
from harness.report.summary import summarize
from harness.store import Store

TEMPLATES = Path(__file__).with_name("templates")


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
    html = render(store, grid)
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
    data = load(store, grid)
    shown = panels(data)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        plan=data.plan,
        data=data,
        summary=summarize(data),
        paper=load_paper() if any(panel.paper for panel in shown) else None,
        **_figure(data, shown),
        costs=lists.costs(shown),
        galleries=galleries(store, data, shown),
        axes=AXES,
        trials=lists.trials(data, shown),
        failures=lists.failures(data, shown),
        missing=lists.missing(shown),
        nothing=_nothing(data),
        **_origin(data, shown),
        style=Markup(_style()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _figure(data: GridData, shown: list[Panel]) -> dict[str, Any]:
    """The figure's panels and legend, and the sign of every series for the tables."""
    looks = styles(data.plan["series"])
    frame = common_frame(shown, data.floor, data.plan["metric_title"])
    drawn = [panel for panel in shown if panel.curves] if frame else []
    signs, marks = series_signs(looks), mark_signs(drawn, data.floor)
    present = {curve.name for panel in drawn for curve in panel.curves}
    return {
        "figures": [
            (panel.title, _about(panel), Markup(panel_svg(panel, frame, looks, data.floor, f"panel{index}")))
            for index, panel in enumerate(drawn)
            if frame
        ],
        "legend": [sign for name, sign in signs.items() if name in present] + marks,
        "signs": signs,
        "symbols": [Markup(sign.symbol) for sign in [*signs.values(), *marks]],
        "sign_box": f"0 0 {72 * SIZE[0]:g} {72 * SIZE[1]:g}",
        "notes": [(series["name"], series["note"]) for series in data.plan["series"] if series.get("note")],
    }


def _about(panel: Panel) -> str:
    """A line on the denoiser from its card."""
    card = panel.card
    parts = [panel.name]
    if card.get("dataset"):
        parts.append(str(card["dataset"]))
    if isinstance(card.get("parameters"), int):
        parts.append(f"{card['parameters']:,} parameters")
    return " · ".join(parts)


def _origin(data: GridData, shown: list[Panel]) -> dict[str, Any]:
    finished = sorted(row["finished_at"] for row in data.rows if row["finished_at"])
    floor = data.floor
    return {
        "facts": provenance.facts(data.rows),
        "cards": [(panel.title, panel.name, panel.weights, provenance.card_facts(panel.card)) for panel in shown],
        "finished": (finished[0], finished[-1]) if finished else None,
        "floor": (significant(floor.mean), span(floor.low, floor.high)) if floor else None,
        "blocks": sorted({len(blocks) for blocks in data.trials["blocks"] if len(blocks)}),
    }


def _nothing(data: GridData) -> str:
    """Which of the three lists are empty, in one sentence."""
    empty = [f"no trial {word}" for word in ("failed", "is missing") if not data.count(word.split()[-1])]
    empty += [] if data.left_out else ["no result was left out"]
    sentence = listing(empty)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _style() -> str:
    """The style sheet with the palette's variables in front, light and dark."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {variables(dark=True)} }} }}"
    sheet = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return f":root {{ {variables(dark=False)} }}\n{dark}\n{sheet}"
