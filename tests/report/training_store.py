"""A store with made-up results of a grid that trains: six configurations, two architectures, three training seeds."""

import numpy as np

from harness.store import tables
from harness.store.database import Store
from tests.report import synthetic
from tests.report.synthetic import BLOCKS, FIRST, N

ABOUT = ["baseline", "hyperparameters", "capacity", "preconditioning", "loss function", "non-leaky augmentation"]
ROWS = [{"name": name, "about": about} for name, about in zip("ABCDEF", ABOUT, strict=True)]
COLUMNS = [{"name": "VP", "paper": "cifar10_uncond_vp"}, {"name": "VE", "paper": None}]
SEEDS = (0, 1, 2)
IMAGES = (100_000, 200_000, 400_000)
MEANS = {"A": 3.0, "B": 2.6, "C": 2.4, "D": 2.42, "E": 2.0, "F": 1.95}
SPREAD = 0.03
CHURN = (0.0, 10.0, 20.0, 40.0)
SIGMA_DATA = 0.5
SERIES = "Heun"
ALONG = "Heun, by churn"


def panel_name(row, column, seed, images):
    return f"{row}-{column.lower()}-s{seed}-{images // 1000}k"


def networks(rows=ROWS, columns=COLUMNS, seeds=SEEDS, images=IMAGES):
    return [
        {
            "panel": panel_name(row["name"], column["name"], seed, count),
            "row": row["name"],
            "column": column["name"],
            "seed": seed,
            "images": count,
            "is_last": count == images[-1],
        }
        for row in rows
        for column in columns
        for seed in seeds
        for count in images
    ]


def quality(network, x=0.0):
    """What a network's metric is at infinite N: better with images, and a seed's own part that the test knows."""
    base = MEANS[network["row"]] + (0.4 if network["column"] == "VE" else 0.0)
    own = SPREAD * (network["seed"] - 1)
    early = 0.5 * (1 - network["images"] / 400_000)
    gain = {"A": 0.5, "B": 0.4, "C": 0.3, "D": 0.25}.get(network["row"], -0.05)
    return base + own + early - gain * x / (x + 15.0) + 0.0002 * x**2


def terms(row, column, sigma):
    """Terms of eq. 8: the first three configurations as VP or VE, then the paper's preconditioning, then its loss."""
    total = sigma**2 + SIGMA_DATA**2
    if row in "ABC":
        c_in, c_out, c_skip = (1 / np.sqrt(1 + sigma**2) if column == "VP" else np.ones_like(sigma)), sigma, 1.0
    else:
        c_in, c_out, c_skip = 1 / np.sqrt(total), sigma * SIGMA_DATA / np.sqrt(total), SIGMA_DATA**2 / total
    weight = total / (sigma * SIGMA_DATA) ** 2 if row in "EF" else 1 / sigma**2
    target = ((1 - c_skip) ** 2 * SIGMA_DATA**2 + c_skip**2 * sigma**2) / c_out**2
    return weight, c_in**2 * total, target, c_out


def levels(rows=ROWS, columns=COLUMNS, seeds=SEEDS, count=40):
    sigma = np.geomspace(0.005, 80, count)
    made = []
    for row in rows:
        for column in columns:
            weight, input_variance, target, c_out = terms(row["name"], column["name"], sigma)
            linear = sigma**2 * SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)  # of the best linear denoiser
            least = linear / (1 + 4 / (1 + (2 * np.log(sigma / 0.4)) ** 2))
            centre, width = (-1.2, 1.2) if row["name"] in "EF" else (-1.5, 2.5)
            density = np.exp(-((np.log(sigma) - centre) ** 2) / (2 * width**2)) / (width * np.sqrt(2 * np.pi))
            for seed in seeds:
                rng = np.random.default_rng(seed)
                made.append(
                    {
                        "row": row["name"],
                        "column": column["name"],
                        "seed": seed,
                        "sigma": sigma.tolist(),
                        "before": (weight * c_out**2 * target * (1 + 0.02 * rng.normal(size=count))).tolist(),
                        "after": (weight * least * (1 + 0.02 * rng.normal(size=count))).tolist(),
                        "density": density.tolist(),
                        "effective_weight": (weight * c_out**2).tolist(),
                        "input_variance": input_variance.tolist(),
                        "target_variance": target.tolist(),
                    }
                )
    return made


def item(network, series, x=None, nfe=35):
    sampler = synthetic.sampler("Our choices", (nfe + 1) // 2)
    return {
        "panel": network["panel"],
        "series": series,
        "fingerprint": synthetic.fingerprint(network["panel"], series, x),
        "steps": (nfe + 1) // 2,
        "nfe": nfe,
        "x": x,
        "base": series,
        "adaptive": False,
        "mosaic": True,
        "labels": "random",
        "sampler": sampler,
    }


def plan(along=False, **changes):
    """The plan; `along` adds a series along S_churn, asked of the last snapshots of four configurations."""
    trained = {"rows": ROWS, "columns": COLUMNS, "networks": networks(), "levels": levels()}
    trained |= changes.pop("training", {})
    made = synthetic.plan(**({"name": "training", "title": "Training configurations"} | changes))
    names = [SERIES, ALONG] if along else [SERIES]
    made["series"] = [{"name": name, "base": name, "note": None, "role": None, "paper": None} for name in names]
    card = made["panels"][0]["card"]
    made["panels"] = [
        {"name": each["panel"], "title": each["panel"], "paper": None, "weights": "sha256:0", "card": card}
        for each in trained["networks"]
    ]
    made["items"] = [item(each, SERIES) for each in trained["networks"]]
    if along:
        made["x"] = {"path": "stochasticity.S_churn", "title": "S_churn"}
        last = [each for each in trained["networks"] if each["is_last"] and each["row"] in "ADEF"]
        made["items"] += [item(each, ALONG, x) for each in last for x in CHURN]
    return made | {"training": trained}


def row(entry, network):
    """A row whose metric at N is too large by 1 / N, and whose estimate at infinite N is `quality`."""
    truth = quality(network, entry["x"] or 0.0)
    noise = np.random.default_rng(7).normal(0, 0.02, BLOCKS)
    blocks = truth + noise - noise.mean()
    bias, size = 20.0, N // BLOCKS
    value = truth + bias / N
    left_out = (blocks.sum() - blocks) / (BLOCKS - 1) + bias / (N - size)
    made = synthetic.row(entry | {"series": "Our choices", "panel": "digits-vp"})
    numbers = {"value": float(value), "low": float(value - 0.1), "high": float(value + 0.1)}
    numbers |= {"replicates": left_out.tolist(), "blocks": list(range(FIRST, FIRST + N, size))}
    return made | numbers | {"fingerprint": entry["fingerprint"]}


def fill(path, the_plan=None, skip=(), fails=(), images=False, changed=None):
    """A store with the plan and its results.

    `skip` and `fails` are denoisers without a row, or with a failed one; `changed` has columns of rows by denoiser.
    """
    the_plan = the_plan or plan()
    known = {each["panel"]: each for each in (the_plan.get("training") or {"networks": networks()})["networks"]}
    store = Store(str(path))
    store.put_grid(the_plan["name"], the_plan)
    rows = []
    for entry in the_plan["items"]:
        if entry["panel"] in skip:
            continue
        made = row(entry, known[entry["panel"]])
        if entry["panel"] in fails:
            made |= {"status": "failed", "reason": "non-finite value in x", "step": 2, "value": None}
        made |= (changed or {}).get(entry["panel"], {})
        rows.append(made | {"finished_at": "2026-01-01T00:00:00Z"})
    synthetic.insert(store, tables.results, rows)
    if images:
        sheets = [
            {"fingerprint": each["fingerprint"], "first_seed": FIRST, "count": 64, "png": synthetic.mosaic(place)}
            for place, each in enumerate(the_plan["items"])
        ]
        synthetic.insert(store, tables.images, sheets)
    return store
