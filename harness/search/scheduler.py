"""Workers and a queue for trials that are asked for while others run: what is wanted next is pulled, never batched.

A want is some seeds of a trial. Those that the store has are not computed again; the others are cut into blocks, each
claimed in the store, so that several processes may work on one study, and none computes what another has.

Which row of a network call a seed has is the same whatever was stored before: matrix products round a row otherwise at
another place among the others, and where that turns a pixel's byte, a value changes in the fifth digit. Where some of
the seeds that go together are there already, they fill their rows all the same, which would be padding otherwise.
"""

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from harness.core.errors import RunError
from harness.execution.chunks import seeds_of
from harness.execution.executors.processes import Failed, Pool, devices_for
from harness.execution.measurements import Measurement
from harness.execution.provenance import versions
from harness.execution.results import Piece, merged_info
from harness.execution.seed_ranges import SeedRange, partition_seeds
from harness.execution.worker import Task
from harness.experiments.trial import Trial
from harness.metrics.choices import FeatureMetric
from harness.metrics.features.summary import FeatureSummary
from harness.store.database import Chunk, Store, lapsed

RENEW_SECONDS = 15.0
POLL_SECONDS = 0.2


class Failure(NamedTuple):
    """Why a want cannot be met, and at which step of the sampler, if that is known."""

    reason: str
    step: int | None


class Finished(NamedTuple):
    """A want that is met, or not: `failure` says why."""

    key: int
    failure: Failure | None


class _Piece(NamedTuple):
    """A block of seeds that somebody wants."""

    key: int
    trial: Trial
    span: SeedRange


class Crew:
    """Computes what is wanted of an measurement.

    Args:
        store: where chunks are and go.
        measurement: metric, first seed and N; its `chunk` is the block.
        device: as for a run.
        batch: rows per network call.
        stops: numbers of samples that are wanted at a time, rising; no network call goes across one.
    """

    def __init__(
        self, store: Store, measurement: Measurement, device: str | None, batch: int, stops: Sequence[int] = ()
    ) -> None:
        self.store, self.measurement, self.device, self.batch = store, measurement, device, batch
        self._groups = _cut(measurement, batch, stops or (measurement.samples,))
        self.evaluations = 0
        self._pool: Pool | None = None
        self._waiting: deque[_Piece] = deque()
        self._elsewhere: list[_Piece] = []
        self._at_work: dict[int, list[_Piece]] = {}
        self._open: dict[int, int] = {}
        self._ready: list[Finished] = []
        self._tickets = itertools.count()
        self._renewed = time.monotonic()
        self._looked = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is wanted."""
        return not (self._open or self._ready)

    def want(self, key: int, trial: Trial, count: int) -> None:
        """Want the first `count` seeds of a trial; `step` says under `key` when they are there.

        Chunks whose file is gone are computed again, as in a run.
        """
        self.store.drop_lost(self.measurement.sources, [trial.fingerprint])
        done = {seeds_of(row) for row in self._rows(trial.fingerprint, "done")}
        spans = [
            span
            for cell in self._cells(count)
            for span in partition_seeds(*cell, _inside(done, cell), self.measurement.chunk)
        ]
        lacking = [span for span in spans if span not in done]
        if not lacking:
            self._ready.append(Finished(key, None))
            return
        self._open[key] = len(lacking)
        self._waiting.extend(_Piece(key, trial, span) for span in lacking)

    def held(self, trial: Trial) -> int:
        """How many of a trial's seeds, from the first on, the store has."""
        done = {seeds_of(row) for row in self._rows(trial.fingerprint, "done")}
        count = 0
        for cell in self._cells(self.measurement.samples):
            if any(span not in done for span in partition_seeds(*cell, _inside(done, cell), self.measurement.chunk)):
                break
            count += cell.size
        return count

    def pieces(self, trial: Trial, count: int) -> list[Piece]:
        """The first `count` seeds, which are there, in the same blocks whatever chunks the store has them in."""
        rows = {seeds_of(row): row for row in self._rows(trial.fingerprint, "done")}
        found: list[Piece] = []
        for cell in self._cells(count):
            spans = partition_seeds(*cell, _inside(set(rows), cell), self.measurement.chunk)
            parts = [Piece(span, self.store.moments(rows[span]), rows[span]["info"]) for span in spans]
            several = len(parts) > 1 and isinstance(self.measurement.metric, FeatureMetric)
            found += [_together(cell, parts)] if several else parts
        return found

    def step(self) -> list[Finished]:
        """Wait a little, and say which wants are met or failed meanwhile."""
        if not self._ready:
            self._feed()
            if self._pool is not None and self._pool.busy:
                for ticket, outcome in self._pool.collect(POLL_SECONDS):
                    self._receive(self._at_work.pop(ticket), outcome)
            elif self._elsewhere and not self._ready:
                time.sleep(POLL_SECONDS)
            self._look_elsewhere()
            if time.monotonic() - self._renewed > RENEW_SECONDS:
                self.store.renew()
                self._renewed = time.monotonic()
        ready, self._ready = self._ready, []
        return ready

    def close(self) -> None:
        """End the workers and give back what they had not finished."""
        if self._pool is not None:
            self._pool.close()
        self.store.release()

    def _cells(self, count: int) -> list[SeedRange]:
        first, size = self.measurement.first, self.measurement.chunk
        return [SeedRange(start, min(start + size, first + count) - 1) for start in range(first, first + count, size)]

    def _rows(self, fingerprint: str, status: str) -> list[dict[str, Any]]:
        rows = self.store.chunks(self.measurement.sources, [fingerprint])
        return [
            row for row in rows if row["status"] == status and (status != "done" or self.store.files.has(row["key"]))
        ]

    def _feed(self) -> None:
        while self._waiting:
            if self._pool is None:
                self._pool = Pool(devices_for(self.device))
            if not self._pool.free:
                return
            pieces = self._next()
            if not pieces:
                continue
            ticket = next(self._tickets)
            self._at_work[ticket] = pieces
            group, metric = self._group(pieces[0].span), self.measurement.metric.model_dump_json()
            spans = tuple(_filled(group, [piece.span for piece in pieces]))
            trial = pieces[0].trial.model_dump_json()
            self._pool.submit(
                ticket, Task(trial, spans, metric, self.batch, False, self.measurement.kept, remember=True)
            )

    def _next(self) -> list[_Piece]:
        """Blocks of one trial to compute together: claimed, and of one network call."""
        taken: list[_Piece] = []
        while self._waiting:
            piece = self._waiting[0]
            if taken and (piece.key != taken[0].key or not self._group(taken[0].span).holds(piece.span)):
                break
            self._waiting.popleft()
            if piece.key not in self._open:  # it failed meanwhile
                continue
            chunk = self._chunk(piece)
            if self.store.claim(chunk, within=piece.span):
                taken.append(piece)
            else:
                self._elsewhere.append(piece)
        return taken

    def _group(self, span: SeedRange) -> SeedRange:
        """The seeds that go through the network together with these."""
        return next(group for group in self._groups if group.holds(span))

    def _chunk(self, piece: _Piece) -> Chunk:
        return Chunk(piece.trial.fingerprint, piece.span.first, piece.span.last, self.measurement.source)

    def _receive(self, pieces: list[_Piece], outcome: Any) -> None:
        if isinstance(outcome, Failed):
            info = {"batch": self.batch, "versions": versions()}
            for piece in pieces:
                self.store.fail(self._chunk(piece), outcome.reason, outcome.step, info)
            self._give_up(pieces[0].key, Failure(outcome.reason, outcome.step))
            return
        computed = {found.span: found for found in outcome.pieces}
        for piece in pieces:
            found = computed[piece.span]
            self.store.finish(self._chunk(piece), found.arrays, found.info)
            self.evaluations += found.info["evaluations"]
            self._arrived(piece.key)

    def _arrived(self, key: int) -> None:
        if key not in self._open:
            return
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
            self._ready.append(Finished(key, None))

    def _give_up(self, key: int, failure: Failure) -> None:
        if self._open.pop(key, None) is not None:
            self._ready.append(Finished(key, failure))

    def _look_elsewhere(self) -> None:
        """Blocks that another process had: done, failed, or given up and free again."""
        if not self._elsewhere or time.monotonic() - self._looked < POLL_SECONDS:
            return
        self._looked = time.monotonic()
        keys = sorted({piece.trial.fingerprint for piece in self._elsewhere})
        rows = {row["key"]: row for row in self.store.chunks(self.measurement.source, keys)}
        still = []
        for piece in self._elsewhere:
            row = rows.get(self._chunk(piece).key)
            if row is None or (row["status"] == "claimed" and lapsed(row)):
                self._waiting.append(piece)
            elif row["status"] == "done":
                if not self.store.files.has(row["key"]):
                    folder = self.store.files.folder
                    raise RunError(f"chunk {row['key']} is stored, but its file is not in {folder}; check --files")
                self._arrived(piece.key)
            elif row["status"] == "failed":
                self._give_up(piece.key, Failure(row["reason"], row["step"]))
            else:
                still.append(piece)
        self._elsewhere = still


def _cut(measurement: Measurement, batch: int, stops: Sequence[int]) -> list[SeedRange]:
    """Runs of seeds that go through the network together: whole blocks, as many as fill one call."""
    groups, at = [], measurement.first
    size = max(batch // measurement.chunk, 1) * measurement.chunk
    for end in (measurement.first + stop for stop in stops):
        while at < end:
            groups.append(SeedRange(at, min(at + size, end) - 1))
            at = groups[-1].last + 1
    return groups


def _filled(group: SeedRange, spans: Iterable[SeedRange]) -> Iterator[SeedRange]:
    """All seeds of a group, cut so that the given spans are among the parts."""
    at = group.first
    for span in sorted(spans):
        if at < span.first:
            yield SeedRange(at, span.first - 1)
        yield span
        at = span.last + 1
    if at <= group.last:
        yield SeedRange(at, group.last)


def _together(cell: SeedRange, parts: list[Piece]) -> Piece:
    """Chunks of another search or grid as the one block that they are here."""
    seen = FeatureSummary.merge(FeatureSummary.from_arrays(part.arrays) for part in parts)
    return Piece(cell, seen.arrays(), merged_info(parts))


def _inside(done: set[SeedRange], cell: SeedRange) -> set[SeedRange]:
    """The finished spans that lie in one block: others would make blocks unlike those of other trials."""
    return {span for span in done if cell.holds(span)}
