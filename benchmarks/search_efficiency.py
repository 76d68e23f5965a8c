"""What a search costs beside exhaustive grid search, on a space small enough to exhaust.

python -m benchmarks.search_efficiency [--write FILE] [--store FILE] [--nfe 63] [--seeds 5]

Every setting of a reduced space is measured in full, as the paper did for its own. Then studies of each method, with five
seeds, choose among the same settings. Asked is how many network evaluations a study needs until it holds, measured in
full, a setting within 2 % of the grid's best: all trials are counted that were begun before its outcome was known. Chunks
are shared with the grid, so the studies take no sampling, and their evaluations are counted as if nothing had been there.
"""

import argparse
import json
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

from harness.searching.fresh import metric_aim, objective_aim, study_record
from harness.searching.plan import Asked, Search, plan_search
from harness.searching.search import Budget, run_search
from harness.store import Store
from harness.studies import DONE, Studies

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


def run(asked: Asked, store: Store, trials: int) -> list[dict[str, Any]]:
    """A study's trials, without the fresh seeds of its end."""
    search: Search = plan_search(asked)
    aim = objective_aim(search, store)
    Studies(store).open(search.name, search.spec, study_record(search, aim, metric_aim(search, store)))
    return list(run_search(search, aim, store, Budget(trials)).values())


def cost(row: dict[str, Any]) -> int:
    """Network evaluations of a trial in a store that held nothing of it."""
    return 0 if row["twin"] is not None or not row["rungs"] else row["rungs"][-1]["n"] * row["nfe"]


def reached(rows: list[dict[str, Any]], limit: float, ahead: int) -> int | None:
    """Evaluations of the trials begun before the first that is good enough was known; None if none is."""
    for row in rows:
        if row["status"] == DONE and row["value"] <= limit:
            return sum(cost(other) for other in rows[: row["number"] + ahead])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, default=Path("benchmarks/results/search_efficiency-cpu.json"))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--denoiser", default="digits-vp")
    parser.add_argument("--nfe", type=int, default=63)
    parser.add_argument("--samples", type=int, default=640)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "reduced.yaml"
        space.write_text(SPACE)
        common = {"target": str(space), "denoiser": options.denoiser, "nfe": options.nfe, "samples": options.samples}
        with Store(str(options.store or Path(folder) / "s.sqlite")) as store:
            grid = run(Asked(**common, method="grid", pruner="none", study="grid"), store, 10_000)
            exhaustive = sum(cost(row) for row in grid)
            values = sorted(row["value"] for row in grid if row["status"] == DONE)
            limit = values[0] * WITHIN
            methods: dict[str, Any] = {}
            for name, method, pruner in (
                ("tpe, pruned", "tpe", "paired"),
                ("tpe, halving", "tpe", "halving"),
                ("tpe, in full", "tpe", "none"),
                ("gp, pruned", "gp", "paired"),
                ("random, pruned", "random", "paired"),
                ("random, in full", "random", "none"),
            ):
                found = []
                for seed in range(options.seeds):
                    asked = Asked(
                        **common, method=method, pruner=pruner, seed=seed, on_grid=True, study=f"{name} {seed}"
                    )
                    rows = run(asked._replace(study=f"{method}-{pruner}-{seed}"), store, len(grid))
                    spent = reached(rows, limit, asked.ahead)
                    found.append(None if spent is None else spent / exhaustive)
                known = [one for one in found if one is not None]
                methods[name] = {
                    "ratios": found,
                    "median": statistics.median([one if one is not None else float("inf") for one in found]),
                    "least": min(known) if known else None,
                    "most": max(known) if len(known) == len(found) else None,
                }
                print(name, methods[name], flush=True)
    result = {
        "machine": platform.machine(),
        "processor": "cpu",
        "space": SPACE.strip(),
        "denoiser": options.denoiser,
        "nfe": options.nfe,
        "samples": options.samples,
        "settings": len(grid),
        "within_2_percent": sum(value <= limit for value in values),
        "best": values[0],
        "median_setting": statistics.median(values),
        "worst": values[-1],
        "exhaustive_evaluations": exhaustive,
        "methods": methods,
    }
    options.write.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
