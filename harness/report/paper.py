"""The figures that the paper published, for the overlay: read from `paper.yaml`, each with how sure the reading is."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from harness import yamlfile

FILE = Path(__file__).with_name("paper.yaml")


class Published(NamedTuple):
    """One published point: the FID of another network on another scale, and its NFE."""

    fid: float
    nfe: float


class PaperPanel(NamedTuple):
    """What Figure 2 of the paper has for one network.

    Args:
        title: the data set and the network.
        points: lowest NFE within 3 % of the best FID, by the paper's name of the series.
        speedup: as the paper reports it, its original sampler against its own choices.
    """

    title: str
    points: dict[str, Published]
    speedup: float | None


class Paper(NamedTuple):
    """The published figures in use.

    Args:
        citation: what to cite.
        status: how sure the figures are, in short.
        meaning: the same in a sentence.
        panels: by the paper's name of the network.
    """

    citation: str
    status: str
    meaning: str
    panels: dict[str, PaperPanel]


@cache
def load_paper() -> Paper:
    """Read the published figures once."""
    data = yamlfile.load(FILE).data
    status = data["statuses"]["figure2"]
    panels = {key: _panel(data["titles"].get(key, key), entry) for key, entry in data["figure2"].items()}
    return Paper(data["citation"], status["status"], status["meaning"], panels)


def _panel(title: str, entry: dict[str, Any]) -> PaperPanel:
    points = {name: Published(*value) for name, value in entry.items() if isinstance(value, list)}
    return PaperPanel(title, points, entry.get("speedup"))
