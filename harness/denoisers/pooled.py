"""One denoiser for several computations side by side: their calls meet, and go through the network together.

A small network takes nearly as long for four rows as for sixteen. So computations of a few rows each run in threads of
their own, one at a time: each until it asks the denoiser, and when all have asked, one call answers them. Calls have
as many rows as are asked for: filling them up to one size costs more than it gives.
"""

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock, Thread
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from harness.core.errors import MachineError, is_out_of_memory
from harness.denoisers.cached import Delegate, Outputs, key_of
from harness.sampling.conditions import Condition, join, take
from harness.sampling.denoiser import Denoiser, cost_at

Result = TypeVar("Result")


class Request(NamedTuple):
    """What a computation asks: x [rows, *shape], sigma () or [rows], and conditions."""

    key: bytes
    x: Tensor
    sigma: Tensor
    labels: Condition | None
    asker: "PooledDenoiser"


class PooledDenoiser(Delegate):
    """The denoiser of one of the computations.

    Args:
        main: the denoiser of all.

    Attributes:
        evaluations: network evaluations that its requests took.
    """

    def __init__(self, main: Denoiser) -> None:
        super().__init__(main)
        self.evaluations = 0
        self.ask: Callable[[Request], Tensor] | None = None

    def __call__(self, x: Tensor, sigma: Tensor, labels: Condition | None = None) -> Tensor:
        assert self.ask is not None, "it answers in the pool alone"
        return self.ask(Request(key_of(x, sigma, labels), x, sigma, labels, self))


class Pool:
    """Runs computations side by side on one denoiser, and remembers what it was asked.

    Args:
        main: the denoiser.
        size: rows of a call at most; it is halved where the device runs out of memory.
        slots: computations at a time; when one ends, the next begins.

    Attributes:
        largest: rows of the largest call so far.
    """

    def __init__(self, main: Denoiser, size: int, slots: int) -> None:
        self.main, self.size, self.slots = main, size, slots
        self.largest = 0
        self._outputs = Outputs(main.device.type)

    def run(self, works: Iterable[Callable[[PooledDenoiser], Result]]) -> list[tuple[Result, int]]:
        """What works return, in their order, each with the evaluations that it took.

        A call that fails is made again for each request by itself; whose request fails is told.

        Raises:
            BaseException: the first that a work raises; the others are ended then.
        """
        threads = [_Thread(work, PooledDenoiser(self.main)) for work in works]
        waiting, answered = deque(threads), deque[tuple[_Thread[Result], Tensor | Exception | None]]()
        try:
            while waiting or answered:
                asked: list[tuple[_Thread[Result], Request]] = []
                while answered or (waiting and len(asked) < self.slots):
                    thread, answer = answered.popleft() if answered else (waiting.popleft(), None)
                    request = thread.go_on(answer)
                    while request is not None and (known := self._outputs.get(request.key)) is not None:
                        request = thread.go_on(known)
                    if request is not None:
                        asked.append((thread, request))
                answers = self._answers(list({request.key: request for _, request in asked}.values()))
                answered.extend((thread, _own(answers[request.key])) for thread, request in asked)
            return [(thread.result, thread.denoiser.evaluations) for thread in threads]
        finally:
            for thread in threads:
                thread.end()

    def _answers(self, requests: Sequence[Request]) -> dict[bytes, Tensor | Exception]:
        """The outputs for different requests, which are kept, or what went wrong with each."""
        if not requests:
            return {}
        try:
            outputs = self._compute(requests)
        except Exception as error:
            if is_out_of_memory(error):
                torch.cuda.empty_cache()
                if self.size == 1:
                    lacking = MachineError("out of memory with one row per network call; use a device with more")
                    return {request.key: lacking for request in requests}
                self.size //= 2
                return self._answers(requests)
            if len(requests) == 1:
                return {requests[0].key: error}
            return {key: answer for request in requests for key, answer in self._answers([request]).items()}
        for request, output in zip(requests, outputs, strict=True):
            self._outputs.put(request.key, output.clone())
            request.asker.evaluations += int(cost_at(self.main, request.sigma).max()) * len(request.x)
        return {request.key: output for request, output in zip(requests, outputs, strict=True)}

    @torch.no_grad()  # the works' own threads say so for themselves alone
    def _compute(self, requests: Sequence[Request]) -> list[Tensor]:
        x = torch.cat([request.x for request in requests])
        sigma = requests[0].sigma
        if len(requests) > 1:
            levels = [request.sigma.to(x.device).reshape(-1).expand(len(request.x)) for request in requests]
            sigma = torch.cat(levels)
        labels = join([request.labels for request in requests])
        outputs = []
        for at in range(0, len(x), self.size):
            rows = slice(at, at + self.size)
            self.largest = max(self.largest, len(x[rows]))
            outputs.append(self.main(x[rows], sigma[rows] if sigma.ndim else sigma, take(labels, rows)))
        return list(torch.cat(outputs).split([len(request.x) for request in requests]))


def _own(answer: Tensor | Exception) -> Tensor | Exception:
    """A copy of an output, which its receiver may change."""
    return answer.clone() if isinstance(answer, Tensor) else answer


class _Thread(Generic[Result]):
    """A work in a thread that runs only while the pool waits for it: until it asks its denoiser, or ends.

    So nothing of it has to expect another thread, and the order in which works go on is always the same.
    """

    def __init__(self, work: Callable[[PooledDenoiser], Result], denoiser: PooledDenoiser) -> None:
        self.denoiser = denoiser
        denoiser.ask = self._ask
        self._work = work
        self._ours, self._theirs = Lock(), Lock()  # each is held by the side that waits
        self._ours.acquire()
        self._theirs.acquire()
        self._thread = Thread(target=contextvars.copy_context().run, args=(self._run,), daemon=True)
        self._is_over = False
        self._answer: Tensor | BaseException | None = None
        self._request: Request | None = None
        self._result: list[Result] = []
        self._error: BaseException | None = None

    @property
    def result(self) -> Result:
        """What the work returned; it has ended."""
        return self._result[0]

    def go_on(self, answer: Tensor | BaseException | None) -> Request | None:
        """Let it run on with the answer to its last request, and give the next; None when it has ended."""
        self._answer, self._request = answer, None
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._theirs.release()
        self._ours.acquire()
        if self._error is not None:
            raise self._error
        return self._request

    def end(self) -> None:
        """End it where it asks, if it has begun."""
        while self._thread.ident is not None and not self._is_over:
            try:
                self.go_on(GeneratorExit())
            except BaseException:  # what comes of ending it is of no interest
                break
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._result.append(self._work(self.denoiser))
        except BaseException as error:
            self._error = error
        finally:
            self._is_over = True
            self._ours.release()

    def _ask(self, request: Request) -> Tensor:
        self._request = request
        self._ours.release()
        self._theirs.acquire()
        if isinstance(self._answer, BaseException):
            raise self._answer
        assert self._answer is not None
        return self._answer
