"""What the commands take on large studies: seconds and peak memory of `show`, `plan`, `report`, `ls` and CSV.

Stores of 10,000 and 100,000 trials are made of grids of an analytic denoiser, with numbers that are made up. Then eight
processes read one store while two write to it.

    python -m benchmarks.large_stores [--trials 10000 100000] [--write FILE]
"""

import argparse
import json
import multiprocessing
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.output import show
from harness.execution.measurements import Measurement, measurements
from harness.execution.plan_record import plan_record
from harness.experiments.plan import Plan, Planned, plan
from harness.store.database import Store
from harness.store.names import keep_grid
from harness.store.results import put_results

GRID_TRIALS = 5_000
"""Trials of each of the grids that fill a store."""

SAMPLES, BLOCKS = 64, 8
VERSIONS = {"harness": "0", "torch": "2", "numpy": "2", "python": "3.11", "machine": "x86_64"}
READERS, WRITERS = 8, 2

COMMAND = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
done = subprocess.run([sys.executable, "-m", "harness.cli", *sys.argv[1:]], capture_output=True, text=True)
assert done.returncode == 0, done.stderr
peak = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({
    "seconds": time.perf_counter() - started,
    "cpu_seconds": peak.ru_utime + peak.ru_stime,
    "peak_mib": peak.ru_maxrss / 1024,
    "lines": done.stdout.count("\\n"),
}))
"""


def levels(low: float, high: float, count: int) -> list[float]:
    """So many numbers from low to high."""
    return [round(low + (high - low) * index / max(count - 1, 1), 6) for index in range(count)]


def churn_grid(title: str, counts: tuple[int, int, int, int], S_noise: float = 1.0) -> dict[str, Any]:
    """A grid over S_churn x S_noise x S_tmin x S_tmax, with so many values of each, on the digits' ideal denoiser.

    Args:
        title: of the grid.
        counts: of values on the four axes, in this order.
        S_noise: the lowest, so that grids have no trial in common.
    """
    ranges = {"S_churn": (1, 100), "S_noise": (S_noise, S_noise + 0.01), "S_tmin": (0.01, 0.1), "S_tmax": (1, 50)}
    axes = {name: levels(*ends, count) for (name, ends), count in zip(ranges.items(), counts, strict=True)}
    return {
        "title": title,
        "samples": SAMPLES,
        "steps": [18],
        "denoisers": ["ideal"],
        "series": [{"name": "Churn", "sampler": {"stochasticity": {"kind": "churn", **axes}}}],
    }


def made_up(measurement: Measurement, item: Planned) -> dict[str, Any]:
    """A result row of a trial as a run writes it, with numbers drawn by the trial's fingerprint."""
    drawn = random.Random(item.trial.fingerprint)
    value = 2 + 50 / item.nfe + drawn.random()
    spread = [value + drawn.gauss(0, 0.1) for _ in range(BLOCKS)]
    values = {
        "status": "done",
        "value": value,
        "low": value - 0.2,
        "high": value + 0.2,
        "replicates": spread,
        "blocks": [index * SAMPLES // BLOCKS for index in range(BLOCKS)],
        "nfe": float(item.nfe),
        "nfe_min": item.nfe,
        "nfe_max": item.nfe,
        "evaluations": item.nfe * SAMPLES,
        "seconds": 0.5,
    }
    info = {"device": "cpu", "dtype": "torch.float64", "batch": SAMPLES, "versions": VERSIONS}
    sigmas = [80.0 * 0.55**step for step in range(item.trial.sampler.steps)]
    return measurement.row(item.trial, values, [info], item.notes, {"sigmas": sigmas, "rounds": False})


def rows_of(planned: Plan) -> Iterator[dict[str, Any]]:
    """Made-up rows of all trials of a plan under all its metrics."""
    for measurement in measured(planned):
        for item in measurement.trials.values():
            yield made_up(measurement, item)


def measured(planned: Plan) -> list[Measurement]:
    """The metrics of a plan, compared with a reference that nobody computed."""
    return [measurement._replace(reference="made up") for measurement in measurements(planned)]


def fill(store: Store, trials: int, grid_trials: int = GRID_TRIALS) -> None:
    """Fill a store with grids of so many trials together, each in the store with its plan; the last has 100.

    Args:
        store: an empty one.
        trials: how many, the 100 of grid `small` not among them.
        grid_trials: of each grid.
    """
    for number, begin in enumerate(range(0, trials, grid_trials)):
        many = min(grid_trials, trials - begin)
        grid = churn_grid(f"Part {number}", (10, -(-many // 10), 1, 1), 1.0 + number * 0.02)
        keep(store, f"part{number}", grid, many)
    keep(store, "small", churn_grid("Small", (10, 10, 1, 1), 0.9), 100)


def keep(store: Store, name: str, grid: dict[str, Any], most: int) -> None:
    """Put a grid's plan and rows of its first trials into a store."""
    whole = plan(grid)
    planned = whole._replace(name=name, items=whole.items[:most])
    put_results(store, rows_of(planned))
    keep_grid(store, plan_record(planned, measured(planned)))


def command(*arguments: str) -> dict[str, Any]:
    """Seconds, peak memory and lines of output of a `harness` command in a process of its own."""
    done = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def commands(folder: Path, trials: int) -> dict[str, Any]:
    """Every command on a store of so many trials, a multiple of 10,000; `plan` plans a grid of as many."""
    place = folder / f"{trials}.sqlite"
    with Store(str(place)) as store:
        started = time.perf_counter()
        fill(store, trials)
        filled = time.perf_counter() - started
    grid = folder / f"plan{trials}.yaml"
    axes = churn_grid("Large", (10, 10, 10, trials // 10_000), 1.2)
    grid.write_text(json.dumps(axes | {"steps": list(range(9, 19))}))
    where, on_cpu = ("--store", str(place)), ("--device", "cpu", "--executor", "inline")
    return {
        "trials": trials,
        "store_mib": place.stat().st_size / 2**20,
        "fill_rows_per_second": trials / filled,
        "show": command("show", *where),
        "show_grid": command("show", "small", *where),
        "csv": command("show", "--csv", str(folder / "out.csv"), *where),
        "report": command("report", "small", "-o", str(folder / "small.html"), *where),
        "ls": command("ls"),
        "plan": command("plan", str(grid), *where, *on_cpu),
    }


def _read(place: str, seconds: float, out: "multiprocessing.Queue[list[float]]") -> None:
    """Read pages of a store for some seconds; how long each took."""
    from harness.report.data import stored_results

    took, end = [], time.monotonic() + seconds
    with Store(place, read_only=True) as store:
        while time.monotonic() < end:
            started = time.perf_counter()
            assert list(stored_results(store, 100))
            took.append(time.perf_counter() - started)
    out.put(took)


def _write(place: str, seconds: float, name: str, out: "multiprocessing.Queue[int]") -> None:
    """Write rows one by one for some seconds, as a run does; how many there were."""
    whole = plan(churn_grid(name, (10, 10, 1, 1), 2.0))
    rows = [row | {"fingerprint": f"{name}{row['fingerprint']}"[:64]} for row in rows_of(whole)]
    written, end = 0, time.monotonic() + seconds
    with Store(place) as store:
        while time.monotonic() < end:
            store.put_result(rows[written % len(rows)] | {"first_seed": written // len(rows) * SAMPLES})
            written += 1
    out.put(written)


def together(place: str, seconds: float, readers: int = READERS, writers: int = WRITERS) -> dict[str, Any]:
    """Readers and writers of one store at the same time: rows a second, and how long a page of 100 rows takes.

    Raises:
        AssertionError: a process failed, such as by a database that is locked.
    """
    context = multiprocessing.get_context("spawn")
    read, written = context.Queue(), context.Queue()
    processes = [context.Process(target=_read, args=(place, seconds, read)) for _ in range(readers)]
    processes += [context.Process(target=_write, args=(place, seconds, f"w{n}", written)) for n in range(writers)]
    for process in processes:
        process.start()
    took = sorted(one for _ in range(readers) for one in read.get(timeout=seconds + 300))
    rows = sum(written.get(timeout=seconds + 300) for _ in range(writers))
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes), "a reader or a writer failed"
    return {
        "readers": readers,
        "writers": writers,
        "rows_per_second": rows / seconds,
        "pages_per_second": len(took) / seconds,
        "page_seconds_median": statistics.median(took),
        "page_seconds_99_percent": took[int(0.99 * (len(took) - 1))],
        "page_seconds_most": took[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=20.0, help="that readers and writers work for")
    parser.add_argument("--write", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sizes = [commands(Path(name), trials) for trials in options.trials]
        shared = together(str(Path(name) / f"{options.trials[0]}.sqlite"), options.seconds)
    figures = {"sizes": sizes, "together": shared, "device": f"cpu, {platform.machine()}, shared with other work"}
    show(figures, options.write)


if __name__ == "__main__":
    main()
