"""What the intervals of a Frechet distance are worth: how often they hold the truth, and what common seeds save.

python -m benchmarks.intervals [--write FILE] [--repeats 400]
"""

import argparse
import math
from pathlib import Path

import numpy as np

import harness
from benchmarks.output import show
from harness.metrics import FID, FIDInfinity, FrechetDigits
from harness.metrics.features.configs import DigitsFeatures, Pixels
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.reference_statistics import Statistics
from harness.metrics.references import Reference, find_reference, read_reference
from harness.metrics.statistics.jackknife import Replicates, compare, jackknife
from harness.metrics.statistics.moments import Moments

BLOCKS = 12


def cut(features: np.ndarray) -> list[FeatureSummary]:
    """Blocks of consecutive rows."""
    return [FeatureSummary(Moments.of(part)) for part in np.array_split(features, BLOCKS)]


def coverage(width: int, n: int, scale: float, shift: float, repeats: int) -> dict[str, float]:
    """Gaussian features against a standard Gaussian, whose distance d (shift^2 + (scale - 1)^2) is known.

    `expected` is the share of intervals that hold the mean distance at this n over the repeats, which is what the
    interval is about; `truth` the share that hold the distance at infinite n, for the distance and extrapolated.
    """
    rng = np.random.default_rng(width + n)
    statistics = Statistics(np.zeros(width), np.eye(width))
    metrics = FID(extractor=Pixels(), reference="known"), FIDInfinity(extractor=Pixels(), reference="known")
    found = []
    for _ in range(repeats):
        blocks = cut(rng.normal(size=(n, width)) * scale + shift)
        found.append([metric.compute(blocks, Reference("known", statistics)) for metric in metrics])
    truth = width * (shift**2 + (scale - 1) ** 2)
    values = np.array([[one.value for one in pair] for pair in found])
    low = np.array([[one.interval().low for one in pair] for pair in found])
    high = np.array([[one.interval().high for one in pair] for pair in found])
    mean = values.mean(0)

    def holds(target: np.ndarray | float) -> np.ndarray:
        return ((low <= target) & (target <= high)).mean(0)

    return {
        "width": width,
        "n": n,
        "truth": truth,
        "bias": float(mean[0] - truth),
        "bias_extrapolated": float(mean[1] - truth),
        "expected": float(holds(mean)[0]),
        "truth_held": float(holds(truth)[0]),
        "truth_held_extrapolated": float(holds(truth)[1]),
        "repeats": repeats,
    }


def pairing(name: str, n: int, steps: tuple[int, int]) -> dict[str, float]:
    """Two step counts of Heun on an embedded network: the width of the difference's interval, paired and not."""
    denoiser = harness.load_denoiser(name)
    extractor = DigitsFeatures().load((1, 8, 8))
    choice = FrechetDigits()
    reference = read_reference(find_reference("digits", choice.features), choice.features)
    sides = []
    for count in steps:
        out = harness.sample(denoiser, harness.Sampler(steps=count), seeds=range(n))
        number = choice.compute(cut(extractor(out.images).numpy()), reference)
        sizes = np.array([len(part) for part in np.array_split(np.arange(n), BLOCKS)])
        sides.append(Replicates(number.value, number.replicates, sizes))
    paired = compare(*sides).difference
    alone = [jackknife(*side) for side in sides]
    assert paired is not None and all(alone)
    apart = math.hypot(*(side.high - side.estimate for side in alone if side))
    half = paired.high - paired.estimate
    return {
        "n": n,
        "steps": list(steps),
        "values": [side.full for side in sides],
        "difference": paired.estimate,
        "half_width_paired": half,
        "half_width_unpaired": apart,
        "unpaired_over_paired": apart / half,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--repeats", type=int, default=400)
    options = parser.parse_args()
    figures = {
        "coverage": [
            coverage(16, 2000, 1.2, 0.2, options.repeats),
            coverage(16, 2000, 1.05, 0.05, options.repeats),
            coverage(64, 1000, 1.2, 0.2, options.repeats),
        ],
        "pairing": {
            "digits-edm": pairing("digits-edm", 640, (6, 18)),
            "digits-vp": pairing("digits-vp", 640, (12, 18)),
        },
    }
    show(figures, options.write)


if __name__ == "__main__":
    main()
