"""Sample images for the page: PNG mosaics from the store, as data that the page carries in itself."""

import base64
import struct
from typing import Any, NamedTuple

from harness.report.curves import Curve, Panel
from harness.report.data import GridData, records
from harness.report.text.formula import symbols
from harness.report.text.numbers import evaluations, significant
from harness.store.database import Store

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Mosaic(NamedTuple):
    """One sheet of images.

    Args:
        series: which series drew it.
        place, value: of its trial, as text: its NFE, and its place on another horizontal axis.
        note: "" where this is the chosen trial; else in what way it is not.
        uri: the PNG as a data URI.
        width, height: in pixels of the PNG.
        alt: what it shows, in words.
    """

    series: str
    place: str
    value: str
    note: str
    uri: str
    width: int
    height: int
    alt: str


class Gallery(NamedTuple):
    """A panel's sheets: one a series near its chosen trial, and all others that are stored."""

    title: str
    chosen: list[Mosaic]
    others: list[Mosaic]


def galleries(store: Store, data: GridData, panels: list[Panel], shown: set[str] | None = None) -> list[Gallery]:
    """The sheets of every panel that has any.

    Args:
        store: has the pictures.
        data: the grid under one metric.
        panels: its panels.
        shown: trials whose sheet an earlier section has, which are left out here; those of this one are added.
    """
    before = shown or set()
    wanted = set(data.trials[data.trials["status"] == "done"]["fingerprint"]) - before
    found = store.images(sorted(wanted), data.metric["first_seed"])
    if shown is not None:
        shown |= set(found)
    made = [_gallery(panel, found, data) for panel in panels]
    return [gallery for gallery in made if gallery.chosen or gallery.others]


def _gallery(panel: Panel, found: dict[str, bytes], data: GridData) -> Gallery:
    chosen: list[Mosaic] = []
    others: list[Mosaic] = []
    for curve in panel.curves:
        done = records(curve.done[curve.done["fingerprint"].isin(found)])
        best = _chosen(curve, done, data)
        for line in done:
            is_chosen = line["fingerprint"] == best
            sheet = _sheet(panel, curve, line, found[line["fingerprint"]], data, is_chosen)
            if sheet:
                (chosen if is_chosen else others).append(sheet)
    return Gallery(panel.title, chosen, others)


def _chosen(curve: Curve, kept: list[dict[str, Any]], data: GridData) -> str | None:
    """The trial whose sheet is shown first.

    Under the 3 % rule the one whose NFE is nearest, as a ratio, to the chosen trial's, of equals the higher; else the
    best one.
    """
    if not kept:
        return None
    if curve.lowest is None:
        return str(data.best(kept)["fingerprint"])
    goal = curve.lowest.point.nfe
    nearest = min(kept, key=lambda line: (max(line["nfe"] / goal, goal / line["nfe"]), -line["nfe"]))
    return str(nearest["fingerprint"])


def _sheet(
    panel: Panel, curve: Curve, line: dict[str, Any], png: bytes, data: GridData, is_chosen: bool
) -> Mosaic | None:
    size = png_size(png)
    if size is None:
        return None
    note = ""
    if is_chosen and curve.lowest and line["nfe"] != curve.lowest.point.nfe:
        note = f"nearest to NFE {evaluations(curve.lowest.point.nfe)} that was kept"
    first = data.metric["first_seed"]
    place = f"NFE {evaluations(line['nfe'])}"
    if not data.against_nfe and not curve.is_level:
        place = f"{symbols(data.plan['x']['title'])} {line['x']:g}, {place}"
    alt = f"Images by {curve.name} on {panel.title} at {place}, seeds from {first} on"
    uri = data_uri(png)
    return Mosaic(curve.name, place, significant(line["value"]), note, uri, *size, alt)


def data_uri(png: bytes) -> str:
    """A PNG that the page carries in itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def png_size(png: bytes) -> tuple[int, int] | None:
    """Width and height from a PNG's header; None if it is not one."""
    if len(png) < 24 or not png.startswith(SIGNATURE) or png[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", png[16:24])
    return width, height
