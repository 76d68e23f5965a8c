"""What the ranges of rules that pick a point of a curve are worth: how often they hold the truth, how narrow they are.

python -m benchmarks.decisions [--repeats 400] [--store results/decisions.sqlite] [--write FILE]

Three parts. Curves of known truth are simulated. Blocks of seeds are drawn with replacement from a pool of 7,680 seeds
of real networks (`benchmarks/decisions.yaml`, run first where the store lacks it), whose truth is the plain distance of
that pool, the covariance over n. And the pool is cut into 20 disjoint blocks of 384 seeds, as if 20 people had run a
grid each; their truth is the estimate at infinite N from all 7,680.
"""

import argparse
import math
import platform
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.output import show
from harness.execution.chunks import load_chunks
from harness.execution.measurements import measurements, with_reference
from harness.execution.run import run
from harness.experiments.plan import plan
from harness.metrics import FrechetDigits
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.references import Reference
from harness.metrics.statistics.decisions import FACTOR, Curve, Outcome, crossing, curve_of, lowest_within, power
from harness.metrics.statistics.jackknife import Replicates, jackknife_of
from harness.metrics.statistics.moments import Moments
from harness.store.database import Store

GRID = Path(__file__).with_name("decisions.yaml")
BLOCK, PARTS = 384, 12
"""Seeds of one of the 20 disjoint blocks, and the parts that its jackknife leaves out."""

SHAPES = {  # metric at NFE 5, 9, 15, 21, 31, 47, 79; the rule's answer is where it first is within 3 %
    "poor network": [1.2, 0.95, 0.87, 0.86, 0.852, 0.851, 0.85],
    "fair network": [0.5, 0.3, 0.24, 0.225, 0.222, 0.221, 0.22],
    "still falling": [2, 1.5, 1.2, 1.1, 1.05, 1.02, 1.0],
    "flat": [1.0] * 7,
    "just within": [1.2, 1.1, 1.05, 1.029, 1.02, 1.0, 1.0],
    "just without": [1.2, 1.1, 1.05, 1.031, 1.02, 1.0, 1.0],
}
NFE = np.array([5.0, 9, 15, 21, 31, 47, 79])
POWERS = (1, 2, 4, 8)
"""Of the simulated curves: 3 % of the best over the standard error of a paired difference."""

SIMULATED_BLOCKS = 16
"""As many blocks as a trial of 1,024 images in chunks of 64 has."""


class Trial(NamedTuple):
    """What one repetition found.

    Args:
        rule, end: outcomes of the two rules.
        low, high: the interval of the best value at infinite N.
        power: of the curve.
    """

    rule: Outcome
    end: Outcome
    low: float
    high: float
    power: float


def look(curve: Curve, best: int) -> Trial:
    """Apply both rules to a curve whose true best point is known."""
    at, strength = jackknife_of(curve.pseudo[:, best], curve.sizes), power(curve)
    return Trial(lowest_within(curve), crossing(curve), at.low, at.high, strength.ratio if strength else math.nan)


def rated(trials: list[Trial], values: np.ndarray, costs: np.ndarray) -> dict[str, float]:
    """Shares over repetitions; `values` [k] are the true ones."""
    answer = float(costs[int(np.argmax(values <= FACTOR * values.min()))])
    end = crossing(Curve(costs, np.tile(values, (12, 1)), np.full(12, 32))).cost or math.nan
    place = {cost: index for index, cost in enumerate(costs.tolist())}
    held = np.array([trial.rule.low <= answer <= trial.rule.high for trial in trials])
    decided = np.array([not trial.rule.undecided for trial in trials])
    widths = [place[trial.rule.high] - place[trial.rule.low] + 1 for trial in trials]
    ends = [(trial.end.low or 0) - 1e-9 <= end <= (trial.end.high or 0) + 1e-9 for trial in trials]
    best = float(values.min())
    return {
        "answer": answer,
        "power": float(np.median([trial.power for trial in trials])),
        "rule_held": float(held.mean()),
        "decided": float(decided.mean()),
        "decided_and_wrong": float((decided & ~held).mean()),
        "median_points": float(np.median(widths)),
        "crossing_held": float(np.mean(ends)),
        "best_value_held": float(np.mean([trial.low <= best <= trial.high for trial in trials])),
    }


def simulated(repeats: int) -> dict[str, dict[str, float]]:
    """Curves of known truth: noise that all points share, as seeds do, and noise of each point's own."""
    rng, g = np.random.default_rng(0), SIMULATED_BLOCKS
    found = {}
    for name, shape in SHAPES.items():
        values = np.array(shape)
        best = int(values.argmin())
        for strength in POWERS:
            own_se = (FACTOR - 1) * values.min() / strength / math.sqrt(2)
            trials = []
            for _ in range(repeats):
                shared = rng.normal(size=(g, 1)) * 0.02 * math.sqrt(g) * values / values.max()
                own = rng.normal(size=(g, len(values))) * own_se * math.sqrt(g)
                trials.append(look(Curve(NFE, values + shared + own, np.full(g, 64)), best))
            found[f"{name}, power {strength}"] = rated(trials, values, NFE)
    return found


class Pool(NamedTuple):
    """The chunks of one network: moments by NFE, each a list of consecutive chunks of 32 seeds."""

    costs: np.ndarray
    chunks: list[list[Moments]]
    reference: Reference

    def curve(self, groups: list[list[int]]) -> Curve:
        """The curve whose blocks are these groups of chunks."""
        points = [self._point([[own[index] for index in group] for group in groups]) for own in self.chunks]
        return curve_of(points, self.costs.tolist())

    def _point(self, groups: list[list[Moments]]) -> Replicates:
        blocks = [FeatureSummary(Moments.merge(group)) for group in groups]
        found = METRIC.compute(blocks, self.reference)
        return Replicates(found.value, found.replicates, found.sizes)

    def plain(self) -> np.ndarray:
        """[k] the distances of the pool itself: what blocks drawn from it are drawn from, covariance over n."""
        merged = [Moments.merge(own) for own in self.chunks]
        frechet = self.reference.statistics.frechet()
        return np.array([frechet.distance(all_.mean, all_.scatter / all_.n) for all_ in merged])


def pools(store: Store) -> dict[str, Pool]:
    """The pool of each network, run first where the store lacks it."""
    made = plan(GRID)
    run(made, store, device="cpu")
    (measurement,) = [with_reference(each, store) for each in measurements(made)]
    assert measurement.against is not None
    found = {}
    for panel in made.grid.denoisers:
        items = sorted((item for item in made.items if item.panel == panel), key=lambda item: item.nfe)
        chunks = []
        for item in items:
            loaded = load_chunks(store, measurement.sources, item.trial.fingerprint, measurement.seeds)
            chunks.append([METRIC.read([chunk.arrays]).moments for chunk in loaded])
        found[panel] = Pool(np.array([float(item.nfe) for item in items]), chunks, measurement.against)
    return found


def redrawn(pool: Pool, repeats: int) -> dict[str, dict[str, float]]:
    """Blocks drawn with replacement from the pool, at two numbers of images."""
    rng, values, found = np.random.default_rng(1), pool.plain(), {}
    for count, per in ((PARTS, 1), (16, 3)):
        trials = []
        for _ in range(repeats):
            drawn = rng.integers(len(pool.chunks[0]), size=(count, per)).tolist()
            trials.append(look(pool.curve(drawn), int(values.argmin())))
        found[f"N = {count * per * 32}"] = rated(trials, values, pool.costs)
    return found


def twenty_blocks(pool: Pool) -> dict[str, Any]:
    """Disjoint blocks of 384 seeds, each with its own verdict, against the whole pool at infinite N."""
    total = len(pool.chunks[0])
    whole = pool.curve([[index] for index in range(total)])
    values = whole.values
    answer = float(pool.costs[int(np.argmax(values <= FACTOR * values.min()))])
    each = [lowest_within(pool.curve([[start + part] for part in range(PARTS)])) for start in range(0, total, PARTS)]
    place = {cost: index for index, cost in enumerate(pool.costs.tolist())}
    points = [place[rule.high] - place[rule.low] + 1 for rule in each if rule.low and rule.high]
    return {
        "at_infinite_n": dict(zip(map(str, pool.costs.tolist()), values.round(5).tolist(), strict=True)),
        "answer": answer,
        "blocks": len(each),
        "range_held": sum(rule.low <= answer <= rule.high for rule in each if rule.low and rule.high),
        "undecided": sum(bool(rule.undecided) for rule in each),
        "decided_and_wrong": sum(not rule.undecided and not rule.low <= answer <= rule.high for rule in each),
        "at_most_two_points": sum(count <= 2 for count in points),
        "picked": {f"{cost:g}": sum(rule.cost == cost for rule in each) for cost in pool.costs.tolist()},
    }


METRIC = FrechetDigits()


def main() -> None:
    """Run all parts, print them and, if asked, write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--store", default="results/decisions.sqlite")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    with Store(given.store) as store:
        every = pools(store)
    found: dict[str, Any] = {
        "device": f"{platform.machine()} CPU",
        "repeats": given.repeats,
        "simulated": simulated(given.repeats),
        "redrawn": {name: redrawn(pool, given.repeats) for name, pool in every.items()},
        "twenty_blocks": {name: twenty_blocks(pool) for name, pool in every.items()},
    }
    show(found, given.write)


if __name__ == "__main__":
    main()
