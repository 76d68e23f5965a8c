"""One table of what matters, measured side by side in one run: `make bench`. It takes about half an hour on two cores.

Each line is a benchmark of this folder, run in a process of its own, with its goal. The comparison with the official
way needs a checkout of NVlabs/edm, or git and a network to fetch one; without, the table says why it is not there.

    python -m benchmarks.table [--edm CHECKOUT] [--only NAME ...] [--output FILE]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.output import show

ROOT = Path(__file__).parent.parent


class Line(NamedTuple):
    """A line of the table: what was measured, the figure, its range or what goes with it, and the goal."""

    what: str
    figure: float
    range: str = ""
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.most is None and self.least is None:
            return ""
        met = (self.most is None or self.figure <= self.most) and (self.least is None or self.figure >= self.least)
        return "yes" if met else "no"

    @property
    def goal(self) -> str:
        """The goal in words."""
        return f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}" if self.least else ""


def between(values: list[float]) -> str:
    """Least and greatest of several rounds."""
    return f"{values[0]:.3g} to {values[-1]:.3g}"


def overhead(found: Mapping[str, Any]) -> list[Line]:
    return [
        Line("the sampler over bare network calls", found["ratio_median"], between(found["ratio_range"]), most=1.02)
    ]


def official(found: Mapping[str, Any]) -> list[Line]:
    told = {"churn": "11 values of S_churn, S_tmax 1", "steps": "5 lengths of Heun's method"}
    return [
        Line(f"a grid over the official way, {words}: {kind} time", found[name][kind][1], most=0.5)
        for name, words in told.items()
        for kind in ("wall", "cpu")
    ]


def packing(found: Mapping[str, Any]) -> list[Line]:
    every = [figures["whole, packed over shared"] for figures in found.values()]
    most = max(every, key=lambda one: one["median"])
    return [
        Line(
            "40 trials of 4 samples, side by side over one by one",
            most["median"],
            between(list(most.values())[1:]),
            0.5,
        )
    ]


def workers(found: Mapping[str, Any]) -> list[Line]:
    return [
        Line("two workers over one", found["speed"][1], between(found["speed"]), least=1.8),
        Line("  bare network calls by two processes over one", found["limit"][1], between(found["limit"])),
        Line("a warm rerun over the run", found["warm"][1], f"{found['warm seconds'][1]:.1f} s"),
    ]


def replicates(found: Mapping[str, Any]) -> list[Line]:
    return [
        Line(
            f"FD of 2048 features with interval over plain FID, N = {one['samples']:,}",
            one["distance_and_interval_over_plain"],
            most=1.2,
        )
        for one in found["costs"]
    ]


def memory(found: Mapping[str, Any]) -> list[Line]:
    few, many = found["few"], found["many"]
    return [
        Line(
            f"peak memory, {many['samples']:,} samples over {few['samples']:,}",
            many["peak_mib"] / few["peak_mib"],
            f"{few['peak_mib']:.0f} and {many['peak_mib']:.0f} MiB",
        )
    ]


def stores(found: Mapping[str, Any]) -> list[Line]:
    goals = {"show": 2.0, "report": 10.0}
    lines = [
        Line(f"{name}, store of {size['trials']:,} trials", size[name]["seconds"], most=goal, unit="s")
        for size in found["sizes"]
        for name, goal in goals.items()
    ]
    largest, both = found["sizes"][-1], found["together"]
    pages = f"pages of 100 rows: median {both['page_seconds_median']:.2f} s, most {both['page_seconds_most']:.2f} s"
    return [
        *lines,
        Line(f"plan of {largest['trials']:,} trials", largest["plan"]["seconds"], most=30.0, unit="s"),
        Line("8 readers and 2 writers, rows a second", both["rows_per_second"], pages),
    ]


BENCHMARKS: dict[str, tuple[list[str], Callable[[Mapping[str, Any]], list[Line]]]] = {
    "overhead": (["benchmarks.overhead", "--write"], overhead),
    "official": (["benchmarks.official", "--output"], official),
    "packing": (["benchmarks.packing", "--output"], packing),
    "workers": (["benchmarks.workers", "--write"], workers),
    "replicates": (["benchmarks.frechet_replicates", "--only", "costs", "--write"], replicates),
    "memory": (["benchmarks.memory", "--write"], memory),
    "stores": (["benchmarks.large_stores", "--write"], stores),
}


def measured(name: str, edm: Path | None) -> tuple[list[Line], str]:
    """The lines of a benchmark; why there are none, if it could not be run."""
    arguments, read = BENCHMARKS[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        where = ["--edm", str(edm)] if edm and name == "official" else []
        command = [sys.executable, "-m", arguments[0], *where, *arguments[1:], str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            return [], (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        return read(json.loads(file.read_text())), ""


def table(lines: list[Line]) -> str:
    """The lines in columns."""
    cells = [["", "figure", "", "goal", "met"]]
    for line in lines:
        cells.append([line.what, f"{line.figure:.3g} {line.unit}".strip(), line.range, line.goal, line.verdict])
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edm", type=Path, default=os.environ.get("EDM"), help="a checkout of NVlabs/edm")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines, missing, spent = list[Line](), dict[str, str](), dict[str, float]()
    for name in options.only or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        started = time.perf_counter()
        found, why = measured(name, options.edm)
        spent[name] = round(time.perf_counter() - started, 1)
        lines += found
        missing |= {name: why} if why else {}
    figures = {
        "machine": f"{platform.machine()}, {os.cpu_count()} logical cores",
        "seconds": spent,
        "lines": [line._asdict() | {"met": line.verdict} for line in lines],
        "not measured": missing,
    }
    if options.output:
        show(figures, options.output)
    print(table(lines))
    for name, why in missing.items():
        print(f"{name}: not measured: {why}")


if __name__ == "__main__":
    main()
