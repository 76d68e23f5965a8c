"""Which chunks are computed together, and how many network rows they take by themselves.

A chunk takes the evaluations of each of its samples. Chunks of a trial that follow each other go through the network
together, as many as fill a call, and the rows that the last call lacks are computed too.
"""

from collections.abc import Iterator, Sequence

from harness.execution.chunks import PlannedChunk


def task_evaluations(each: int, seeds: int, batch: int) -> int:
    """Network rows of chunks that are computed together.

    Args:
        each: evaluations per sample.
        seeds: samples of all chunks.
        batch: rows per network call; the last call is filled up.
    """
    return each * -(-seeds // batch) * batch


def chunks_together(chunks: Sequence[PlannedChunk], batches: Sequence[int]) -> Iterator[list[PlannedChunk]]:
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
