"""What FID costs, in ratios: the distance against a general matrix root, streaming against files, memory against N.

python -m benchmarks.metrics [--write FILE]
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.output import show
from harness.datasets.image_bytes import from_bytes, to_bytes
from harness.datasets.image_set import ImageSet
from harness.datasets.open import open_images
from harness.metrics.evaluate import observe
from harness.metrics.features.configs import Pixels
from harness.metrics.features.extractor import Extractor, Outputs
from harness.metrics.features.inception import InceptionFeatures, InceptionV3
from harness.metrics.statistics.frechet_distance import frechet_distance
from harness.metrics.statistics.moments import MomentStream

WIDTH = 2048


def general_root(mu1: np.ndarray, sigma1: np.ndarray, mu2: np.ndarray, sigma2: np.ndarray) -> float:
    """The distance with the root of the product as a whole: SciPy's Schur method for any matrix."""
    from scipy.linalg import sqrtm

    root = sqrtm(sigma1 @ sigma2)
    return float(np.square(mu1 - mu2).sum() + np.trace(sigma1 + sigma2 - 2 * np.real(root)))


def distances(repeats: int = 3) -> dict[str, float]:
    """One distance of 2048 features, ours and with `scipy.linalg.sqrtm`, by turns; medians."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5
    sides = []
    for scale, shift in ((1.0, 0.0), (1.1, 0.05)):
        rows = rng.normal(size=(5000, WIDTH)) @ mix * scale + 0.2 * rng.normal(size=(5000, WIDTH)) + shift
        sides += [rows.mean(0), np.cov(rows.T)]
    ours, theirs, values = [], [], []
    for _ in range(repeats):
        for spent, method in ((ours, frechet_distance), (theirs, general_root)):
            started = time.perf_counter()
            values.append(method(*sides))
            spent.append(time.perf_counter() - started)
    return {
        "seconds": statistics.median(ours),
        "sqrtm_seconds": statistics.median(theirs),
        "over_sqrtm": statistics.median(ours) / statistics.median(theirs),
        "relative_difference": abs(values[0] - values[1]) / abs(values[1]),
    }


def detour(extractor: Extractor, count: int, side: int = 32) -> dict[str, float]:
    """Samples to moments, streamed and over PNG files, by turns; images a second."""
    images = torch.rand(count, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    streamed, filed = [], []
    extractor(images[:8])
    for _ in range(2):
        started = time.perf_counter()
        stream = MomentStream()
        for batch in images.split(128):
            stream.add(extractor(batch))
        streamed.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            for index, image in enumerate(to_bytes(images).permute(0, 2, 3, 1).numpy()):
                Image.fromarray(image).save(Path(folder) / f"{index:06}.png")
            again = MomentStream()
            for part in open_images(folder).batches(128):
                again.add(extractor(from_bytes(torch.from_numpy(part))))
            filed.append(time.perf_counter() - started)
        one, other = stream.moments(), again.moments()
        assert np.abs(one.mean - other.mean).max() < 1e-9 * np.abs(one.mean).max(), "the detour changed the features"
    fast, slow = count / min(streamed), count / min(filed)
    return {"images": count, "streamed_per_second": fast, "over_files_per_second": slow, "ratio": fast / slow}


class Random(Extractor):
    """2048 features without a network: a random projection of pixels, rectified."""

    def __init__(self) -> None:
        super().__init__("random", WIDTH)
        self.weights = torch.randn(3 * 16 * 16, WIDTH, generator=torch.Generator().manual_seed(1)) / 30

    def of_bytes(self, seen: torch.Tensor, probabilities: bool) -> Outputs:
        return Outputs((from_bytes(seen).flatten(1) @ self.weights).relu())


def flat(count: int) -> None:
    """Observe so many images that are made when asked for, and print the process's peak memory in MiB."""

    def read(rows: np.ndarray) -> np.ndarray:
        return np.random.default_rng(int(rows[0])).integers(0, 256, (len(rows), 3, 16, 16), dtype=np.uint8)

    blocks = observe(ImageSet("made", (3, 16, 16), count, read), Random())
    assert sum(block.n for block in blocks) == count
    status = Path("/proc/self/status").read_text()
    print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)


def peaks() -> dict[str, float]:
    """Peak memory of processes that observe 5,000 and 50,000 images with 2048 features in ten blocks."""
    found = {}
    for count in (5_000, 50_000):
        command = [sys.executable, "-m", "benchmarks.metrics", "--peak", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[f"{count}_mib"] = float(done.stdout)
    return {**found, "ratio": found["50000_mib"] / found["5000_mib"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        flat(options.peak)
        return
    torch.manual_seed(0)
    figures = {
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "distance_2048": distances(),
        "pixels_48": detour(Pixels(size=4).load((3, 32, 32)), 4000),
        "projection_2048": detour(Random(), 4000, 16),
        "inception_random_weights": detour(InceptionFeatures(InceptionV3(), "random"), 64),
        "peak_memory": peaks(),
    }
    show(figures, options.write)


if __name__ == "__main__":
    main()
