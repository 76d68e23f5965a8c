"""A page is one HTML file that carries its figures, styles and images in itself and asks the network for nothing."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from harness.core.files import write_output
from harness.report.figures.legend import SIZE, LegendEntry
from harness.report.figures.style import variables

TEMPLATES = Path(__file__).parents[1] / "templates"


class FigurePanel(NamedTuple):
    """A panel of a figure: heading, a line about it, and the SVG."""

    title: str
    about: str
    svg: Markup


class PageSection(NamedTuple):
    """A section of a page.

    Args:
        html: all of it, with its heading.
        legend: the entries that it shows; the page draws each once.
    """

    html: Markup
    legend: Sequence[LegendEntry] = ()


@cache
def environment() -> jinja2.Environment:
    """Templates with every name and error text escaped, and no variable silently empty."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"sign_box": f"0 0 {72 * SIZE[0]:g} {72 * SIZE[1]:g}", "series_legend": {}}
    return made


def fragment(template: str, part: str, **values: Any) -> Markup:
    """A part of a page.

    Args:
        template: a file among the templates.
        part: the macro in it that writes the part.
        values: what the macro reads; `series_legend` has the entries of series by name, where its tables show any.
    """
    module = environment().get_template(template).make_module(values)
    return Markup(getattr(module, part)())


def render_page(
    title: str,
    header: Markup,
    sections: Iterable[PageSection] = (),
    scripts: Iterable[str] = (),
    css: str = "",
    legend: Mapping[str, LegendEntry] | None = None,
) -> str:
    """A page as text.

    Args:
        title: of the window.
        header: what stands before the sections.
        sections: from top to bottom.
        scripts: files among the templates.
        css: class of the body.
        legend: entries beside those of the sections.
    """
    shown = list(sections)
    entries = {
        entry.id: entry
        for own in (list((legend or {}).values()), *(section.legend for section in shown))
        for entry in own
    }
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in scripts)
    return (
        environment()
        .get_template("page.html")
        .render(
            title=title,
            header=header,
            sections=[section.html for section in shown],
            symbols=[entry.symbol for entry in entries.values()],
            css=css,
            style=Markup(style()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def write_page(html: str, out: Path) -> Path:
    """Write a page to a file, and return its path. One that is there is replaced at once, never half.

    Raises:
        InputError: the file cannot be written.
    """
    out = Path(out)
    write_output(out, html.encode(), what="the report")
    return out


def style() -> str:
    """The style sheet with the palette's variables in front, light and dark."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {variables(dark=True)} }} }}"
    sheet = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return f":root {{ {variables(dark=False)} }}\n{dark}\n{sheet}"
