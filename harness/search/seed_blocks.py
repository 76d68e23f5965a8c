"""The first seeds of a trial in blocks of one size, whatever chunks the store has them in.

Seeds that the store has are not computed again, unless they lie in chunks that reach across blocks: trials in other
blocks could not be paired.

Which row of a network call a seed has is the same whatever was stored before: matrix products round a row otherwise at
another place among the others, and where that turns a pixel's byte, a value changes in the fifth digit. Where some of
the seeds of a call are there already, they fill their rows all the same, which would be padding otherwise.
"""

from collections.abc import Sequence
from typing import Any

from harness.execution.limits import Effort
from harness.execution.measurements import Measurement
from harness.execution.results import ChunkData, merged_info
from harness.execution.scheduler import Job
from harness.execution.seed_ranges import SeedRange, partition_seeds, seeds_of
from harness.execution.worker import ChunkTask
from harness.experiments.trial import Trial
from harness.metrics.features.summary import FeatureSummary
from harness.store.chunk import Chunk
from harness.store.database import Store


class SeedBlocks:
    """What a search needs of the chunks of its trials.

    Args:
        store: where chunks are.
        measurement: metric, first seed and N; its `chunk` is the size of a block.
        batch: rows per network call.
        rungs: numbers of samples that are wanted at a time, rising; no network call goes across one.

    Attributes:
        lost: chunks of the trial that was asked for last whose file is gone, and which are computed again.
    """

    def __init__(self, store: Store, measurement: Measurement, batch: int, rungs: Sequence[int] = ()) -> None:
        self.store, self.measurement, self.batch = store, measurement, batch
        self._calls = _calls(measurement, batch, rungs or (measurement.samples,))
        self.lost = 0

    def lacking(self, number: int, trial: Trial, count: int, effort: Effort | None = None) -> list[Job]:
        """What is to be computed of the first `count` seeds of a trial, for trial `number` of the study.

        Chunks whose file is gone are computed again, as in a run; `effort` is what a sample takes.
        """
        measurement, fingerprint = self.measurement, trial.fingerprint
        self.lost = self.store.drop_lost(measurement.sources, [fingerprint])
        stored = set(self._stored(trial))
        parts = [part for block in self._blocks(count) for part in self._parts(block, stored) if part not in stored]
        if not parts:
            return []
        task = ChunkTask.of(trial, measurement, self.batch, remember=True)
        return [
            Job(
                Chunk(fingerprint, part.first, part.last, measurement.source),
                (number,),
                task,
                within=part,
                call=next(call for call in self._calls if call.holds(part)),
                effort=effort or Effort(),
            )
            for part in parts
        ]

    def cached_seeds(self, trial: Trial) -> int:
        """How many of a trial's seeds, from the first on, the store has."""
        stored, count = set(self._stored(trial)), 0
        for block in self._blocks(self.measurement.samples):
            if not stored.issuperset(self._parts(block, stored)):
                break
            count += block.size
        return count

    def load(self, trial: Trial, count: int) -> list[ChunkData]:
        """The first `count` seeds, which are there, a block each; of a diagnostic as they are stored."""
        rows = self._stored(trial)
        chunks: list[ChunkData] = []
        for block in self._blocks(count):
            parts = [
                ChunkData(part, self.store.moments(rows[part]), rows[part]["info"])
                for part in self._parts(block, set(rows))
            ]
            if len(parts) > 1 and self.measurement.metric.merges_chunks:
                summary = FeatureSummary.merge(FeatureSummary.from_arrays(part.arrays) for part in parts)
                parts = [ChunkData(block, summary.arrays(), merged_info(parts))]
            chunks += parts
        return chunks

    def _blocks(self, count: int) -> list[SeedRange]:
        first, size = self.measurement.first, self.measurement.chunk
        return [SeedRange(start, min(start + size, first + count) - 1) for start in range(first, first + count, size)]

    def _parts(self, block: SeedRange, stored: set[SeedRange]) -> list[SeedRange]:
        """The chunks of a block: those that are stored and lie in it, and new ones between them."""
        return partition_seeds(*block, {seeds for seeds in stored if block.holds(seeds)}, self.measurement.chunk)

    def _stored(self, trial: Trial) -> dict[SeedRange, dict[str, Any]]:
        """The rows of a trial's finished chunks."""
        rows = self.store.chunks(self.measurement.sources, [trial.fingerprint])
        return {seeds_of(row): row for row in rows if row["status"] == "done" and self.store.files.has(row["key"])}


def _calls(measurement: Measurement, batch: int, rungs: Sequence[int]) -> list[SeedRange]:
    """Ranges of seeds that go through the network together: whole blocks, as many as fill one call."""
    calls, at = [], measurement.first
    size = max(batch // measurement.chunk, 1) * measurement.chunk
    for end in (measurement.first + rung for rung in rungs):
        while at < end:
            calls.append(SeedRange(at, min(at + size, end) - 1))
            at = calls[-1].last + 1
    return calls
