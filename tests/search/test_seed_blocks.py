"""What is loaded of a trial: the same blocks of seeds for every trial, whatever chunks the store has them in."""

import numpy as np
import pytest

from harness.execution.measurements import measurements
from harness.execution.results import groups
from harness.execution.seed_ranges import SeedRange
from harness.metrics.features.summary import FeatureSummary
from harness.metrics.statistics.jackknife import BLOCKS
from harness.metrics.statistics.moments import Moments
from harness.search import holdout
from harness.search.plan import SearchRequest, plan_search
from harness.search.seed_blocks import SeedBlocks
from harness.store.database import Chunk, Store

INFO = {"nfe": [127, 127.0, 127], "evaluations": 1016, "seconds": 0.5, "batch": 8, "versions": {"torch": "2"}}


@pytest.fixture(scope="module")
def search():
    return plan_search(SearchRequest(samples=128))


def put(store, measurement, trial, seed_ranges, rows):
    for seed_range in seed_ranges:
        chunk = Chunk(trial.fingerprint, seed_range.first, seed_range.last, measurement.source)
        assert store.claim(chunk)
        part = rows[seed_range.first : seed_range.last + 1]
        store.finish(chunk, FeatureSummary(Moments.of(part)).arrays(), INFO)


def test_smaller_chunks_of_another_search_change_no_block(search, tmp_path):
    """Blocks of 4 and 8 seeds would fall into groups of other sizes, and trials with either could not be paired."""
    measurement = measurements(holdout._plan(search, search.metric, 0, []))[0]
    rows = np.random.default_rng(0).normal(size=(128, 5))
    one, other = (start.candidate.trial for start in search.enqueued[:2])
    with Store(str(tmp_path / "s.sqlite")) as store:
        blocks = SeedBlocks(store, measurement, 8)
        put(store, measurement, one, [SeedRange(at, at + 7) for at in range(0, 128, 8)], rows)
        put(store, measurement, other, [SeedRange(at, at + 3) for at in range(0, 128, 4)], rows)
        assert blocks.cached_seeds(one) == blocks.cached_seeds(other) == 128
        whole, parts = blocks.load(one, 128), blocks.load(other, 128)
    seed_ranges = [piece.seeds for piece in whole]
    assert seed_ranges == [piece.seeds for piece in parts] == [SeedRange(at, at + 7) for at in range(0, 128, 8)]
    assert len(groups(seed_ranges)) == BLOCKS
    assert {piece.info["evaluations"] for piece in parts} == {2032}
    for a, b in zip(whole, parts, strict=True):
        assert sorted(a.arrays) == sorted(b.arrays)
        assert all(np.allclose(a.arrays[name], b.arrays[name], rtol=1e-12, atol=1e-12) for name in a.arrays)
