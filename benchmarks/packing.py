"""Small trials side by side over the same one after the other: 40 trials of 4 samples, computed in one process.

`packed` shares evaluations and calls, `shared` evaluations alone (`--batch 4`), `apart` neither. Seconds are those of
the work itself, from latents to features; `whole` are those of the run, with its plan, its reference and its store.

    python -m benchmarks.packing [--rounds 5] [--output FILE]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.output import show
from harness.execution import sharing
from harness.execution.run import run
from harness.experiments.plan import Plan, plan
from harness.store.database import Store

SAMPLES = 4
GRID = """
title: Small trials
samples: SAMPLES
metrics: fd-digits
denoisers: {net: {source: SOURCE, labels: unconditional}}
series:
  - name: All
    steps: [12, 14, 16, 18, 20, 22, 24, 26]
    sampler: {solver: [euler, heun, dpmpp_2m, unipc, ipndm]}
"""


def computed(grid: Plan, batch: int | None, is_shared: bool) -> dict[str, float]:
    """Seconds and evaluations of a run into a store of its own."""
    place = sharing._place
    if not is_shared:
        sharing._place = lambda *_: None
    try:
        with tempfile.TemporaryDirectory() as folder, Store(str(Path(folder) / "store.sqlite")) as store:
            summary = run(grid, store, "cpu", batch, executor="inline")
            work = sum(row["seconds"] for row in store.results())
    finally:
        sharing._place = place
    return {
        "work": work,
        "whole": summary.seconds,
        "evaluations": summary.evaluations,
        "predicted": summary.predicted.evaluations,
    }


def measured(source: str, rounds: int) -> dict[str, object]:
    """The ratios of one network, each pair timed in turn."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.yaml"
        path.write_text(GRID.replace("SAMPLES", str(SAMPLES)).replace("SOURCE", source))
        grid = plan(path)
    ways = {"packed": (None, True), "shared": (SAMPLES, True), "apart": (SAMPLES, False)}
    computed(grid, None, True)
    took = [{name: computed(grid, *way) for name, way in ways.items()} for _ in range(rounds)]
    figures: dict[str, object] = {
        count: {name: took[0][name][count] for name in ways} for count in ("evaluations", "predicted")
    }
    for other in ("shared", "apart"):
        for seconds in ("work", "whole"):
            ratios = sorted(one["packed"][seconds] / one[other][seconds] for one in took)
            figures[f"{seconds}, packed over {other}"] = {
                "median": round(statistics.median(ratios), 3),
                "from": round(ratios[0], 3),
                "to": round(ratios[-1], 3),
            }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    sources = ("digits-edm", "digits-adm", "digits-vp")
    show({source: measured(source, arguments.rounds) for source in sources}, arguments.output)


if __name__ == "__main__":
    main()
