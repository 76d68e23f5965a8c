"""How many network rows chunks take: the one place that plans, progress bars and limits ask.

A chunk takes the evaluations of each of its samples. Chunks of a trial that follow each other go through the network
together, as many as fill a call, and the rows that the last call lacks are computed too.
"""

from collections.abc import Iterator, Sequence

from harness.execution.chunks import PlannedChunk
from harness.execution.measurements import Measurement
from harness.execution.seed_ranges import shares


def task_evaluations(each: int, seeds: int, batch: int) -> int:
    """Network rows of chunks that are computed together.

    Args:
        each: evaluations per sample.
        seeds: samples of all chunks.
        batch: rows per network call; the last call is filled up.
    """
    return each * -(-seeds // batch) * batch


def chunk_evaluations(
    chunks: Sequence[PlannedChunk], every: Sequence[Measurement], batches: Sequence[int], workers: int
) -> list[int]:
    """About how many network rows each chunk takes, its share of the rows that fill calls up included.

    Args:
        chunks: in the order in which they are computed.
        every: the measurements of the run.
        batches: rows per network call of each measurement.
        workers: how many do the chunks; what trials share is computed once by each, see `Measurement.evaluations`.
    """
    rows: list[int] = []
    for together in _tasks(chunks, batches):
        number, fingerprint = together[0].key
        each = every[number].evaluations(fingerprint, workers)
        sizes = [chunk.seeds.size for chunk in together]
        rows += shares(task_evaluations(each, sum(sizes), batches[number]), sizes)
    return rows


def _tasks(chunks: Sequence[PlannedChunk], batches: Sequence[int]) -> Iterator[list[PlannedChunk]]:
    """The chunks that a scheduler computes together, as `Job.joins` has it, if no other process takes one of them."""
    together: list[PlannedChunk] = []
    for chunk in chunks:
        rows = sum(one.seeds.size for one in together) + chunk.seeds.size
        is_alone = chunk.images_only or (together and (chunk.keep_images or together[0].images_only))
        if together and (chunk.key != together[0].key or is_alone or rows > batches[chunk.measurement]):
            yield together
            together = []
        together.append(chunk)
    if together:
        yield together
