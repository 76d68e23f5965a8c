"""Pictures as data that the page carries: sheets of samples, and of what denoisers make of noisy images."""

import base64
import struct
from collections.abc import Sequence
from typing import NamedTuple

from harness.report.curves import CurvePanel, SeriesCurve
from harness.report.data import GridData, TrialResult
from harness.report.text.formula import symbols
from harness.report.text.numbers import evaluations, significant
from harness.store.database import Store

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LEVEL_SHEETS = {"noisy": "x = y + σ n", "denoised": "D(x; σ)"}
"""Titles of the sheets by noise level."""


class ImageSheet(NamedTuple):
    """One sheet of images.

    Args:
        title: the series that drew it, or whose it is and what.
        uri: the PNG as a data URI.
        width, height: in pixels of the PNG.
        alt: what it shows, in words.
        lines: what stands under it.
        levels: of a sheet by noise level, the heading of each column.
    """

    title: str
    uri: str
    width: int
    height: int
    alt: str
    lines: Sequence[str] = ()
    levels: Sequence[str] = ()


class Gallery(NamedTuple):
    """A panel's sheets of samples: one a series near its chosen trial, and all others that are stored."""

    title: str
    chosen: list[ImageSheet]
    others: list[ImageSheet]
    panel: str = ""


def galleries(store: Store, data: GridData, panels: list[CurvePanel], shown: set[str]) -> list[Gallery]:
    """The samples of every panel that has any.

    Args:
        store: has the pictures.
        data: the grid under one metric.
        panels: its panels.
        shown: trials whose sheet an earlier section has, which are left out here; those of this one are added.
    """
    wanted = {trial.fingerprint for trial in data.trials if trial.done} - shown
    pictures = store.images(sorted(wanted), data.first_seeds[0])
    shown |= set(pictures)
    made = [_gallery(panel, pictures, data) for panel in panels]
    return [gallery for gallery in made if gallery.chosen or gallery.others]


def _gallery(panel: CurvePanel, pictures: dict[str, bytes], data: GridData) -> Gallery:
    gallery = Gallery(panel.title, [], [], panel.name)
    for curve in panel.curves:
        kept = [trial for trial in curve.done if trial.fingerprint in pictures]
        best = _chosen(curve, kept, data)
        for trial in kept:
            title = symbols(data.plan["x"]["title"])
            place = nfe = f"NFE {evaluations(trial.nfe)}"
            if not data.against_nfe and not curve.is_level:
                place = f"{title} {trial.x:g}, {nfe}"
            lines = [f"{place} · {data.title} {significant(trial.value)}"]
            if trial is best and curve.lowest and curve.lowest.point and trial.nfe != curve.lowest.point.nfe:
                lines.append(f"nearest to NFE {evaluations(curve.lowest.point.nfe)} that was kept")
            alt = f"Images by {curve.name} on {panel.title} at {place}, seeds from {data.first_seeds[0]} on"
            sheets = gallery.chosen if trial is best else gallery.others
            sheets += _sheet(curve.name, pictures[trial.fingerprint], alt, lines)
    return gallery


def _chosen(curve: SeriesCurve, kept: list[TrialResult], data: GridData) -> TrialResult | None:
    """The trial whose sheet is shown first.

    Under the 3 % rule the one whose NFE is nearest, as a ratio, to the chosen trial's, of equals the higher; else the
    best one.
    """
    if not kept:
        return None
    if curve.lowest is None or curve.lowest.point is None:
        return data.best(kept)
    goal = curve.lowest.point.nfe
    return min(kept, key=lambda trial: (max(trial.nfe / goal, goal / trial.nfe), -trial.nfe))


def level_sheets(store: Store, data: GridData, panels: list[CurvePanel]) -> list[ImageSheet]:
    """Pictures by noise level, a row an image and a column a level: the noisy ones once, then each denoiser's."""
    keys = data.metric.get("pictures") or {}
    pictures = (
        store.images([key for names in keys.values() for key in names.values()], data.first_seeds[0]) if keys else {}
    )
    made: dict[str, list[ImageSheet]] = {}
    for panel in panels:
        for trial in (trial for curve in panel.curves for trial in curve.done):
            levels = [f"{float(f'{level:.3g}'):g}" for level in trial.details.get("profile", {}).get("level", [])]
            for name, key in keys.get(trial.fingerprint, {}).items():
                title = LEVEL_SHEETS.get(name, name)
                if key in pictures and not (name == "noisy" and made.get(title)):
                    title = title if name == "noisy" else f"{panel.title}: {title}"
                    alt = f"{title} at noise levels {', '.join(levels)}"
                    made.setdefault(title, []).extend(_sheet(title, pictures[key], alt, levels=levels))
    return [sheet for sheets in made.values() for sheet in sheets]


def _sheet(title: str, png: bytes, alt: str, lines: Sequence[str] = (), levels: Sequence[str] = ()) -> list[ImageSheet]:
    """The sheet; none where the bytes are no PNG."""
    if len(png) < 24 or not png.startswith(SIGNATURE) or png[12:16] != b"IHDR":
        return []
    width, height = struct.unpack(">II", png[16:24])
    uri = "data:image/png;base64," + base64.b64encode(png).decode()
    return [ImageSheet(title, uri, width, height, alt, lines, levels)]
