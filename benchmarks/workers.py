"""Two workers over one, and a warm rerun over the first run: whole commands, `harness run` on a grid of one network.

Two logical cores may be one core's, so the machine's own limit is measured beside: bare network calls by two processes,
each on a logical core of its own, over those of one.

    python -m benchmarks.workers [--rounds 3] [--write FILE]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.output import show

ROOT = Path(__file__).parent.parent
GRID = """
title: Workers
samples: 1280
denoisers: {net: {source: digits-edm, labels: unconditional}}
series:
  - {name: Heun, steps: [12, 14, 16, 18, 20]}
"""
BARE = """
import time, torch, harness
torch.set_num_threads(1)
denoiser = harness.load_denoiser("digits-edm", device="cpu")
x, sigma = torch.randn(128, 1, 8, 8), torch.tensor(1.0, dtype=torch.float64)
with torch.no_grad():
    denoiser(x, sigma)
    input()
    until, calls = time.perf_counter() + 5, 0
    while time.perf_counter() < until:
        denoiser(x, sigma)
        calls += 1
print(calls)
"""


def command(cores: list[int], *arguments: str) -> float:
    """Wall seconds of a command of the harness on some cores."""
    pinned = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, "-m", "harness.cli", *arguments]
    started = time.perf_counter()
    subprocess.run(pinned, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return time.perf_counter() - started


def bare(cores: list[int]) -> int:
    """Network calls of 128 rows in five seconds by a process on each core, all together."""
    processes = [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-c", BARE],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for core in cores
    ]
    time.sleep(15)  # until all have loaded
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in processes)


def once(cores: list[int]) -> dict[str, float]:
    """One round: the grid by one worker and by two, again where it is there, and the machine's limit."""
    with tempfile.TemporaryDirectory() as name:
        grid = Path(name) / "workers.yaml"
        grid.write_text(GRID)

        def run(count: int) -> float:
            return command(cores[:count], "run", str(grid), "--device", "cpu", "--store", f"{name}/{count}.sqlite")

        one, two, again = run(1), run(2), run(2)
    return {"speed": one / two, "limit": bare(cores) / bare(cores[:1]), "warm": again / two, "warm seconds": again}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    assert len(cores) == 2, "this needs two cores"
    rounds = [once(cores) for _ in range(options.rounds)]
    figures: dict[str, Any] = {"rounds": options.rounds}
    for name in rounds[0]:
        values = sorted(one[name] for one in rounds)
        figures[name] = [values[0], statistics.median(values), values[-1]]
    show(figures, options.write)


if __name__ == "__main__":
    main()
