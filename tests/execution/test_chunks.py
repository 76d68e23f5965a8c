"""Which chunks a run computes: each once, whatever the metrics that share it and whatever their order."""

import pytest
import torch

from harness.execution import worker as chunk_module
from harness.execution.chunks import plan_chunks
from harness.execution.cost import costs
from harness.execution.measurements import measurements
from harness.execution.seed_ranges import SeedRange
from harness.store.database import Chunk, Owner, Store
from tests.execution.test_scheduler import Broken
from tests.execution.wide import FID, KID, PRECISION, SOURCE, _inline, by_metric, grid, reference, run, spans, store

__all__ = ["_inline", "grid", "reference", "store"]


@pytest.mark.parametrize("metrics", [(FID, KID, PRECISION), (PRECISION, FID, KID), (KID, PRECISION, FID)])
def test_each_chunk_is_computed_once(store, grid, metrics):
    summary = run(grid(*metrics, chunk=8), store)
    assert (summary.trials, summary.done, summary.chunks, summary.evaluations) == (3, 3, 5, 40 * 2)
    again = run(grid(*reversed(metrics), chunk=8), store)
    assert (again.done, again.chunks) == (3, 0)


def test_metrics_with_different_needs_look_at_the_same_images(store, tmp_path):
    """Distance, kernel and class probabilities of one classifier: one pass, whatever is kept for whom."""
    from harness.experiments.plan import plan

    kinds = ("fid", "kid", "inception-score")
    text = "title: t\nsamples: 16\nchunk: 8\nsteps: 2\nmetrics:\n"
    text += "".join(
        f"  - {{kind: {kind}, extractor: digits{'' if kind == kinds[2] else ', reference: digits'}}}\n"
        for kind in kinds
    )
    text += "denoisers: {exact: {source: {kind: gaussian, std: 0.4, shape: [1, 8, 8]}}}\n"
    (tmp_path / "mixed.yaml").write_text(text + "series: [{name: euler, sampler: {solver: euler}}]\n")
    planned = plan(tmp_path / "mixed.yaml")
    assert len({measurement.source for measurement in measurements(planned)}) == 1
    summary = run(planned, store)
    assert (summary.done, summary.chunks, summary.evaluations) == (3, 2, 16 * 2)


def test_the_cost_of_shared_chunks_is_counted_once(store, grid):
    for known in (store, None):
        (cost,) = costs(grid(FID, KID, chunk=8), known, "cpu", None)
        assert (cost.trials, cost.missing, cost.evaluations) == (2, 2, 40 * 2)


def test_fewer_images_of_one_metric(store, grid):
    few = KID.replace("kind: kid", "kind: kid, samples: 10")
    summary = run(grid(FID, few, chunk=4), store, batch=2)
    assert summary.evaluations == 40 * 2
    assert set(by_metric(store)) == {("fd-pixels", 0, 40), ("kid-pixels", 0, 10)}
    assert run(grid(few, FID, chunk=4), store).chunks == 0


def test_pictures_of_shared_chunks_are_kept_and_drawn_once(store, grid):
    summary = run(grid(FID, KID, chunk=8, more="mosaics: [2]"), store)
    assert summary.evaluations == 40 * 2
    (key,) = {row["fingerprint"] for row in store.results()}
    assert list(store.images([key], 0)) == [key]


def test_pictures_asked_for_later_are_drawn_once_and_from_few_images(store, grid):
    run(grid(FID, KID, samples=160, chunk=80), store)
    before = list(by_metric(store).values())
    summary = run(grid(FID, KID, samples=160, chunk=80, more="mosaics: [2]"), store, batch=64)
    assert (summary.chunks, summary.evaluations) == (1, 64 * 2)
    assert [row["value"] for row in by_metric(store).values()] == [row["value"] for row in before]
    assert len(store.images([before[0]["fingerprint"]], 0)) == 1


def test_pictures_that_only_one_of_those_who_share_asks_for(store, grid, tmp_path):
    """Equal trials in two series: the metric of pairs is asked of the one without pictures."""
    text = (
        "title: Twice\nsamples: 8\nchunk: 8\nmosaics: [5]\nmetrics:\n"
        f"  - {FID}\n  - {KID.replace('kind: kid', 'kind: kid, series: [four]')}\n"
        "denoisers: {exact: {source: {kind: gaussian, mean: 0.1, std: 0.4, shape: [3, 8, 8]}}}\n"
        "series:\n  - {name: four, nfe: [4], sampler: {solver: heun}}\n"
        "  - {name: five, nfe: [5], sampler: {solver: heun}}\n"
    ).replace("REF", str(tmp_path / "real.npy"))
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    from harness.experiments.plan import plan

    planned = plan(path)
    summary = run(planned, store)
    assert summary.failed == 0
    asked = [item.trial.fingerprint for item in planned.items if item.mosaic]
    assert set(store.images(asked, 0)) == set(asked)


def test_a_failure_fails_all_who_share_the_chunk(store, grid, monkeypatch):
    monkeypatch.setattr(Broken, "shape", (3, 8, 8))
    real = chunk_module.load_denoiser
    monkeypatch.setattr(chunk_module, "load_denoiser", lambda source, **options: Broken())
    summary = run(grid(FID, KID, PRECISION, chunk=8), store)
    assert (summary.done, summary.failed) == (0, 3)
    assert {row["reason"] for row in store.results()} == {"the state is not finite (NaN or infinity)"}
    assert run(grid(FID, KID, PRECISION, chunk=8), store).chunks == 0
    monkeypatch.setattr(chunk_module, "load_denoiser", real)
    chunk_module._denoiser.cache_clear()
    mended = run(grid(FID, chunk=8), store, retry_failed=True)
    assert (mended.done, mended.failed) == (1, 0)
    again = run(grid(FID, chunk=8), store)  # the failed row of the others does not count any more
    assert (again.done, again.failed, again.chunks) == (1, 0, 0)
    others = run(grid(FID, KID, PRECISION, chunk=8), store)
    assert (others.done, others.failed) == (1, 2)
    assert run(grid(FID, KID, PRECISION, chunk=8), store, retry_failed=True).done == 3


def test_three_ranges_are_three_rows_of_disjoint_seeds(store, grid):
    thrice = FID.replace("kind: fid", "kind: fid, ranges: 3")
    summary = run(grid(thrice, KID, samples=12, chunk=8), store)
    assert summary.evaluations == 36 * 2
    rows = by_metric(store)
    assert set(rows) == {("fd-pixels", first, 12) for first in (0, 12, 24)} | {("kid-pixels", 0, 12)}
    assert len({row["value"] for row in rows.values()}) == 4
    assert run(grid(thrice, samples=12, chunk=8), store).chunks == 0


def test_a_smaller_number_of_seeds_after_a_larger_chunk(store, grid):
    """A stored chunk that reaches beyond the seeds that are wanted is no reason to refuse theirs."""
    run(grid(FID, samples=40, chunk=20), store)
    summary = run(grid(FID, samples=14, chunk=20), store)
    assert (summary.done, summary.evaluations) == (1, 14 * 2)
    assert spans(store) == [(0, 13), (0, 19), (20, 39)]
    assert run(grid(FID, samples=40, chunk=20), store).chunks == 0


def test_claims_of_another_process_under_another_name(store, grid):
    """What somebody computes for another metric is cut alike; nobody waits for it."""
    planned = grid(FID, chunk=8)
    (measurement,) = measurements(planned)
    (key,) = measurement.trials
    other = Store(store.name.removeprefix("sqlite:///"))
    other.owner = Owner("elsewhere", 1, "1")
    assert other.claim(Chunk(key, 0, 11, f"{SOURCE}+features"))
    found = plan_chunks([measurement], store)
    assert [planned.seeds for planned in found.chunks] == [
        SeedRange(0, 11),
        SeedRange(12, 15),
        *(SeedRange(at, at + 7) for at in (16, 24, 32)),
    ]
    assert run(planned, store).done == 1


def test_the_broken_denoiser_is_broken():
    assert torch.isnan(Broken()(torch.ones(1), torch.tensor(0.5))).all()
