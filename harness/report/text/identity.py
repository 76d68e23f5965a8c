"""What identifies each metric of a page, and what its rows ask to keep in mind."""

from typing import NamedTuple

from harness.report.data import GridData
from harness.report.text.numbers import NONE, listing, whole

NO_REFERENCE = "none"


class Identity(NamedTuple):
    """A metric: its title, N, its seeds, and what must be equal for numbers to be comparable."""

    title: str
    n: str
    seeds: str
    extractor: str
    reference: str
    method: str


def identity(data: GridData) -> Identity:
    """A metric's identity as text; `reference` is "–" where it compares with nothing."""
    metric = data.metric
    method = str(metric.get("method") or "")
    reference = str(metric["reference"]).removeprefix(f"{method} | " if method else "")
    return Identity(
        title=data.title,
        n=whole(metric["n"]),
        seeds=seeds(data),
        extractor=str(metric["extractor"]),
        reference=NONE if reference in (method, NO_REFERENCE) else reference,
        method=method or ("Fréchet distance" if data.is_distance else NONE),
    )


def seeds(data: GridData) -> str:
    """The ranges of seeds: `0 to 511`, or `0 to 511, 512 to 1023 and 1024 to 1535`."""
    n = data.metric["n"]
    return listing([f"{first} to {first + n - 1}" for first in data.first_seeds])


def cautions(data: GridData) -> list[str]:
    """What the rows of a metric ask to keep in mind, each sentence once."""
    told = (sentence for row in data.rows for sentence in (row.get("details") or {}).get("cautions", []))
    return list(dict.fromkeys(told))


def all_cautions(every: list[GridData]) -> list[str]:
    """The same of all metrics, each sentence once, after the titles of those that it is about."""
    titles: dict[str, list[str]] = {}
    for data in every:
        for sentence in cautions(data):
            titles.setdefault(sentence, []).append(data.title)
    return [f"{listing(about)}: {sentence}" if len(every) > 1 else sentence for sentence, about in titles.items()]
