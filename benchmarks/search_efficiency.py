"""What a search costs beside exhaustive grid search, on a space small enough to exhaust.

python -m benchmarks.search_efficiency [--write FILE] [--store FILE] [--nfe 63] [--seeds 5]

Every setting of a reduced space is measured in full, as the paper did for its own. Then studies of each method, with
five seeds, choose among the same settings. Asked is how many network evaluations a study needs until it holds, measured
in full, a setting within 2 % of the grid's best: all trials are counted that were begun before its outcome was known.
Chunks are shared with the grid, so the studies take no sampling, and their evaluations are counted as if nothing had
been there. `null` stands for a study that had begun as many trials as the grid has settings and found none.
"""

import argparse
import contextlib
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.execution.devices import device_name, devices_for
from harness.search.holdout import metric_measurement, objective_measurement, study_record
from harness.search.loop import run_search
from harness.search.plan import SearchRequest, plan_search
from harness.search.progress import Budget
from harness.store.database import Store
from harness.store.studies import DONE, Studies

SPACE = """
title: Reduced space of stochastic sampling
nfe: 63
sampler:
  stochasticity:
    kind: churn
    gamma: {values: [0.05, 0.1, 0.2, 0.3, 0.41421356]}
    S_tmin: {values: [0, 0.05, 0.2], below: S_tmax}
    S_tmax: {values: [0.5, 1, 5, 50]}
    S_noise: {values: [1, 1.003, 1.007]}
"""
WITHIN = 1.02

METHODS = (
    ("tpe", "paired"),
    ("tpe", "none"),
    ("tpe", "halving"),
    ("random", "paired"),
)
"""Search method and pruning rule."""

Rows = Mapping[int, Mapping[str, Any]]


class Reached(Exception):
    """The study holds a setting that is good enough."""


class Until:
    """Ends a study when a trial is good enough.

    Args:
        limit: the value that is.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def began(self, rows: Rows, budget: Budget) -> None: ...

    def settled(self, rows: Rows, number: int) -> None:
        row = rows[number]
        if row["status"] == DONE and row["value"] <= self.limit:
            raise Reached


def run(asked: SearchRequest, store: Store, trials: int, limit: float = -1.0) -> list[dict[str, Any]]:
    """A study's trials, up to one that is good enough, and without the fresh seeds of its end."""
    search = plan_search(asked)
    measurement = objective_measurement(search, store)
    Studies(store).open(search.name, search.spec, study_record(search, measurement, metric_measurement(search, store)))
    with contextlib.suppress(Reached):
        run_search(search, measurement, store, Budget(trials), listener=Until(limit))
    return Studies(store).slots(search.name)


def cost(row: dict[str, Any]) -> int:
    """Network evaluations of a trial in a store that held nothing of it."""
    return 0 if row["twin"] is not None or not row["rungs"] else row["rungs"][-1]["n"] * row["nfe"]


def reached(rows: list[dict[str, Any]], limit: float, ahead: int) -> int | None:
    """Evaluations of the trials begun before the first that is good enough was known; None if none is."""
    for row in rows:
        if row["status"] == DONE and row["value"] <= limit:
            return sum(cost(other) for other in rows[: row["number"] + ahead])
    return None


def compare(denoiser: str, options: argparse.Namespace, space: Path, store: Store) -> Iterator[dict[str, Any]]:
    """The grid of one denoiser, and after it what each method takes, one more at a time."""
    common = {"target": str(space), "denoiser": denoiser, "nfe": options.nfe, "samples": options.samples}
    grid = run(SearchRequest(**common, method="grid", pruner="none", study=f"{denoiser}-grid"), store, 10_000)
    exhaustive = sum(cost(row) for row in grid)
    values = sorted(row["value"] for row in grid if row["status"] == DONE)
    limit = values[0] * WITHIN
    methods: dict[str, Any] = {}
    for method, pruner in METHODS:
        found = []
        for seed in range(options.seeds):
            name = f"{denoiser}-{method}-{pruner}-{seed}"
            asked = SearchRequest(**common, method=method, pruner=pruner, seed=seed, on_grid=True, study=name)
            spent = reached(run(asked, store, len(grid), limit), limit, asked.ahead)
            found.append(None if spent is None else spent / exhaustive)
        some = [math.inf if ratio is None else ratio for ratio in found]
        middle, most = statistics.median(some), max(some)
        methods[f"{method}, {pruner}"] = {
            "ratios": found,
            "median": middle if middle < math.inf else None,
            "least": min(some),
            "most": most if most < math.inf else None,
        }
        print(denoiser, method, pruner, methods[f"{method}, {pruner}"], flush=True)
        yield {
            "settings": len(grid),
            "within_2_percent": sum(value <= limit for value in values),
            "best": values[0],
            "median_setting": statistics.median(values),
            "worst": values[-1],
            "exhaustive_evaluations": exhaustive,
            "methods": methods,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, default=Path("benchmarks/results/search_efficiency-cpu.json"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--denoisers", nargs="+", default=["digits-vp", "digits-ve"])
    parser.add_argument("--nfe", type=int, default=63)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    devices = devices_for(None)
    result: dict[str, Any] = {
        "device": f"{device_name(devices[0])}, {len(devices)} workers",
        "space": SPACE.strip(),
        "nfe": options.nfe,
        "samples": options.samples,
        "denoisers": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "reduced.yaml"
        space.write_text(SPACE)
        with Store(str(options.store or Path(folder) / "s.sqlite")) as store:
            for denoiser in options.denoisers:
                for found in compare(denoiser, options, space, store):
                    result["denoisers"][denoiser] = found
                    options.write.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
