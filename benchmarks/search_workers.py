"""What a second process on one search saves: wall time of one study by one process, over that by two at once.

Each process has one core and one worker. Both ways begin with an empty store in the same database server (PostgreSQL
where its programs are installed, otherwise an SQLite file each), and are timed in turn, since absolute times drift.
Start and end are in the times: processes import their libraries, and the best settings are measured on fresh seeds.

    python -m benchmarks.search_workers [--rounds 3] [--budget 40] [--samples 320] [--nfe 31]
"""

import argparse
import contextlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.output import show
from harness.store.database import Store
from harness.store.studies import Studies
from tests.postgresql import NoServer, server

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "search_workers-cpu.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--samples", type=int, default=320)
    parser.add_argument("--nfe", type=int, default=31)
    parser.add_argument("--ahead", type=int, default=4)
    parser.add_argument("--write", type=Path, default=RESULT, help="JSON file of the figures")
    options = parser.parse_args()
    asked = ["--budget", options.budget, "--samples", options.samples, "--nfe", options.nfe, "--ahead", options.ahead]
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as (kind, database):
        pairs = []
        for number in range(options.rounds):
            one, outcome = timed([0], database(f"one{number}"), Path(folder) / f"one{number}", asked)
            two, same = timed([0, 1], database(f"two{number}"), Path(folder) / f"two{number}", asked)
            assert outcome == same, "two processes came to something else"
            pairs.append((one, two))
            print(f"round {number + 1}: {one:.1f} s by one process, {two:.1f} s by two", file=sys.stderr)
    ratios = sorted(one / two for one, two in pairs)
    figures = {
        "store": kind,
        "budget": options.budget,
        "samples": options.samples,
        "nfe": options.nfe,
        "ahead": options.ahead,
        "rounds": options.rounds,
        "one_process_seconds": [round(one, 2) for one, _ in pairs],
        "two_processes_seconds": [round(two, 2) for _, two in pairs],
        "ratio_median": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "same_study": True,
        "device": f"cpu, {platform.machine()}, 1 worker a process",
        "torch": torch.__version__,
    }
    show(figures, options.write)


@contextlib.contextmanager
def _databases(folder: Path) -> Iterator[tuple[str, Callable[[str], str]]]:
    """What makes empty databases, and of which kind."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(server())
        except NoServer as reason:
            print(f"SQLite, because {reason}", file=sys.stderr)
            yield "sqlite", lambda name: str(folder / f"{name}.sqlite")
            return
        yield "postgresql", found.make


def timed(cores: list[int], url: str, folder: Path, asked: list[object]) -> tuple[float, list[object]]:
    """Seconds until a process on each core has ended, and what the study came to."""
    folder.mkdir()
    files = ["--files", str(folder / "files"), "-o", str(folder / "report.html"), "--study", "timed"]
    program = [sys.executable, "-m", "harness.cli", "search", "--store", url, "--device", "cpu", *files]
    started = time.perf_counter()
    processes = [
        subprocess.Popen(["taskset", "-c", str(core), *program, *map(str, asked)], cwd=ROOT, stdout=subprocess.DEVNULL)
        for core in cores
    ]
    codes = [process.wait() for process in processes]
    spent = time.perf_counter() - started
    assert not any(codes), codes
    with Store(url, folder / "files") as store:
        rows = Studies(store).slots("timed")
    return spent, [[row[key] for key in ("number", "params", "status", "value", "evaluations")] for row in rows]


if __name__ == "__main__":
    main()
