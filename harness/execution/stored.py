"""The chunks of a trial as the store has them, read while other processes may merge them."""

from collections.abc import Sequence

from harness.core.errors import InputError
from harness.execution.results import Piece
from harness.execution.seed_ranges import SeedRange, partition_seeds, seeds_of
from harness.store.database import Store

TRIES = 5


def pieces_in_blocks(
    store: Store, sources: Sequence[str], fingerprint: str, seeds: SeedRange, starts: Sequence[int]
) -> list[Piece]:
    """The finished chunks that make up a trial's seeds, none of them across two blocks where the store has such.

    Runs and searches may have left the same seeds in several cuts. The blocks of a result are compared with those that
    it was measured by, so the cut that they were made of is the one to read.

    Args:
        store: where they are.
        sources: names under which chunks will do.
        fingerprint: of the trial.
        seeds: from the first to the last.
        starts: the first seed of each block.

    Raises:
        InputError: some are not there, or a file is missing or was changed.
    """
    ends = [start - 1 for start in starts[1:]] + [seeds.last]
    blocks = [SeedRange(*block) for block in zip(starts, ends, strict=True)]
    try:
        return [piece for block in blocks for piece in stored_pieces(store, sources, fingerprint, block)]
    except InputError:  # a chunk across blocks that is all there is of its seeds, or what is really lost
        return stored_pieces(store, sources, fingerprint, seeds)


def stored_pieces(
    store: Store, sources: Sequence[str], fingerprint: str, seeds: SeedRange, tries: int = TRIES
) -> list[Piece]:
    """The finished chunks that make up a trial's seeds, in order.

    Args:
        store: where they are.
        sources: names under which chunks will do.
        fingerprint: of the trial.
        seeds: from the first to the last.
        tries: how often to look; another process may merge chunks between the look-up of a row and that of its file.

    Raises:
        InputError: some are not there, or a file is missing or was changed.
    """
    for last in reversed(range(tries)):
        rows = [row for row in store.chunks(sources, [fingerprint]) if row["status"] == "done"]
        done = {seeds_of(row): row for row in rows}
        spans = partition_seeds(*seeds, done, seeds.size)
        lost = [span for span in spans if span not in done]
        if lost:
            raise InputError(
                f"what was kept of seeds {lost[0].first} to {lost[-1].last} of trial {fingerprint[:12]} is not in the "
                "store any more; run its grid again"
            )
        chosen = [done[span] for span in spans]
        try:
            return [Piece(seeds_of(row), store.moments(row), row["info"]) for row in chosen]
        except InputError:
            if not last or all(store.files.has(row["key"]) for row in chosen):
                raise
    raise AssertionError("a last try returns or raises")
