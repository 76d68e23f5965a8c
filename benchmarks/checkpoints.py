"""A snapshot of about 200 MB: how long it takes to import, in how much memory, and to load afterwards.

    python -m benchmarks.checkpoints [--write FILE]

The snapshot is that of the paper's DDPM++ for CIFAR-10 (55.7 million parameters) with random weights, in the layout of
the official files. Each measurement is a process of its own; its peak is the largest resident memory less that of a
process that only imports the same modules, and counts the pages of mapped files. `over_copy` is against the plain copy
of the snapshot to another file.
"""

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.output import show

MODULES = """
import re, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from harness.denoisers.checkpoints.convert import import_file, load_foreign
from harness.denoisers.checkpoints.safetensors_file import load
import harness
"""
IMPORT = "import_file(Path(sys.argv[1]), Path(sys.argv[2]))"
LOAD = "net = load(Path(sys.argv[2]))"
DIRECT = "net = load_foreign(Path(sys.argv[1]))"
NOTHING = "pass"
MEASURE = """
start = time.perf_counter()
{work}
seconds = time.perf_counter() - start
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]  # getrusage knows of the parent too
print(seconds, int(peak) * 1024)
"""


def measure(work: str, *arguments: Path) -> dict[str, float]:
    """Seconds of a piece of work and the peak of its process, in bytes."""
    code = MODULES + MEASURE.format(work=work)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    seconds, peak = map(float, done.stdout.split())
    return {"seconds": seconds, "peak_bytes": peak}


def write(path: Path) -> int:
    """The synthetic snapshot; returns its number of parameters."""
    import torch

    from harness.denoisers.preconditioning import EDMPrecond
    from tests.denoisers.snapshots import write_snapshot

    torch.manual_seed(0)
    net = EDMPrecond(
        32, 3, 10, model_type="SongUNet", model_channels=128, channel_mult=[2, 2, 2], num_blocks=4, augment_dim=9
    )
    write_snapshot(path, net)
    return sum(parameter.numel() for parameter in net.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        snapshot, ours = Path(folder) / "net.pkl", Path(folder) / "net.safetensors"
        parameters = write(snapshot)
        size = snapshot.stat().st_size
        start = time.perf_counter()
        shutil.copyfile(snapshot, Path(folder) / "copy")
        copy = time.perf_counter() - start
        bare = measure(NOTHING, snapshot, ours)["peak_bytes"]
        rows = {
            name: measure(work, snapshot, ours)
            for name, work in (("import", IMPORT), ("load", LOAD), ("direct", DIRECT))
        }
    figures: dict[str, object] = {
        "device": f"{platform.machine()} CPU, one thread",
        "snapshot_bytes": size,
        "parameters": parameters,
        "modules_bytes": bare,
        "copy_seconds": copy,
    }
    for name, row in rows.items():
        figures |= {
            f"{name}_seconds": round(row["seconds"], 3),
            f"{name}_over_copy": round(row["seconds"] / copy, 2),
            f"{name}_peak_over_size": round((row["peak_bytes"] - bare) / size, 3),
            f"{name}_whole_process_over_size": round(row["peak_bytes"] / size, 3),
        }
    show(figures, options.write)


if __name__ == "__main__":
    main()
