"""A store with a made-up search: true values over the space, noise of the search's seeds and of fresh ones."""

import math
from typing import Any

import numpy as np

from harness.experiments.trial import Trial
from harness.metrics.statistics.jackknife import Replicates, compare, jackknife
from harness.sampling.sampler import Sampler
from harness.store import tables
from harness.store.database import Store
from tests.report.synthetic import METRIC, insert

N, CHUNK, RUNGS, FRESH, NFE = 640, 32, [128, 320, 640], 1_000_000, 127
WEIGHTS = "sha256:" + "a" * 64
PARAMETERS = [
    {"name": "gamma", "path": "stochasticity.gamma", "kind": "number", "low": 0.0, "high": 0.4142, "log": False},
    {"name": "S_tmin", "path": "stochasticity.S_tmin", "kind": "number", "low": 0.002, "high": 1.0, "log": True},
    {"name": "S_tmax", "path": "stochasticity.S_tmax", "kind": "number", "low": 0.1, "high": 80.0, "log": True},
    {"name": "S_noise", "path": "stochasticity.S_noise", "kind": "number", "low": 0.99, "high": 1.02, "log": False},
]
PARAMETERS = [entry | {"choices": None, "values": None} for entry in PARAMETERS]
SEARCH_METRIC = METRIC | {"n": N, "first_seeds": [0], "method": "", "is_measure": False, "is_share": False}
OBJECTIVE = SEARCH_METRIC | {
    "metric": "end-point-error",
    "title": "End-point error",
    "about": "Distance to the exact end point.",
    "is_distance": False,
    "is_measure": True,
    "extractor": "measure",
    "reference": "none",
}


def trial(settings: dict[str, Any] | None, steps: int = 64) -> dict[str, Any]:
    """The Trial's JSON for some settings; None for the deterministic sampler."""
    noise: Any = "deterministic"
    if settings is not None:
        noise = {"kind": "churn", "S_churn": round(settings.get("gamma", 0.0) * steps, 6)}
        noise |= {name: settings[name] for name in ("S_tmin", "S_tmax", "S_noise") if name in settings}
    sampler = Sampler.model_validate({"stochasticity": noise, "steps": steps})
    return Trial(denoiser="digits-vp", weights=WEIGHTS, sampler=sampler).model_dump(mode="json")


def fingerprint(one: dict[str, Any]) -> str:
    return Trial.model_validate(one).fingerprint


def true_value(settings: dict[str, Any] | None) -> float:
    """Least at gamma 0.2, S_tmax 3, S_noise 1.004; the deterministic sampler gets 2.1."""
    if settings is None:
        return 2.1
    value = 1.6 + 9 * (settings.get("gamma", 0.0) - 0.2) ** 2 + 1200 * (settings.get("S_noise", 1.0) - 1.004) ** 2
    value += 0.05 * math.log10(settings.get("S_tmin", 0.01) / 0.02) ** 2
    return value + 0.12 * math.log10(settings.get("S_tmax", 3.0) / 3.0) ** 2


def measured(value: float, name: str, n: int, first: int, spread: float = 0.005, bias: float = 60.0) -> dict[str, Any]:
    """What a metric would give of n images: a bias that falls with n, noise that trials share, and their own."""
    count = n // CHUNK
    shared = np.random.default_rng(first).normal(0, 0.15, 200)[:count]
    own = np.random.default_rng([int(name[:8], 16), first]).normal(0, spread * 20, 200)[:count]
    full = value + bias / n + float(shared.mean()) * 0.4 + float(own.mean())
    parts = full + (shared + own - (shared + own).mean()) / (count - 1)
    found = jackknife(full, parts, np.full(count, CHUNK))
    assert found is not None
    replicates = [float(part) for part in parts]
    return {
        "n": n,
        "value": full,
        "low": found.low,
        "high": found.high,
        "replicates": replicates,
        "sizes": [CHUNK] * count,
    }


def gap(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    sides = [Replicates(each["value"], np.array(each["replicates"]), np.array(each["sizes"])) for each in (a, b)]
    found = compare(*sides).difference
    assert found is not None
    return {"estimate": found.estimate, "low": found.low, "high": found.high}


def suggestions(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Settings that draw near the best, as a search's would."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        near = 1 - 0.75 * index / max(count, 1)
        made.append(
            {
                "gamma": float(np.clip(0.2 + near * rng.uniform(-0.2, 0.21), 0, 0.414)),
                "S_tmin": float(10 ** (math.log10(0.02) + near * rng.uniform(-1, 1.6))),
                "S_tmax": float(10 ** (math.log10(3) + near * rng.uniform(-1.4, 1.4))),
                "S_noise": float(1.004 + near * rng.uniform(-0.014, 0.016)),
            }
        )
    return made


PAPER = {"gamma": 0.3, "S_tmin": 0.05, "S_tmax": 50.0, "S_noise": 1.003}


def slot(number: int, settings: dict[str, Any] | None, origin: str = "suggested", **changes: Any) -> dict[str, Any]:
    """A slot that has not been measured."""
    steps = changes.pop("steps", 64)
    one = trial(settings, steps)
    return {
        "study": "one",
        "number": number,
        "status": "running",
        "origin": origin,
        "params": {},
        "settings": settings,
        "trial": one,
        "fingerprint": fingerprint(one),
        "nfe": 2 * steps - 1,
        "twin": None,
        "rival": None,
        "held": 0,
        "rungs": [],
        "value": None,
        "reason": None,
        "step": None,
        "evaluations": 0,
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": None,
    } | changes


def run(made: list[dict[str, Any]], true: Any = true_value, rungs: list[int] = RUNGS, prune: bool = True) -> None:
    """Measure slots in order, as a search would: the rival is the best so far, and what is clearly worse ends."""
    rival: dict[str, Any] | None = None
    for each in made:
        for n in rungs:
            rung = measured(true(each["settings"]), each["fingerprint"], n, 0) | {"difference": None}
            if rival:
                other = next(one for one in rival["rungs"] if one["n"] == n)
                rung["difference"] = gap(rung, other)
                each["rival"] = rival["number"]
            each["rungs"].append(rung)
            if prune and n < rungs[-1] and rung["difference"] and rung["difference"]["low"] > 0:
                each["status"] = "pruned"
                low, high = rung["difference"]["low"], rung["difference"]["high"]
                each["reason"] = f"worse than No. {each['rival']} by {low:.3f} to {high:.3f} at {n} images"
                break
        else:
            each["status"] = "done"
        each["value"] = each["rungs"][-1]["value"]
        each["evaluations"] = each["nfe"] * each["rungs"][-1]["n"]
        if each["status"] == "done" and (rival is None or each["value"] < rival["value"]):
            rival = each


def final(each: dict[str, Any], role: str, label: str, rank: int | None = None) -> dict[str, Any]:
    full = each["rungs"][-1] if each["status"] == "done" else None
    return {
        "role": role,
        "label": label,
        "rank": rank,
        "number": each["number"],
        "fingerprint": each["fingerprint"],
        "trial": each["trial"],
        "nfe": each["nfe"],
        "settings": each["settings"],
        "search": {name: full[name] for name in ("value", "low", "high")} if full else None,
    }


def fresh_row(each: dict[str, Any], value: float, n: int = N, **changes: Any) -> dict[str, Any]:
    """A result row of the metric on fresh seeds."""
    found = measured(value, each["fingerprint"], n, FRESH)
    return {
        "fingerprint": each["fingerprint"],
        "metric": SEARCH_METRIC["metric"],
        "extractor": SEARCH_METRIC["extractor"],
        "reference": SEARCH_METRIC["reference"],
        "first_seed": FRESH,
        "n": n,
        "status": "done",
        "reason": None,
        "step": None,
        "value": found["value"],
        "low": found["low"],
        "high": found["high"],
        "replicates": found["replicates"],
        "blocks": list(range(FRESH, FRESH + n, CHUNK)),
        "details": None,
        "nfe": float(each["nfe"]),
        "nfe_min": each["nfe"],
        "nfe_max": each["nfe"],
        "evaluations": each["nfe"] * n,
        "seconds": 12.0,
        "trial": each["trial"],
        "provenance": {"device": ["cpu"], "versions": {"harness": "0.1.0", "torch": "2.13.0"}, "weights": WEIGHTS},
        "finished_at": "2026-01-02T00:00:00Z",
    } | changes


def study(**changes: Any) -> dict[str, Any]:
    """The row of a study; `spec` and `record` in changes are added to the ones made here."""
    spec = {
        "target": "stochastic",
        "space": {"gamma": "0 to 0.4142"},
        "denoiser": "digits-vp",
        "weights": WEIGHTS,
        "labels": "random",
        "dtype": None,
        "metric": {"kind": "fd-digits"},
        "objective": {"kind": "fd-digits"},
        "nfe": NFE,
        "pareto": False,
        "method": "tpe",
        "seed": 0,
        "samples": N,
        "first_seed": 0,
        "rungs": RUNGS,
        "chunk": CHUNK,
        "pruner": "paired",
        "ahead": 4,
        "fresh_seed": FRESH,
        "top": 5,
    }
    record = {
        "title": "Stochastic sampling",
        "about": "How much noise to add at each step, and between which noise levels.",
        "denoiser": "digits-vp",
        "card": {"dataset": "UCI digits, 8 x 8", "licence": "CC BY 4.0"},
        "objective": SEARCH_METRIC,
        "metric": SEARCH_METRIC,
        "parameters": PARAMETERS,
        "steps": 64,
        "full": NFE * N,
        "points": None,
        "versions": {"harness": "0.1.0", "optuna": "5.0.0"},
    }
    return {
        "name": "one",
        "spec": spec | changes.pop("spec", {}),
        "record": record | changes.pop("record", {}),
        "budget": {"trials": None, "evaluations": None},
        "finals": None,
        "mirrored": 0,
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-02T00:00:00Z",
    } | changes


def searched(count: int = 60, seed: int = 0) -> list[dict[str, Any]]:
    """Slots of a finished search: the known settings first, one repeat, one failure."""
    known = [slot(0, None, "Deterministic"), slot(1, PAPER, "Paper, CIFAR-10 VP")]
    made = known + [slot(index + 2, each) for index, each in enumerate(suggestions(count - 2, seed))]
    broken = made.pop(12) | {"status": "failed", "reason": "non-finite value in x", "step": 7, "evaluations": 640}
    run(made)
    made.insert(12, broken)
    source = made[5]
    copied = {name: source[name] for name in ("settings", "trial", "fingerprint", "status", "rungs", "value", "rival")}
    made.append(slot(count, source["settings"], twin=5) | copied)
    return made


def conclude(made: list[dict[str, Any]], top: int = 5, spread: int = 0) -> list[dict[str, Any]]:
    """What is measured again: the best of the search, others along the ranking, and the known settings."""
    ranked = sorted(
        (one for one in made if one["status"] == "done" and one["twin"] is None), key=lambda one: one["value"]
    )
    named = [final(one, "top", f"No. {one['number']}", rank) for rank, one in enumerate(ranked[:top], 1)]
    rest = list(enumerate(ranked, 1))[top :: max(1, (len(ranked) - top) // spread)] if spread else []
    named += [final(one, "spread", f"No. {one['number']}", rank) for rank, one in rest[:spread]]
    named.append(final(made[0], "baseline", "Deterministic"))
    return [*named, final(made[1], "paper", "Paper, CIFAR-10 VP")]


def fill(path: Any, row: dict[str, Any], made: list[dict[str, Any]], rows: Any = ()) -> Store:
    """A store with a study, its slots and results."""
    store = Store(str(path))
    insert(store, tables.studies, [row])
    insert(store, tables.slots, [each | {"study": row["name"]} for each in made])
    insert(store, tables.results, list(rows))
    return store


def whole_search(path: Any, **changes: Any) -> Store:
    """A finished search with its fresh measurements."""
    made = searched()
    finals = conclude(made)
    by_name = {each["fingerprint"]: each for each in made}
    rows = [
        fresh_row(by_name[name], true_value(by_name[name]["settings"]))
        for name in by_name
        if name in {one["fingerprint"] for one in finals}
    ]
    changes = {"budget": {"trials": len(made), "evaluations": None}, "finals": finals} | changes
    return fill(path, study(**changes), made, rows)
