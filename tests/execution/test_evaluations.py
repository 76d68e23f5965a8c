"""Network rows of chunks: samples, and the rows that fill calls up, shared among the chunks of a call."""

import pytest

from harness.execution.chunks import PlannedChunk, plan_chunks
from harness.execution.evaluations import task_evaluations
from harness.execution.measurements import measurements
from harness.execution.run import run
from harness.execution.seed_ranges import SeedRange, shares
from harness.execution.sharing import chunk_evaluations, plan_tasks
from harness.experiments.plan import plan
from harness.store.database import Store

GRID = """
title: Chunks of eight and a rest
samples: 20
chunk: 8
mosaics: [3]
nfe: [3]
denoisers:
  exact: {source: {kind: gaussian, std: 0.4}}
series:
  - {name: euler, sampler: {solver: euler}}
"""


@pytest.fixture
def planned(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return plan(path)


def test_calls_are_filled_up():
    assert [task_evaluations(7, seeds, 8) for seeds in (1, 8, 9, 16)] == [56, 56, 112, 112]


def test_shares_add_up():
    assert shares(10, [1, 1, 1]) == [3, 4, 3]
    assert sum(shares(101, [8, 8, 4])) == 101


@pytest.mark.parametrize(
    ("batch", "rows"),
    [
        (20, [24, 24, 12]),  # one call for all
        (16, [24, 24, 48]),  # 8 and 8 together, and 4 in a call of 16
        (8, [24, 24, 24]),
        (3, [27, 27, 18]),  # three calls each, and two
    ],
)
def test_evaluations_are_those_of_the_run(planned, tmp_path, batch, rows):
    every = measurements(planned)
    chunks = plan_chunks(every, None).chunks
    assert list(chunk_evaluations(plan_tasks(chunks, every, [batch], 1)).values()) == rows
    with Store(str(tmp_path / "s.sqlite")) as store:
        summary = run(planned, store, "cpu", batch, executor="inline")
    assert (summary.evaluations, summary.predicted.evaluations) == (sum(rows), sum(rows))


def test_pictures_of_stored_chunks_are_drawn_alone(planned):
    every = measurements(planned)
    (key,) = every[0].trials
    drawn = PlannedChunk(0, key, SeedRange(0, 7), True, images_only=True)
    others = [PlannedChunk(0, key, SeedRange(8, 15), False), PlannedChunk(0, key, SeedRange(16, 19), False)]
    tasks = plan_tasks([drawn, *others], every, [20], 1)
    assert list(chunk_evaluations(tasks).values()) == [60, 40, 20]
