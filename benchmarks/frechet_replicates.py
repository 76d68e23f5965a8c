"""What the interval of a Frechet distance costs, and what cheaper replicates and another bias would be worth.

python -m benchmarks.frechet_replicates [--repeats 100] [--only costs|replicates] [--write FILE]

`costs`: CPU time of moments, distance and interval of 2048 features in one process, over that of a plain FID without an
interval: moments in float64 and `scipy.linalg.sqrtm` of the product.

`replicates`: samples of known distance, many times over. The exact delete-a-block jackknife is set against

* replicates by the first derivative of the distance (Efron 1982, the infinitesimal jackknife): what it leaves out, the
  bias, is the same for all blocks (`derivative`), or is shared among them by the square of their spread
  (`derivative_by_spread`); how much that is in all is taken from the exact replicates;
* the bias of 1/N from two disjoint halves, 2 F(N) - mean F(N/2) (`halves`).
"""

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.metrics import WIDTH, general_root
from benchmarks.output import show
from harness.metrics.features.configs import DigitsFeatures
from harness.metrics.frechet import frechet
from harness.metrics.references import find_reference, read_reference
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.metrics.statistics.jackknife import BLOCKS, Interval, Replicates, jackknife_of, pseudo_values
from harness.metrics.statistics.moments import Moments, MomentStream

COUNTS = (1_000, 1_500, 3_000, 10_000)
"""Samples of 2048 features: fewer than features, fewer than 4 of each, and more."""

NARROW = 64
"""Features of the simulations."""

TIMES = (4, 8, 24)
"""Samples over features."""

Draw = Callable[[np.random.Generator, int], np.ndarray]


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU time and result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def streamed(rows: np.ndarray) -> list[Moments]:
    """The moments of twelve blocks, summed as `harness eval` does."""
    blocks = []
    for part in np.array_split(rows, BLOCKS):
        stream = MomentStream()
        stream.add(part)
        blocks.append(stream.moments())
    return blocks


def costs(count: int) -> dict[str, float]:
    """Skewed features [count, 2048], most of them near 0, as of a last pooling layer."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 * np.arange(1, WIDTH + 1) ** -0.5

    def draw(n: int, scale: float) -> np.ndarray:
        rows = rng.normal(size=(n, WIDTH)) @ mix.T * scale + 0.1 * rng.normal(size=(n, WIDTH))
        return np.maximum(rows, -0.02).astype(np.float32)

    real, rows = Moments.of(draw(4 * WIDTH, 1.0)), draw(count, 1.1)
    sigma, mu = real.covariance, real.mean

    def plain() -> float:
        wide = rows.astype(np.float64)
        return general_root(wide.mean(0), np.cov(wide, rowvar=False), mu, sigma)

    reference = FrechetReference(mu, sigma)  # the first one loads the libraries, whose time is not the distance's
    frechet(streamed(rows[:100, :300]), FrechetReference(mu[:300], sigma[:300, :300]))
    plain_seconds, value = cpu_seconds(plain)
    moments_seconds, blocks = cpu_seconds(lambda: streamed(rows))
    total = Moments.merge(blocks)
    factor_seconds, reference = cpu_seconds(lambda: FrechetReference(mu, sigma))
    distance_seconds, _ = cpu_seconds(lambda: frechet([total], reference))
    interval_seconds, estimate = cpu_seconds(lambda: frechet(blocks, reference))
    ours = moments_seconds + factor_seconds + interval_seconds
    return {
        "samples": count,
        "plain_seconds": plain_seconds,
        "moments_seconds": moments_seconds,
        "distance_seconds": factor_seconds + distance_seconds,
        "distance_and_interval_seconds": factor_seconds + interval_seconds,
        "distance_over_plain": (moments_seconds + factor_seconds + distance_seconds) / plain_seconds,
        "distance_and_interval_over_plain": ours / plain_seconds,
        "relative_difference": abs(estimate.value - value) / abs(value),
    }


class Population(NamedTuple):
    """Samples whose distance is known: draws, their true mean [d] and covariance [d, d]."""

    draw: Draw
    mean: np.ndarray
    covariance: np.ndarray


def populations() -> dict[str, tuple[Population, FrechetReference]]:
    """What is drawn from, and what it is compared with, by name."""
    d, rng = NARROW, np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    units: dict[str, Draw] = {  # independent of each other, mean 0 and variance 1
        "Gaussian": lambda rng, n: rng.normal(size=(n, d)),
        "skewed": lambda rng, n: rng.exponential(size=(n, d)) - 1,
        "heavy tails": lambda rng, n: rng.normal(size=(n, d)) * np.sqrt(3 / rng.chisquare(5, size=(n, 1))),
    }
    found = {}
    for name, unit in units.items():
        for decay, shift in ((0.5, 1.1), (1.0, 1.0), (1.0, 1.2)):
            sd = np.arange(1, d + 1) ** -decay
            scales = sd * (1 if shift == 1 else shift * np.linspace(0.9, 1.1, d))
            mix = (turn * scales).T

            def draw(rng: np.random.Generator, n: int, unit: Draw = unit, mix: np.ndarray = mix) -> np.ndarray:
                return unit(rng, n) @ mix

            reference = FrechetReference(np.zeros(d), (turn * sd**2) @ turn.T)
            population = Population(draw, np.zeros(d), mix.T @ mix)
            found[f"{name}, sd of feature i ~ i^-{decay:g}, scaled by {shift:g}"] = population, reference
    features = DigitsFeatures()
    statistics = read_reference(find_reference("digits", features), features).statistics
    assert statistics.features is not None
    for scale in (1.0, 1.1):
        rows = statistics.mu + (statistics.features.astype(np.float64) - statistics.mu) * scale

        def pick(rng: np.random.Generator, n: int, rows: np.ndarray = rows) -> np.ndarray:
            return rows[rng.integers(len(rows), size=n)]

        population = Population(pick, rows.mean(0), np.cov(rows.T, bias=True))
        found[f"digits, scaled by {scale:g}"] = population, statistics.frechet()
    return found


class Derivative(NamedTuple):
    """The first derivative of the trace of the root at the covariance of all samples.

    Args:
        root: the trace.
        transport: [d, d] A, twice the derivative: d tr (S1 S2)^(1/2) = 1/2 tr (A dS1).
        second: [d, d] B, for which tr (B S) changes as the bias of the root does when the spread of samples changes.
    """

    root: float
    transport: np.ndarray
    second: np.ndarray

    @classmethod
    def at(cls, covariance: np.ndarray, factor: np.ndarray) -> "Derivative":
        """From S1 [d, d] and F2 [d, d], S2 = F2 F2^T.

        With M = F2^T S1 F2 = V diag(l) V^T: A = F2 M^(-1/2) F2^T, and the second derivative in a direction H of M, in
        the basis V, is -1/2 sum_ij H_ij^2 / (r_i r_j (r_i + r_j)), r = l^(1/2). Its mean over Gaussian samples has the
        summands r_i r_j / (r_i + r_j); B weighs every direction by its sum.
        """
        values, vectors = np.linalg.eigh(factor.T @ covariance @ factor)
        roots, turned = np.sqrt(values), factor @ vectors
        shares = (roots[:, None] * roots / (roots[:, None] + roots)).sum(1) / values
        return cls(float(roots.sum()), (turned / roots) @ turned.T, (turned * shares) @ turned.T)


class Look(NamedTuple):
    """One repetition: estimates at infinite N and standard errors, by method."""

    estimates: dict[str, float]
    errors: dict[str, float]
    held: dict[str, bool]


def look(blocks: list[Moments], reference: FrechetReference, factor: np.ndarray, truth: float) -> Look:
    """All methods on the same blocks."""
    exact = frechet(blocks, reference)
    total, sizes, n = Moments.merge(blocks), exact.sizes, int(exact.sizes.sum())
    derivative = Derivative.at(total.covariance, factor)
    linear, spread = np.empty(len(blocks)), np.empty(len(blocks))
    for index, block in enumerate(blocks):
        rest = total.without(block)
        apart = np.square(rest.mean - reference.mu).sum() + rest.covariance.trace() + reference.trace
        linear[index] = apart - derivative.root - (derivative.transport * rest.covariance).sum()
        off = block.mean - total.mean
        spread[index] = (derivative.second * (block.scatter / block.n + np.outer(off, off))).sum()
    left = exact.replicates - linear  # what the derivative leaves out
    steps = 1 / (n - sizes) - 1 / n
    shape = steps * spread**2
    halves = [Moments.merge(blocks[::2]), Moments.merge(blocks[1::2])]
    of_halves = np.mean([reference.distance(half.mean, half.covariance) for half in halves])
    ways = {
        "exact": exact.replicates,
        "derivative": linear + steps * (left.sum() / steps.sum()),
        "derivative_by_spread": linear + shape * (left.sum() / shape.sum()),
    }
    at = {
        name: jackknife_of(pseudo_values(Replicates(exact.value, values, sizes)), sizes)
        for name, values in ways.items()
    }
    reach = at["exact"].high - at["exact"].estimate
    by_halves = 2 * exact.value - float(of_halves)
    return Look(
        {"exact": at["exact"].estimate, "halves": by_halves},
        {name: interval.se for name, interval in at.items()},
        {"exact": at["exact"].low <= truth <= at["exact"].high, "halves": abs(by_halves - truth) <= reach},
    )


def _interval(replicates: Replicates) -> Interval:
    return jackknife_of(pseudo_values(replicates), replicates.sizes)


def replicates(repeats: int) -> dict[str, dict[str, Any]]:
    """Standard errors over those of the exact jackknife, and what the two estimates at infinite N are off."""
    found: dict[str, dict[str, Any]] = {}
    for name, (population, reference) in populations().items():
        factor = np.linalg.cholesky(reference.sigma)
        truth = reference.distance(population.mean, population.covariance)
        for times in TIMES:
            rng = np.random.default_rng(times)
            looks = []
            for _ in range(repeats):
                rows = population.draw(rng, times * NARROW)
                blocks = [Moments.of(part) for part in np.array_split(rows, BLOCKS)]
                looks.append(look(blocks, reference, factor, truth))
            found[f"{name}, N = {times} d"] = rated(looks, truth)
    return found


def rated(looks: list[Look], truth: float) -> dict[str, Any]:
    """Over repetitions."""
    found: dict[str, Any] = {"truth": round(truth, 6)}
    exact = np.array([one.errors["exact"] for one in looks])
    for name in ("derivative", "derivative_by_spread"):
        ratio = np.array([one.errors[name] for one in looks]) / exact
        low, middle, high = np.quantile(ratio, (0.05, 0.5, 0.95)).round(3).tolist()
        found[f"se_{name}_over_exact"] = {"5 %": low, "median": middle, "95 %": high}
    for name in ("exact", "halves"):
        estimates = np.array([one.estimates[name] for one in looks])
        found[f"at_infinite_n_{name}"] = {
            "bias": round(float(estimates.mean() - truth), 6),
            "sd": round(float(estimates.std()), 6),
            "held": round(float(np.mean([one.held[name] for one in looks])), 3),
        }
    return found


def main() -> None:
    """Run both parts, print them and, if asked, write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--only", choices=("costs", "replicates"))
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {"device": f"{platform.machine()} CPU", "repeats": given.repeats}
    if given.only != "replicates":
        found["costs"] = [costs(count) for count in COUNTS]
    if given.only != "costs":
        found["replicates"] = replicates(given.repeats)
    show(found, given.write)


if __name__ == "__main__":
    main()
