"""What a run costs beside the network: seconds a chunk and a trial in the parent, and until the first task begins.

Trials of a Gaussian denoiser, whose network calls cost next to nothing, with few chunks and with many.

    python benchmarks/run_overhead.py [--trials 40]
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from harness.execution.executors.processes import ProcessExecutor
from harness.execution.run import run
from harness.experiments.plan import plan
from harness.store.database import Store

GRID = """
title: Overhead
samples: 64
chunk: {chunk}
denoisers:
  exact: {{source: {{kind: gaussian, std: 0.5, shape: [1, 8, 8]}}}}
series:
  - {{name: Churn, sampler: {{solver: euler, stochasticity: {{kind: churn, S_churn: {levels}}}}}}}
nfe: 2
"""


def seconds(folder: Path, chunk: int, trials: int) -> float:
    """Wall time of a run of so many trials, each in chunks of this many of 64 seeds; the reference is there before."""
    path = folder / f"chunk{chunk}.yaml"
    path.write_text(GRID.format(chunk=chunk, levels=[level / 10 for level in range(trials)]))
    planned = plan(path)
    with Store(str(folder / f"{chunk}.sqlite")) as store:
        run(planned._replace(items=planned.items[:1]), store, "cpu", executor="inline")
        return run(planned, store, "cpu", executor="inline").seconds


def pid(*, device: str) -> int:
    return os.getpid()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as name:
        few, many = seconds(Path(name), 64, trials + 1), seconds(Path(name), 4, trials + 1)
    started = time.perf_counter()
    with ProcessExecutor(["cpu"]) as executor:
        executor.submit(pid).result()
        start = time.perf_counter() - started
    chunk = (many - few) / (15 * trials)
    print(json.dumps({"chunk": chunk, "trial": few / trials - chunk, "start": start}, indent=2))


if __name__ == "__main__":
    main()
