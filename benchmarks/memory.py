"""Peak memory of a trial does not grow with its samples: 200,000 against 2,000, each a `harness run` of its own.

python benchmarks/memory.py [--denoiser digits-edm] [--write FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.output import show

GRID = """
title: Memory
samples: {samples}
nfe: 3
denoisers: [{denoiser}]
series:
  - name: Heun
"""
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "harness.cli", "run", *sys.argv[1:]], capture_output=True, text=True)
assert done.returncode == 0, done.stderr
print(json.dumps({"peak_kib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, "says": done.stdout.strip()}))
"""


def peak(denoiser: str, samples: int) -> dict[str, object]:
    """Largest resident memory of any process of the run, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder) / "memory.yaml"
        grid.write_text(GRID.format(samples=samples, denoiser=denoiser))
        store = str(Path(folder) / "store.sqlite")
        command = [sys.executable, "-c", MEASURE, str(grid), "--store", store, "--device", "cpu"]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"samples": samples, "peak_mib": found["peak_kib"] / 1024, "says": found["says"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--denoiser", default="digits-edm")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    few, many = peak(options.denoiser, 2_000), peak(options.denoiser, 200_000)
    growth = float(str(many["peak_mib"])) - float(str(few["peak_mib"]))
    figures = {"few": few, "many": many, "growth_mib": growth}
    show(figures, options.write)


if __name__ == "__main__":
    main()
