"""The figures that were published, for the overlay: read from `published.yaml`, with how sure the reading is."""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from harness.core import yaml

FILE = Path(__file__).with_name("published.yaml")


class Published(NamedTuple):
    """One published point: the FID of another network on another scale, and its NFE."""

    fid: float
    nfe: float


class PaperPanel(NamedTuple):
    """What has been published for one network.

    Args:
        title: the data set and the network.
        points: FID and NFE by the paper's name of the series: in Figure 2 of the lowest NFE within 3 % of the best FID,
            in Figure 4 of the lowest FID.
        speedup: as the paper reports it, its original sampler against its own choices; None outside Figure 2.
        tables: FID by NFE, by name of the series.
        source: whose those are, and what to keep in mind; "" for the paper's own.
    """

    title: str
    points: dict[str, Published]
    speedup: float | None
    tables: dict[str, dict[float, float]]
    source: str = ""


class PaperConfigurations(NamedTuple):
    """What has been published of training configurations: the paper's Table 2.

    Args:
        columns: FID of each configuration (A to F), by the paper's name of the data set and the architecture.
        titles: of the columns, for people.
        status: how sure the figures are, in short.
        meaning: the same in a sentence.
        spread: how far such an FID moves from run to run, as a share of itself.
    """

    columns: dict[str, dict[str, float]]
    titles: dict[str, str]
    status: str
    meaning: str
    spread: float


class Paper(NamedTuple):
    """The published figures in use.

    Args:
        citation: what to cite.
        status: how sure the figures are, in short.
        meaning: the same in a sentence.
        panels: by the paper's name of the network, for Figure 2; for others by figure and name, `figure4.cifar10_vp`.
        configurations: of training.
    """

    citation: str
    status: str
    meaning: str
    panels: dict[str, PaperPanel]
    configurations: PaperConfigurations


@cache
def load_paper() -> Paper:
    """Read the published figures once."""
    data = yaml.load(FILE).data
    status = data["statuses"]["figure2"]
    panels = {
        key if figure == "figure2" else f"{figure}.{key}": _panel(data["titles"].get(key, key), entry)
        for figure in ("figure2", "figure4")
        for key, entry in data[figure].items()
    }
    panels |= {key: _peers(data["titles"][key], entry) for key, entry in data.items() if key.startswith("peers_")}
    return Paper(data["citation"], status["status"], status["meaning"], panels, _configurations(data))


def _configurations(data: dict[str, Any]) -> PaperConfigurations:
    """Table 2, turned: a row of the file has the FIDs of one configuration, column by column."""
    names, status = data["table2"]["columns"], data["statuses"]["table2"]
    rows = {name: entry["fid"] for name, entry in data["table2"].items() if isinstance(entry, dict) and "fid" in entry}
    columns = {name: {row: fids[place] for row, fids in rows.items()} for place, name in enumerate(names)}
    titles = {name: data["titles"][name] for name in names}
    return PaperConfigurations(columns, titles, status["status"], status["meaning"], data["spread"])


def _peers(title: str, entry: dict[str, Any]) -> PaperPanel:
    """Other authors' tables: FID of each series at each NFE."""
    tables = {name: fids for name, fids in entry.items() if isinstance(fids, dict)}
    tables |= {
        name: {nfe: fid for nfe, fid in zip(entry["nfe"], fids, strict=True) if fid is not None}
        for name, fids in entry.items()
        if isinstance(fids, list) and name != "nfe"
    }
    return PaperPanel(title, {}, None, tables, entry["source"])


def _panel(title: str, entry: dict[str, Any]) -> PaperPanel:
    points = {name: Published(*value) for name, value in entry.items() if isinstance(value, list)}
    return PaperPanel(title, points, entry.get("speedup"), {})
