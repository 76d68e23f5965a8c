"""Independent computations that stop to ask questions meet, so that their questions are answered together.

Each runs in a greenlet of its own, in one thread: asking switches to the hub, which waits until all that are unfinished
have asked, answers in order of the rows, and switches back. Code that cannot be suspended otherwise, such as a callback
inside SciPy, can take part.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

Answer = TypeVar("Answer")


def meet(
    computations: Sequence[Callable[[Callable[[Any], Any]], Answer]],
    evaluate: Callable[[list[int], list[Any]], list[Any]],
) -> list[Answer]:
    """Run computations side by side.

    Args:
        computations: each is called with `ask(request)`, which returns the answer to its request.
        evaluate: answers requests: row numbers and requests in, answers in the same order out.

    Returns:
        What each computation returned.

    Raises:
        Whatever a computation or `evaluate` raises; the others are given up.
    """
    hub = getcurrent()
    finished: dict[int, Answer] = {}
    waiting: dict[int, Any] = {}

    def ask(request: Any) -> Any:
        return hub.switch(request)

    runners = [greenlet(lambda job=job: (job(ask),), hub) for job in computations]
    answers: dict[int, Any] = dict.fromkeys(range(len(runners)), None)
    while answers:
        waiting.clear()
        for row, answer in answers.items():
            runner = runners[row]
            request = runner.switch(answer) if runner else runner.switch()
            if runner.dead:
                finished[row] = request[0]
            else:
                waiting[row] = request
        rows = list(waiting)
        answers = dict(zip(rows, evaluate(rows, list(waiting.values())), strict=True)) if rows else {}
    return [finished[row] for row in range(len(runners))]
