"""Small runs of metrics whose moments are large: a Gaussian, averaged pixels, a reference of noise."""

import numpy as np
import pytest

from harness.execution import run as run_module
from harness.execution import worker as chunk_module
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.execution.results import groups
from harness.experiments.plan import plan
from harness.store.database import Store

HEAD = """
title: Metrics of averaged pixels
samples: {samples}
chunk: {chunk}
steps: {steps}
{more}
metrics:
{metrics}
denoisers:
  exact: {{source: {{kind: gaussian, mean: {mean}, std: 0.4, shape: [3, 8, 8]}}}}
series:
  - name: euler
    sampler: {{solver: euler}}
"""
FID = "{kind: fid, extractor: {kind: raw, size: 2}, reference: REF}"
KID = "{kind: kid, extractor: {kind: raw, size: 2}, reference: REF, subset: 5, subsets: 2}"
PRECISION = "{kind: precision, extractor: {kind: raw, size: 2}, reference: REF}"
SOURCE = "raw:2:mean"
SOURCES = tuple(f"{SOURCE}{kept}" for kept in ("", "+classes", "+classes+features", "+features"))


@pytest.fixture
def reference(tmp_path):
    """A set of noise with a mean, as an array in a file."""
    path = tmp_path / "real.npy"
    np.save(path, np.random.default_rng(0).integers(60, 220, (60, 3, 8, 8), dtype=np.uint8))
    return path


@pytest.fixture
def grid(tmp_path, reference):
    """Plans a grid of some metrics."""

    def write(*metrics, samples=40, chunk=2, steps="[2]", more="", mean=0.1, name="wide"):
        listed = "\n".join(f"  - {metric.replace('REF', str(reference))}" for metric in metrics)
        path = tmp_path / f"{name}.yaml"
        path.write_text(HEAD.format(samples=samples, chunk=chunk, steps=steps, more=more, metrics=listed, mean=mean))
        return plan(path)

    return write


@pytest.fixture
def store(tmp_path):
    with Store(str(tmp_path / "store.sqlite")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _inline(monkeypatch):
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    monkeypatch.setattr("harness.execution.scheduler.POLL_SECONDS", 0.0)
    chunk_module._denoiser.cache_clear()


@pytest.fixture
def ten_blocks(monkeypatch):
    """Tests of merging count in tens, whatever the number of blocks of the jackknife."""
    monkeypatch.setattr(groups, "__defaults__", (10,))


def run(planned, store, **options):
    return run_module.run(planned, store, device="cpu", **options)


def spans(store, source=None):
    """First and last seeds of the finished chunks, by seed."""
    rows = store.chunks(SOURCES if source is None else source)
    return sorted((row["first_seed"], row["last_seed"]) for row in rows if row["status"] == "done")


def by_metric(store):
    rows = {(row["metric"], row["first_seed"], row["n"]): row for row in store.results()}
    return dict(sorted(rows.items()))
