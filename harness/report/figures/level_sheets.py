"""Pictures that a measure kept of a denoiser, by noise level: rows are images, columns are levels."""

from typing import NamedTuple

from harness.report.curves import Panel
from harness.report.data import GridData, records
from harness.report.figures.image_sheets import data_uri, png_size
from harness.store.database import Store

NAMES = {"noisy": "x = y + σ n", "denoised": "D(x; σ)"}


class Strip(NamedTuple):
    """A sheet of pictures.

    Args:
        title: whose, and what.
        uri: the PNG as a data URI.
        width, height: in pixels of the PNG.
        levels: heading of each column.
        alt: what it shows, in words.
    """

    title: str
    uri: str
    width: int
    height: int
    levels: list[str]
    alt: str


def strips(store: Store, data: GridData, panels: list[Panel]) -> list[Strip]:
    """The noisy images once, then what each denoiser makes of them."""
    keys = data.metric.get("pictures") or {}
    if not keys:
        return []
    wanted = [key for names in keys.values() for key in names.values()]
    found = store.images(wanted, data.metric["first_seed"])
    made: list[Strip] = []
    for panel in panels:
        for curve in panel.curves:
            for line in records(curve.done):
                names = keys.get(line["fingerprint"], {})
                levels = [f"{float(f'{level:.3g}'):g}" for level in line["details"].get("profile", {}).get("level", [])]
                for name, key in names.items():
                    if key in found and not (name == "noisy" and any(strip.title == NAMES[name] for strip in made)):
                        title = NAMES[name] if name == "noisy" else f"{panel.title}: {NAMES.get(name, name)}"
                        made += _strip(title, found[key], levels)
    return made


def _strip(title: str, png: bytes, levels: list[str]) -> list[Strip]:
    size = png_size(png)
    if size is None:
        return []
    alt = f"{title} at noise levels {', '.join(levels)}"
    return [Strip(title, data_uri(png), *size, levels, alt)]
