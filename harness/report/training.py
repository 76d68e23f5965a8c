"""Networks that a grid trains: configurations x architectures x training seeds x snapshots, and what each got.

A plan with the key `training` names its configurations (`rows`, the paper's A to F), its architectures (`columns`), and
which denoiser of the grid is which network. What a network got is the metric at infinite N where the metric is a
distance with blocks of seeds, since the bias of 1/N is another for each network; else its value.

A configuration is judged by the spread over its training seeds. The jackknife over images does not know that spread: it
says how far one network's number would move with other images.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from harness.core.published import load_paper
from harness.metrics.statistics.jackknife import Replicates, corrected
from harness.metrics.statistics.welch import MeanDifference, deviation, mean, mean_difference
from harness.report.data import GridData, TrialResult
from harness.report.text.numbers import as_float, plural

Direction = Literal["better", "worse", "open"]


class Row(NamedTuple):
    """A training configuration: its name, and what it changes."""

    name: str
    about: str


class Column(NamedTuple):
    """An architecture: its name, its column of the paper's Table 2 ("" for none), and the FIDs there."""

    name: str
    paper: str
    published: Mapping[str, float]


class Network(NamedTuple):
    """A trained network: its denoiser in the grid, and which it is.

    Args:
        panel: name of the denoiser.
        row, column: configuration and architecture.
        seed: of the training.
        images: that it was trained on.
        is_last: whether it is the final snapshot of its training.
    """

    panel: str
    row: str
    column: str
    seed: int
    images: float
    is_last: bool


class Levels(NamedTuple):
    """What a training knows by noise level, each [K] by ascending sigma; empty where it is not known.

    Args:
        row, column, seed: which training.
        sigma: noise levels, in units of the data.
        before, after: mean loss lambda |D - y|^2 per pixel, of the untrained network and of the final average.
        density: of ln sigma in training.
        effective_weight: lambda c_out^2.
        input_variance: of c_in x.
        target_variance: of what the raw network is to give, (y - c_skip x) / c_out.
    """

    row: str
    column: str
    seed: int
    sigma: tuple[float, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    density: tuple[float, ...]
    effective_weight: tuple[float, ...]
    input_variance: tuple[float, ...]
    target_variance: tuple[float, ...]


class Training(NamedTuple):
    """The training part of a plan, in the order of the paper."""

    rows: list[Row]
    columns: list[Column]
    networks: list[Network]
    levels: list[Levels]

    @property
    def snapshots(self) -> bool:
        """Whether some training has more than its last network."""
        return any(not network.is_last for network in self.networks)

    @property
    def pictured(self) -> dict[str, Network]:
        """Networks whose samples are shown, by denoiser: the last snapshot of the first training seed of each."""
        first: dict[tuple[str, str], Network] = {}
        for network in sorted(self.networks, key=lambda network: network.seed):
            if network.is_last:
                first.setdefault((network.row, network.column), network)
        return {network.panel: network for network in first.values()}


def training_of(plan: Mapping[str, Any]) -> Training | None:
    """The training part of a plan; None for grids that train nothing."""
    told = plan.get("training")
    if not told:
        return None
    published = load_paper().configurations.columns
    return Training(
        rows=[Row(row["name"], row.get("about") or "") for row in told["rows"]],
        columns=[
            Column(column["name"], column.get("paper") or "", published.get(column.get("paper") or "", {}))
            for column in told["columns"]
        ],
        networks=[
            Network(
                entry["panel"],
                entry["row"],
                entry["column"],
                entry["seed"],
                as_float(entry["images"]),
                entry["is_last"],
            )
            for entry in told["networks"]
        ],
        levels=[_levels(entry) for entry in told.get("levels") or ()],
    )


def _levels(entry: Mapping[str, Any]) -> Levels:
    """Lists that are missing, or shorter than the levels, are empty; what is no number is NaN."""
    sigma = tuple(map(as_float, entry["sigma"]))
    lists = {name: tuple(map(as_float, entry.get(name) or ())) for name in Levels._fields[4:]}
    known = {name: values if len(values) == len(sigma) else () for name, values in lists.items()}
    return Levels(entry["row"], entry["column"], entry["seed"], sigma, **known)


class Score(NamedTuple):
    """A network with its trial, and what it got; NaN while that is not done."""

    network: Network
    trial: TrialResult
    value: float


class Standing(NamedTuple):
    """What the networks of one configuration and architecture got.

    Args:
        row, column: which.
        last: the last snapshots, a training seed each, done or not.
        every: all snapshots.
        lower_is_better: which way the metric is better.
    """

    row: Row
    column: Column
    last: list[Score]
    every: list[Score]
    lower_is_better: bool

    @property
    def values(self) -> list[float]:
        """Of the last snapshots that are done, by training seed."""
        return [score.value for score in self.last if score.trial.done]

    @property
    def best(self) -> list[float]:
        """The best snapshot of each training seed of `values`, chosen by the same number: too good throughout."""
        seeds: dict[int, list[float]] = {score.network.seed: [] for score in self.last if score.trial.done}
        for score in self.every:
            if score.trial.done and score.network.seed in seeds:
                seeds[score.network.seed].append(score.value)
        choose = min if self.lower_is_better else max
        return [choose(values) for values in seeds.values()]

    @property
    def mean(self) -> float:
        return mean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        return deviation(self.values)

    @property
    def missing(self) -> str:
        """Why there are fewer networks than planned; "" where all are done."""
        if not self.last:
            return "no network is planned"
        absent = [score.trial for score in self.last if not score.trial.done]
        why = next((f" ({trial.reason})" for trial in absent if trial.reason), "")
        return f"{len(absent)} of {plural(len(self.last), 'network')} not done{why}" if absent else ""


class ScoreBoard(NamedTuple):
    """A grid that trains, under one metric and judged by one series.

    Args:
        data: the grid under the metric.
        series: name of the curve by which networks are judged.
        x: its place on the horizontal axis; NaN against NFE, and for a series without one.
        at_infinity: whether scores are the metric's estimates at infinite N.
        standings: by row and column.
    """

    data: GridData
    series: str
    x: float
    at_infinity: bool
    standings: dict[tuple[str, str], Standing]


class Step(NamedTuple):
    """From one configuration to the next, on one architecture.

    Args:
        before, after: the two.
        gap: mean of `after` less that of `before`; None with fewer than 2 seeds on a side.
        direction: where the interval of the gap lies; `open` where it holds 0 or there is none.
        published: the paper's change, as a share of its FID before; NaN without one.
        said: what the paper's change says; `open` where it is within what such an FID moves from run to run.
    """

    before: Standing
    after: Standing
    gap: MeanDifference | None
    direction: Direction
    published: float
    said: Direction

    @property
    def change(self) -> float:
        """The change of the mean, as a share of it; NaN where a side is missing or the first is not above 0."""
        return self.after.mean / self.before.mean - 1 if self.before.mean > 0 else math.nan


def steps(training: Training, board: ScoreBoard, column: Column) -> list[Step]:
    """Each configuration against the one before it, in the order of the plan."""
    pairs = zip(training.rows, training.rows[1:], strict=False)
    return [step(board.standings[one.name, column.name], board.standings[two.name, column.name]) for one, two in pairs]


def step(before: Standing, after: Standing) -> Step:
    """One configuration against another of the same architecture."""
    gap, sign = mean_difference(after.values, before.values), 1 if after.lower_is_better else -1
    direction: Direction = "open"
    if gap:
        direction = "better" if sign * gap.high < 0 and sign * gap.low < 0 else "open"
        direction = "worse" if sign * gap.high > 0 and sign * gap.low > 0 else direction
    fids = after.column.published
    known = before.row.name in fids and after.row.name in fids
    published = fids[after.row.name] / fids[before.row.name] - 1 if known else math.nan
    said: Direction = "open"
    if abs(published) > load_paper().configurations.spread:
        said = "better" if published < 0 else "worse"
    return Step(before, after, gap, direction, published, said)


def judged_metrics(every: Sequence[GridData]) -> list[GridData]:
    """The metrics by which configurations are judged: all distances, or else the first metric."""
    return [data for data in every if data.is_distance] or list(every[:1])


def score_boards(training: Training, data: GridData) -> list[ScoreBoard]:
    """A board for each series that judges networks at one place.

    Of several NFE that is the largest. A series along another axis has a figure of its own; it judges at the axis'
    least place only where no series stands outside of that axis.
    """
    names = [series["name"] for series in data.plan["series"]]
    by_series = {name: found for name in names if (found := _by_network(training, data, name))}
    level = {
        name: found for name, found in by_series.items() if all(math.isnan(t.x) for own in found.values() for t in own)
    }
    return [_board(training, data, name, found) for name, found in (level or by_series).items()]


def score_board(training: Training, data: GridData, series: str | None = None) -> ScoreBoard | None:
    """The board of one series, at its least place where it has several; of the first that judges, if none is named."""
    if series is None:
        return next(iter(score_boards(training, data)), None)
    found = _by_network(training, data, series)
    return _board(training, data, series, found) if found else None


def _by_network(training: Training, data: GridData, series: str) -> dict[str, list[TrialResult]]:
    """The trials of a series by the denoiser that they are of."""
    of_panel = {item["panel"]: item["denoiser"] for item in data.plan["items"]}
    known = {network.panel for network in training.networks}
    found: dict[str, list[TrialResult]] = {}
    for trial in data.trials:
        name = of_panel[trial.panel]
        if trial.series == series and name in known:
            found.setdefault(name, []).append(trial)
    return found


def _board(training: Training, data: GridData, series: str, found: Mapping[str, list[TrialResult]]) -> ScoreBoard:
    if data.against_nfe:
        judging = {
            name: max(own, key=lambda trial: 0.0 if math.isnan(trial.nfe) else trial.nfe) for name, own in found.items()
        }
        x = math.nan
    else:
        x = min(trial.x for own in found.values() for trial in own)
        at = {name: [trial for trial in own if trial.x == x or math.isnan(x)] for name, own in found.items()}
        judging = {name: own[0] for name, own in at.items() if own}
    at_infinity = is_corrected(judging.values(), data)
    return ScoreBoard(data, series, x, at_infinity, _standings(training, data, judging, at_infinity))


def is_corrected(trials: Iterable[TrialResult], data: GridData) -> bool:
    """Whether every finished trial has an estimate at infinite N; otherwise all are taken at N, on one scale."""
    return data.is_distance and all(not math.isnan(score(trial, True)) for trial in trials if trial.done)


def score(trial: TrialResult, at_infinity: bool) -> float:
    """What a trial got; NaN while it is not done, or without the blocks of seeds that the estimate takes."""
    if not at_infinity or not trial.done:
        return trial.value
    is_whole = len(trial.blocks) == len(trial.replicates)
    estimate = (
        corrected(Replicates.stored(trial.value, trial.replicates, trial.blocks, trial.end)) if is_whole else None
    )
    return estimate.estimate if estimate else math.nan


def _standings(
    training: Training, data: GridData, judging: Mapping[str, TrialResult], at_infinity: bool
) -> dict[tuple[str, str], Standing]:
    standings = {
        (row.name, column.name): Standing(row, column, [], [], data.lower_is_better)
        for row in training.rows
        for column in training.columns
    }
    for network in sorted(training.networks, key=lambda network: (network.seed, network.images)):
        trial, place = judging.get(network.panel), (network.row, network.column)
        if trial is not None and place in standings:
            made = Score(network, trial, score(trial, at_infinity))
            standings[place].every.append(made)
            if network.is_last:
                standings[place].last.append(made)
    return standings


class AxisPlace(NamedTuple):
    """The last snapshots of a configuration at one place of the horizontal axis: values by training seed, how many."""

    x: float
    values: list[float]
    planned: int


class AxisCurve(NamedTuple):
    """A configuration along the grid's horizontal axis, at the places where a training seed is done."""

    row: Row
    places: list[AxisPlace]


class AxisPanel(NamedTuple):
    """An architecture along the grid's horizontal axis, under one metric and by one series: a curve a configuration."""

    column: Column
    series: str
    at_infinity: bool
    curves: list[AxisCurve]


def axis_panels(training: Training, data: GridData, series: str) -> list[AxisPanel]:
    """Quality along another axis than NFE, averaged over training seeds; none against NFE.

    Args:
        training: the plan's.
        data: the grid under one metric.
        series: name of a curve.
    """
    found = {} if data.against_nfe else _by_network(training, data, series)
    trials = [trial for own in found.values() for trial in own]
    if len({trial.x for trial in trials if not math.isnan(trial.x)}) < 2:
        return []
    at_infinity = is_corrected(trials, data)
    drawn = []
    for column in training.columns:
        curves = [AxisCurve(row, _places(training, found, row, column, at_infinity)) for row in training.rows]
        curves = [curve for curve in curves if curve.places]
        drawn += [AxisPanel(column, series, at_infinity, curves)] if curves else []
    return drawn


def _places(
    training: Training, found: Mapping[str, list[TrialResult]], row: Row, column: Column, at_infinity: bool
) -> list[AxisPlace]:
    own = [
        trial
        for network in training.networks
        if network.is_last and (network.row, network.column) == (row.name, column.name)
        for trial in found.get(network.panel, ())
        if not math.isnan(trial.x)
    ]
    places = []
    for x in sorted({trial.x for trial in own}):
        here = [trial for trial in own if trial.x == x]
        values = [score(trial, at_infinity) for trial in here if trial.done]
        places += [AxisPlace(x, values, len(here))] if values else []
    return places
