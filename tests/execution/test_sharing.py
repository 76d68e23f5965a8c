"""Tasks that remember what the denoiser was asked: the same arrays, and only what was computed is counted."""

import numpy as np

from harness.denoisers.load import identity
from harness.execution.seed_ranges import SeedRange
from harness.execution.worker import ChunkTask, run_task
from harness.experiments.trial import Trial
from harness.metrics import METRICS
from harness.sampling.sampler import Sampler

METRIC = '{"kind": "fd-digits"}'


def task(s_noise, remember):
    noise = {"kind": "churn", "S_churn": 2.0, "S_tmax": 1.0, "S_noise": s_noise}
    sampler = Sampler.model_validate({"stochasticity": noise, "steps": 8})
    trial = Trial(denoiser="digits-vp", weights=identity("digits-vp"), sampler=sampler)
    spans = (SeedRange(0, 3), SeedRange(4, 7))
    return ChunkTask(
        trial.model_dump_json(), spans, METRICS.read_json(METRIC).model_dump_json(), 8, False, (), remember
    )


def total(done):
    return sum(chunk.info["evaluations"] for chunk in done.chunks)


def test_a_second_task_computes_only_what_is_new():
    apart = [run_task(task(s_noise, remember=False), "cpu") for s_noise in (1.0, 1.007)]
    shared = [run_task(task(s_noise, remember=True), "cpu") for s_noise in (1.0, 1.007)]
    for one, other in zip(apart, shared, strict=True):
        for mine, theirs in zip(one.chunks, other.chunks, strict=True):
            assert mine.info["nfe"] == theirs.info["nfe"] == [15, 15.0, 15]
            for key, array in mine.arrays.items():
                assert np.array_equal(array, theirs.arrays[key])
    assert [total(done) for done in apart] == [8 * 15, 8 * 15]
    again = total(run_task(task(1.007, remember=True), "cpu"))
    assert total(shared[1]) < 8 * 15 and again == 0
