"""A whole grid against the official way: `generate.py` writes PNG files and `fid.py` measures them, setting by setting.

Both have the same weights, samplers, seeds, reference and cores, and one extractor of 2048 features that stands in for
Inception; so they find the same numbers, which is checked. Two grids: eleven values of S_churn below S_tmax = 1, which
share evaluations, and five lengths of Heun's method, which share next to none. The official code is fetched, not kept.

    python -m benchmarks.official [--edm CHECKOUT] [--samples 1000] [--rounds 1] [--output FILE]
"""

import argparse
import csv
import functools
import hashlib
import io
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.output import show

EDM = "https://github.com/NVlabs/edm"
NETWORK = "digits-edm"
WIDTH = 2048
GRIDS: dict[str, tuple[str, list[dict[str, float]]]] = {
    "churn": (
        f"sampler: {{steps: 18, stochasticity: {{kind: churn, S_tmax: 1.0, S_churn: {list(range(0, 101, 10))}}}}}",
        [{"num_steps": 18, "S_max": 1.0, "S_churn": float(churn)} for churn in range(0, 101, 10)],
    ),
    "steps": (
        "steps: [6, 9, 12, 18, 27]",
        [{"num_steps": steps} for steps in (6, 9, 12, 18, 27)],
    ),
}
GRID = """
title: Against the official way
samples: {samples}
metrics: {{kind: fid, extractor: {{kind: torchscript, path: {extractor}, sha256: {sha256}, width: 2048, channels: 3,
  values: bytes}}, reference: {reference}}}
denoisers: {{net: {{source: digits-edm, labels: unconditional}}}}
series:
  - {{name: All, {series}}}
"""


class StandIn(torch.nn.Module):
    """Random features of byte images, [N, 2048], whose covariance has full rank: cosines of random sums of the pixels.

    Source: Rahimi & Recht 2007, "Random features for large-scale kernel machines".
    """

    def __init__(self) -> None:
        super().__init__()
        self.sums = torch.nn.Linear(3 * 64, WIDTH)
        torch.nn.init.normal_(self.sums.weight, std=0.2)
        torch.nn.init.uniform_(self.sums.bias, 0.0, 6.2832)

    def forward(self, images: torch.Tensor, return_features: bool = True) -> torch.Tensor:
        return torch.cos(self.sums(images.to(torch.float32).flatten(1) / 127.5 - 1))


class Detector:
    """The stand-in as the official code has its detector: it comes out of a pickle."""

    def __init__(self, path: str) -> None:
        self.path = path

    def to(self, device: torch.device) -> Any:
        return torch.jit.load(self.path, map_location=device)


def official_step(options: argparse.Namespace) -> None:
    """One step of the official way in a process of its own, as its command lines do it, on the CPU."""
    sys.path.insert(0, str(options.edm))
    begin = torch.distributed.init_process_group
    torch.distributed.init_process_group = lambda backend, **options: begin("gloo", **options)  # it asks for CUDA's
    torch.cuda.set_device = lambda device: None
    cpu, given = torch.device("cpu"), json.loads(options.given)
    import dnnlib

    if options.step == "network":
        from safetensors import safe_open
        from training.networks import EDMPrecond

        with safe_open(given["weights"], "pt") as file:
            arguments = json.loads(file.metadata()["config"])["arguments"]
            network = EDMPrecond(**arguments | {"sigma_max": float(arguments["sigma_max"])})
            network.load_state_dict({name: file.get_tensor(name) for name in file.keys()}, strict=False)  # noqa: SIM118
        with Path(given["pickle"]).open("wb") as file:
            pickle.dump({"ema": network.eval().requires_grad_(False)}, file)
    elif options.step == "generate":
        import generate

        seeds = range(given["samples"])
        generate.main.callback(given["pickle"], given["images"], True, seeds, None, 128, device=cpu, **given["sampler"])
    else:
        import fid
        import scipy.linalg

        fetch, root = dnnlib.util.open_url, scipy.linalg.sqrtm
        detector = pickle.dumps(Detector(given["extractor"]))
        dnnlib.util.open_url = lambda url, **options: (
            io.BytesIO(detector) if "inception" in url else fetch(url, **options)
        )
        fid.scipy.linalg.sqrtm = lambda matrix, disp: (root(matrix), 0.0)  # `disp` is gone from SciPy 1.18
        fid.calculate_inception_stats = functools.partial(fid.calculate_inception_stats, device=cpu)
        fid.calc.callback(given["images"], given["reference"], given["samples"], 0, 128)


def run(command: Sequence[str], folder: Path, **environment: str) -> tuple[float, float, str]:
    """Wall and CPU seconds of a command with all its processes, and what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment |= {"OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | environment)
    spent, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return spent, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def official(edm: Path, step: str, folder: Path, **given: Any) -> tuple[float, float, str]:
    """A step of the official way, with the threads that torch takes by itself."""
    command = [sys.executable, "-m", "benchmarks.official", "--edm", str(edm), "--step", step]
    place = str(Path(__file__).parent.parent)
    return run([*command, "--given", json.dumps(given)], folder, PYTHONPATH=place)


def prepared(edm: Path, folder: Path) -> dict[str, str]:
    """The network as a pickle, the extractor, and a reference, which neither side is timed for."""
    torch.manual_seed(0)
    extractor = folder / "extractor.pt"
    torch.jit.script(StandIn().eval().requires_grad_(False)).save(str(extractor))
    weights = Path(__file__).parent.parent / "pretrained" / f"{NETWORK}.safetensors"
    official(edm, "network", folder, weights=str(weights), pickle=str(folder / "network.pkl"))
    from harness.datasets.digits import mixture_images

    images = torch.from_numpy(np.concatenate(list(mixture_images().batches()))).repeat(1, 3, 1, 1)
    features = torch.jit.load(str(extractor))(images).double().numpy()
    reference = folder / "reference.npz"
    np.savez(reference, mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    return {
        "extractor": str(extractor),
        "sha256": hashlib.sha256(extractor.read_bytes()).hexdigest(),
        "pickle": str(folder / "network.pkl"),
        "reference": str(reference),
    }


def ours(name: str, folder: Path, there: dict[str, str], samples: int) -> tuple[float, float, dict[str, Any]]:
    """Wall and CPU seconds of `harness run`, and its values in the order of the settings."""
    grid, store = folder / f"{name}.yaml", folder / f"{name}.sqlite"
    series, _ = GRIDS[name]
    grid.write_text(GRID.format(samples=samples, series=series, **there))
    harness = [sys.executable, "-m", "harness.cli"]
    where = ["--store", str(store), "--files", str(folder / f"{name}-files")]
    wall, cpu, said = run([*harness, "run", str(grid), "--device", "cpu", *where], folder)
    rows = list(csv.DictReader(io.StringIO(run([*harness, "show", name, *where, "--csv", "-"], folder)[2])))
    store.unlink()
    return wall, cpu, {"rows": rows, "said": said.strip().splitlines()[-1]}


def compared(name: str, edm: Path, folder: Path, there: dict[str, str], samples: int) -> dict[str, Any]:
    """One grid, both ways, one after the other."""
    wall, cpu, found = ours(name, folder, there, samples)
    values, theirs = [], [0.0, 0.0]
    for number, sampler in enumerate(GRIDS[name][1]):
        images = folder / f"{name}-{number}"
        given = {**there, "images": str(images), "samples": samples}
        for step in ("generate", "fid"):
            seconds, spent, said = official(edm, step, folder, **given, sampler=sampler)
            theirs = [theirs[0] + seconds, theirs[1] + spent]
        values.append(float(said.strip().splitlines()[-1]))
    mine = [float(row["value"]) for row in found["rows"]]
    assert len(mine) == len(values)
    apart = max(abs(a - b) / b for a, b in zip(sorted(mine), sorted(values), strict=True))
    assert apart < 1e-3, (mine, values)
    return {
        "wall": wall / theirs[0],
        "cpu": cpu / theirs[1],
        "seconds, ours and official": [round(wall, 1), round(theirs[0], 1)],
        "largest relative difference of values": apart,
        "said": found["said"],
    }


def against_official(edm: Path | None, samples: int, rounds: int) -> dict[str, Any]:
    """Both grids, both ways."""
    figures: dict[str, Any] = {"samples": samples, "rounds": rounds, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if edm is None:
            edm = folder / "edm"
            subprocess.run(["git", "clone", "--quiet", "--depth", "1", EDM, str(edm)], check=True)
        there = prepared(edm.resolve(), folder)
        for grid in GRIDS:
            taken = []
            for turn in range(rounds):
                inside = folder / f"round{turn}"
                inside.mkdir(exist_ok=True)
                taken.append(compared(grid, edm.resolve(), inside, there, samples))
            figures[grid] = taken[0] | {
                key: [round(quantile(one[key] for one in taken), 3) for quantile in (min, statistics.median, max)]
                for key in ("wall", "cpu")
            }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edm", type=Path, help="a checkout of NVlabs/edm; it is cloned otherwise")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--given", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        official_step(arguments)
    else:
        show(against_official(arguments.edm, arguments.samples, arguments.rounds), arguments.output)


if __name__ == "__main__":
    main()
