"""What a command may spend: hours by the clock and network evaluations. Work that would pass a limit is not begun.

How long work takes follows from the network's speed: as it was in this command so far, before that as it is expected.
A command that computes several plans has one `Limits`, so what one plan spends, the next lacks.
"""

import math
import time
from typing import NamedTuple

from harness.core.errors import InputError
from harness.core.text import clock


class Effort(NamedTuple):
    """What a sample of a chunk takes of a network.

    Args:
        network: a word for the network and what is done to its images; chunks with the same word have one speed.
        each: about how many evaluations.
        rate: evaluations per second of one worker, as far as known before; None for not known.
        beside: seconds that measuring the trial takes besides.
        share: which part of the evaluations is to be computed, where others on the same seeds have computed the rest.
    """

    network: str = ""
    each: int = 0
    rate: float | None = None
    beside: float = 0.0
    share: float = 1.0


class Limits:
    """Limits of a command, and what it has spent.

    Args:
        hours: from now on; None for no limit.
        evaluations: network rows, those that fill calls up included; None for no limit.

    Attributes:
        spent: evaluations of finished work.
        reason: the limit that the work which was asked about last would pass, in words; "" if it passes none.
        is_too_low: whether that work alone would pass it, so that the same command would come no further.

    Raises:
        InputError: a limit that is no number above 0.
    """

    def __init__(self, hours: float | None = None, evaluations: float | None = None) -> None:
        if hours is not None and not (hours > 0 and math.isfinite(hours)):
            raise InputError(f"--max-hours takes hours above 0, such as 1.5; we got {hours:g}")
        if evaluations is not None and not (evaluations >= 1 and float(evaluations).is_integer()):
            raise InputError(f"--max-evaluations takes a whole number above 0, such as 100000; we got {evaluations:g}")
        self.hours, self.evaluations = hours, None if evaluations is None else int(evaluations)
        self.spent, self.reason, self.is_too_low = 0, "", False
        self._begun, self._under_way = time.monotonic(), 0
        self._measured: dict[str, tuple[int, float]] = {}

    @property
    def any(self) -> bool:
        """Whether there is a limit."""
        return self.hours is not None or self.evaluations is not None

    @property
    def seconds(self) -> float:
        """Since the command began."""
        return time.monotonic() - self._begun

    def seconds_of(self, effort: Effort, evaluations: int) -> float:
        """About how long one worker takes, in seconds; 0 for a network whose speed is not known yet."""
        rows, seconds = self._measured.get(effort.network, (0, 0.0))
        rate = rows / seconds if rows and seconds else effort.rate
        return evaluations / rate + effort.beside if rate else 0.0

    def allow(self, evaluations: int, seconds: float) -> bool:
        """Whether work of so many evaluations and about so many seconds fits; `reason` says why not."""
        self.reason, self.is_too_low = "", False
        after = self.spent + self._under_way + evaluations
        if self.evaluations is not None and evaluations and after > self.evaluations:
            self.reason = (
                f"{self.evaluations:,} network evaluations, {self.spent:,} of them spent, and the next chunks take "
                f"{evaluations:,}"
            )
            self.is_too_low = evaluations > self.evaluations
        elif self.hours is not None and self.seconds + seconds > 3600 * self.hours:
            next_chunks = f", and the next chunks take about {clock(seconds)}" if seconds else ""
            self.reason = f"{self.hours:g} h, of which {clock(self.seconds)} are over{next_chunks}"
            self.is_too_low = seconds > 3600 * self.hours
        return not self.reason

    def begin(self, evaluations: int) -> None:
        """Work of about so many evaluations is under way."""
        self._under_way += evaluations

    def end(self, expected: int, took: int | None, effort: Effort, seconds: float = 0.0) -> None:
        """Work has ended.

        Args:
            expected: the evaluations with which it began.
            took: what it really took; None if it failed, and nobody knows.
            effort: whose speed it tells.
            seconds: of the worker.
        """
        self._under_way -= expected
        self.spent += expected if took is None else took
        if took and seconds:
            rows, before = self._measured.get(effort.network, (0, 0.0))
            self._measured[effort.network] = (rows + took, before + seconds)
