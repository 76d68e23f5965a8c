"""A store with made-up results: three denoisers, three series (two for ADM), ten NFE points each."""

import hashlib
import io

import numpy as np
import sqlalchemy as sa
from PIL import Image

from harness.metrics.floor import floor_key
from harness.store import tables
from harness.store.database import Store

EXTRACTOR = "sha256:" + "e" * 16
REFERENCE = "sha256:" + "f" * 16
N, BLOCKS, FIRST = 512, 16, 0
KEY = {"extractor": EXTRACTOR, "reference": REFERENCE, "first_seed": FIRST, "n": N}

METRIC = {
    "metric": "fd-digits",
    "title": "FD-digits",
    "about": "Distance to the digits.",
    "fields": {},
    "is_distance": True,
    "by_level": None,
    "better": "lower",
    "pictures": {},
    "extractor": EXTRACTOR,
    "reference": REFERENCE,
    "n": N,
    "series": None,
    "denoisers": None,
}

PANELS = [
    ("digits-vp", "VP, DDPM++ style", "cifar10_vp"),
    ("digits-ve", "VE, NCSN++ style", "cifar10_ve"),
    ("digits-adm", "ADM style", "imagenet64_adm"),
]
SERIES = [
    ("Original choices", "baseline", "reimplementation"),
    ("Heun and time steps", None, "heun_and_t"),
    ("Our choices", "ours", "sigma_and_s"),
]
STEPS = {"Original choices": [8, 16, 32, 64, 128, 192, 256, 384, 512, 1024]}
HEUN_STEPS = [3, 5, 7, 9, 12, 18, 25, 40, 64, 128]
RATE = {"Original choices": (90.0, 1.05), "Heun and time steps": (420.0, 1.75), "Our choices": (260.0, 2.1)}
SOURCE = "# the paper's Figure 2 on digits\nname: fig2\nmetric: fd-digits\npanels: [digits-vp, digits-ve, digits-adm]\n"


def fingerprint(*parts):
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def sampler(series, steps):
    euler = series == "Original choices"
    solver = {"kind": "euler"} if euler else {"kind": "rk2", "alpha": 1.0}
    levels = {"kind": "vp", "epsilon_s": 0.001} if euler else {"kind": "edm", "sigma_min": 0.002, "sigma_max": 80.0}
    ours = series == "Our choices"
    return {
        "solver": solver,
        "discretization": levels | ({} if euler else {"rho": 7.0}),
        "schedule": {"kind": "linear" if ours else "vp"},
        "scaling": {"kind": "none" if ours else "vp"},
        "stochasticity": {"kind": "deterministic"},
        "steps": steps,
        "noise_device": "cpu",
    }


def items(source=None):
    found = []
    for panel, _, _ in PANELS:
        for series, _, _ in SERIES:
            if panel == "digits-adm" and series == "Our choices":
                continue
            for steps in STEPS.get(series, HEUN_STEPS):
                nfe = steps if series == "Original choices" else 2 * steps - 1
                found.append(
                    {
                        "panel": panel,
                        "series": series,
                        "fingerprint": fingerprint(panel, series, steps),
                        "steps": steps,
                        "nfe": nfe,
                        "x": None,
                        "base": series,
                        "adaptive": False,
                        "mosaic": True,
                        "labels": "random",
                        "sampler": sampler(series, steps),
                    }
                )
    return found


def plan(**changes):
    card = {
        "dataset": "UCI digits, 8 x 8",
        "parameters": 1_204_353,
        "sigma_min": 0.002,
        "sigma_max": 80,
        "licence": "CC BY 4.0",
    }
    return {
        "name": "fig2",
        "title": "Deterministic sampling of small digit models",
        "description": "The comparison of the paper's Figure 2, on networks trained for the 8 x 8 digits.",
        "source": SOURCE,
        "first_seed": FIRST,
        "metrics": [METRIC],
        "x": {"path": "nfe", "title": "nfe"},
        "design": None,
        "panels": [
            {"name": name, "title": title, "paper": paper, "weights": "sha256:" + fingerprint(name), "card": card}
            for name, title, paper in PANELS
        ],
        "series": [{"name": name, "note": None, "role": role, "paper": paper} for name, role, paper in SERIES],
        "items": items(),
    } | changes


def row(item, rng_seed=0, **changes):
    """A plausible result: a power law down to a level of its own, with noise that trials on the same seeds share."""
    scale, power = RATE[item["series"]]
    panel = [name for name, _, _ in PANELS].index(item["panel"])
    level = 2.1 + 0.25 * panel
    shared = np.random.default_rng(panel).normal(0, 0.012, BLOCKS)
    own = np.random.default_rng(int(item["fingerprint"][:8], 16) + rng_seed).normal(0, 0.003, BLOCKS)
    value = level * (1 + 0.01 * own.sum()) + scale * (1 + panel / 2) * item["nfe"] ** -power
    replicates = value * (1 + (shared - shared.mean()) + (own - own.mean()) / 10)  # no bias, and pairs tell much
    se = np.sqrt((BLOCKS - 1) / BLOCKS * ((replicates - replicates.mean()) ** 2).sum())
    return {
        "fingerprint": item["fingerprint"],
        **KEY,
        "status": "done",
        "reason": None,
        "step": None,
        "metric": "fd-digits",
        "value": float(value),
        "low": float(value - 2.36 * se),
        "high": float(value + 2.36 * se),
        "replicates": replicates.tolist(),
        "blocks": list(range(FIRST, FIRST + N, N // BLOCKS)),
        "details": None,
        "nfe": float(item["nfe"]),
        "nfe_min": item["nfe"],
        "nfe_max": item["nfe"],
        "evaluations": item["nfe"] * N,
        "seconds": item["nfe"] * 0.31,
        "trial": {
            "denoiser": item["panel"],
            "weights": "sha256:" + fingerprint(item["panel"]),
            "sampler": item["sampler"],
            "labels": "random",
            "dtype": None,
        },
        "provenance": {
            "labels": "random",
            "dtype": "float32",
            "device": ["cpu"],
            "batch": [64],
            "versions": {"harness": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "python": "3.11.2"},
            "revision": "0123abc",
            "weights": "sha256:" + fingerprint(item["panel"]),
            "chunks": 8,
            "se": float(se),
        },
    } | changes


def failed(item, reason, step, **changes):
    empty = dict.fromkeys(("value", "low", "high", "replicates", "blocks", "nfe", "nfe_min", "nfe_max"))
    return row(item, status="failed", reason=reason, step=step, **empty, **changes)


def mosaic(seed):
    """64 noisy blobs in rows of 8, as PNG."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:8, 0:8]
    tiles = []
    for _ in range(64):
        cy, cx, r = rng.uniform(2, 5, 3)
        tiles.append(np.exp(-((np.hypot(y - cy, x - cx) - r / 2) ** 2)))
    grid = np.array(tiles).reshape(8, 8, 8, 8).swapaxes(1, 2).reshape(64, 64)
    buffer = io.BytesIO()
    Image.fromarray((255 * grid).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def fill(path, the_plan=None, floor=True, skip=(), images=True, break_one=True):
    """A store with the plan and its results. `skip`: indices of items left without a row."""
    the_plan = the_plan or plan()
    store = Store(str(path))
    store.put_grid(the_plan["name"], the_plan)
    every = {item["fingerprint"]: (index, item) for index, item in reversed(list(enumerate(the_plan["items"])))}
    items = {index: item for index, item in sorted(every.values(), key=lambda pair: pair[0]) if index not in skip}
    rows = {index: row(item) for index, item in items.items()}
    if break_one and 10 in items:
        rows[10] = failed(items[10], "non-finite value in x", 2)
    insert(
        store, tables.results, [made | {"finished_at": f"2026-01-01T00:00:{i % 60:02}Z"} for i, made in rows.items()]
    )
    if images:
        pngs = [(item["fingerprint"], mosaic(index)) for index, item in items.items() if item["mosaic"]]
        sheets = [{"fingerprint": name, "first_seed": FIRST, "count": 64, "png": png} for name, png in pngs]
        insert(store, tables.images, list({sheet["fingerprint"]: sheet for sheet in sheets}.values()))
    if floor:
        keep_floor(store)
    return store


def keep_floor(store):
    fact = {"mean": 1.62, "low": 1.45, "high": 1.83, "n": N, "draws": 20, "source": "all images of the reference"}
    store.put_fact(floor_key("fd-digits", EXTRACTOR, REFERENCE, N), fact | {"approximate": False})


def insert(store, table, rows):
    """Many rows in one transaction; the store itself commits each, which takes a while."""
    if rows:
        with store.engine.begin() as connection:
            connection.execute(sa.insert(table), rows)
