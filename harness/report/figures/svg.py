"""Figures as inline SVG: ids that no other figure of the page has, colours from its CSS, words for screen readers."""

import io
import re
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.figures.style import COLOURS, plain_style

SAYS = "says:"
"""Before the name in the gid of an artist that says it when pointed at."""

_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "harness"}
_METADATA: Any = {"Date": None, "Creator": None}  # the same rows give the same bytes
_VARIABLES = {colour.light: f"var({colour.variable}, {colour.light})" for colour in COLOURS}
_COLOUR = re.compile("|".join(_VARIABLES))
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # no XML may hold these, and names of users may
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT_FAMILY = re.compile(r"font-family:[^;]*;?\s*")


def inline(axes: Axes, prefix: str) -> Markup:
    """The figure of some axes as an `<svg>` element for the middle of a page.

    Args:
        axes: drawn with the light colours of `harness.report.figures.style`; the label of their figure tells what it
            shows to readers who do not see it.
        prefix: put before every id, and different for every figure of a page.
    """
    root = _draw(axes, prefix)
    root.attrib.update({"role": "img", "aria-label": str(axes.figure.get_label())})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def symbol(axes: Axes, name: str) -> Markup:
    """The same as a `<symbol>`, for `<use href="#NAME">` wherever the page needs it."""
    root = _draw(axes, name)
    root.tag = "symbol"
    root.set("id", name)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _draw(axes: Axes, prefix: str) -> ElementTree.Element:
    buffer = io.StringIO()
    figure = axes.figure
    assert isinstance(figure, Figure)
    with plain_style(), rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", metadata=_METADATA, transparent=True)
    root = ElementTree.fromstring(_UNFIT.sub("\N{REPLACEMENT CHARACTER}", buffer.getvalue()))
    _drop(root, ("metadata", "style"))
    for element in root.iter():
        _drop_namespaces(element)
    for element in root.iter():
        _say(element)
    used = {name for element in root.iter() for value in element.attrib.values() for name in _references(value)}
    for element in root.iter():
        _rewrite(element, prefix, used)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    return root


def _say(element: ElementTree.Element) -> None:
    """A title for what has an id that begins with `SAYS`: browsers show it to whoever points at the element."""
    name = element.get("id", "")
    if name.startswith(SAYS):
        title = ElementTree.Element("title")
        title.text = name.removeprefix(SAYS)
        element.insert(0, title)
        element.set("class", "says")


def _drop(root: ElementTree.Element, names: tuple[str, ...]) -> None:
    """Leave out elements that would reach beyond the figure (a style sheet does) or say nothing."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in names:
                parent.remove(child)


def _drop_namespaces(element: ElementTree.Element) -> None:
    """HTML knows SVG's elements and attributes without them."""
    element.tag = _local(element.tag)
    attributes = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    element.attrib.update(attributes)


def _references(value: str) -> list[str]:
    return [value[1:]] if value.startswith("#") else _REFERENCE.findall(value)


def _rewrite(element: ElementTree.Element, prefix: str, used: set[str]) -> None:
    """Prefix the ids that something refers to, drop the others, and make colours variables of the page."""
    for name, value in list(element.attrib.items()):
        if name == "id":
            if value in used:
                element.set(name, f"{prefix}-{value}")
            else:
                del element.attrib[name]
        elif name == "href":
            element.set(name, f"#{prefix}-{value.removeprefix('#')}")
        else:
            value = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
            value = _FONT_FAMILY.sub("", value)
            element.set(name, _COLOUR.sub(lambda match: _VARIABLES[match.group()], value))


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]
