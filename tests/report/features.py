"""A store with made-up results of metrics of features on top of FD-digits: ranges of seeds, details, cautions."""

import zlib

import numpy as np

from harness.store import tables
from harness.store.database import Store
from tests.report import synthetic
from tests.report.synthetic import BLOCKS, FIRST, METRIC, REFERENCE, N

RANGES = [FIRST, FIRST + N, FIRST + 2 * N]
CAUTION = f"N = {N} images are not more than the 2,048 features: their covariance is singular."


def metric(name, title, better="lower", is_share=False, method="", **changes):
    reference = f"{method} | {REFERENCE}" if method else REFERENCE
    kind = {"metric": name, "title": title, "about": f"About {title}.", "better": better, "method": method}
    kind |= {"is_measure": False, "is_distance": False, "is_share": is_share}
    return METRIC | kind | {"reference": reference, "first_seeds": [FIRST]} | changes


METRICS = [
    metric("fd-digits", "FD-digits", is_distance=True, first_seeds=RANGES),
    metric("kid-digits", "KID (digits)", method="cubic kernel, 100 subsets of 1000"),
    metric("coverage-digits", "Coverage (digits)", "higher", True, "coverage, k = 5", first_seeds=RANGES[:2]),
    metric("inception-score-digits", "Inception Score (digits)", "higher", method="inception score"),
    metric("fid-infinity-digits", "FID∞ (digits)", method="extrapolated in 1/N"),
    metric("memorisation", "Share of copies", is_share=True, method="nearest within 0.333 of the second"),
]
METRICS[3] |= {"reference": "inception score"}

DETAILS = {
    "kid-digits": lambda v: {"subset_mean": v * 1.01, "subset_sd": 2e-4, "subsets": 100, "subset": 512},
    "inception-score-digits": lambda v: {"block_mean": v - 0.2, "block_sd": 0.1, "blocks": BLOCKS},
    "fid-infinity-digits": lambda v: {"slope": 812.0, "r2": 0.93, "counts": [256, 512], "distances": [v + 3, v + 2]},
    "memorisation": lambda v: {"copies": round(v * N / 4), "distance": {"0.05": 0.12, "0.5": 0.4, "0.95": 0.9}},
}


def value(name, fd):
    """From a distance between 2 and 300 to another metric's number."""
    good = np.exp(-(fd - 2) / 12)
    return {
        "fd-digits": fd,
        "kid-digits": (fd - 2.15) / 800,
        "coverage-digits": 0.97 * good,
        "inception-score-digits": 1 + 8.3 * good,
        "fid-infinity-digits": fd - 2.1,
        "memorisation": 0.02 * good,
    }[name]


def row(item, entry, first=FIRST):
    base = synthetic.row(item, rng_seed=first)
    name = entry["metric"]
    made = value(name, base["value"])
    noise = zlib.crc32(f"{name}{item['fingerprint']}".encode())
    scale = 0.01 * abs(made) + {"kid-digits": 2e-4, "coverage-digits": 0.01}.get(name, 1e-3)
    replicates = made + np.random.default_rng(noise).normal(0, scale, BLOCKS)
    se = np.sqrt((BLOCKS - 1) / BLOCKS * ((replicates - replicates.mean()) ** 2).sum())
    if first != FIRST:
        made *= 1 + np.random.default_rng(noise + first).normal(0, 0.04)
    own = {key: entry[key] for key in ("metric", "extractor", "reference", "n")}
    details = DETAILS[name](made) if name in DETAILS else {}
    if name in ("fd-digits", "fid-infinity-digits"):
        details |= {"cautions": [CAUTION]}
    if name == "fd-digits" and first == FIRST:
        return base | {"details": details}
    numbers = {"value": made, "low": made - 2.36 * se, "high": made + 2.36 * se, "replicates": replicates.tolist()}
    blocks = [first + start for start in range(0, N, N // BLOCKS)]
    return base | own | numbers | {"first_seed": first, "blocks": blocks, "details": details or None}


def fill(path, metrics=None, **changes):
    """A store with every metric of every trial; one of fd-digits' third range failed, two are missing."""
    metrics = metrics or METRICS
    plan = synthetic.plan(**({"metrics": metrics} | changes))
    store = Store(str(path))
    store.put_grid(plan["name"], plan)
    rows = []
    for entry in metrics:
        for first in entry["first_seeds"]:
            for index, item in enumerate(plan["items"]):
                made = row(item, entry, first) | {"finished_at": "2026-01-01T00:00:00Z"}
                if entry["metric"] == "fd-digits" and first == RANGES[2] and index in (3, 4):
                    continue
                if entry["metric"] == "fd-digits" and first == RANGES[2] and index == 5:
                    made |= {"status": "failed", "reason": "non-finite value in x", "step": 2, "value": None}
                rows.append(made)
    synthetic.insert(store, tables.results, rows)
    sheets = [
        {"fingerprint": item["fingerprint"], "first_seed": FIRST, "count": 64, "png": synthetic.mosaic(index)}
        for index, item in enumerate(plan["items"])
        if index % 4 == 0
    ]
    synthetic.insert(store, tables.images, sheets)
    synthetic.keep_floor(store)
    return store
