"""A sampler as a list of weights: what each network call is given, as a sum of states, denoised images and noises.

Every method with fixed steps is linear in what the network returns. So its weights can be read off by following the
real sampler with vectors in the place of images: the unit latents are the first unit vector, the k-th denoised image
and the m-th noise are unit vectors of their own, and the state at any moment is the list of its own weights. No
formula of any solver, schedule, scaling or noise is written here again.

A state is then written by the states, images and noises before it,

    x_k = sum_i a_i x_(k-1-i) + sum_j b_j D_(k-1-j) + sum_m c_m z_(m-th latest)

with as few of them as will do: one state for most methods, and one a point for those that extrapolate the predicted
noise, (x_j - D_j) / sigma_j. Noise over an interval of a Brownian path is a sum of independent noises over the parts
into which all the intervals cut it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from harness.core.errors import InputError, SamplingError
from harness.sampling.brownian import Brownian, Clock
from harness.sampling.denoiser import Denoiser
from harness.sampling.dynamics import Dynamics
from harness.sampling.noise import Noise
from harness.sampling.sampler import Sampler
from harness.sampling.trajectory import trajectory

MOST_CALLS = 1000
"""Calls of the network above which a program is too long to write out."""

SAME = 1e-11
"""Weights that differ by less than this, relative to what was subtracted, are equal: what lies between is rounding."""

NOTHING = 1e-12
"""Weights below this add nothing, relative to the largest of a row or to 1: images and noises are near 1."""

RECENT = 5
"""How many images, noises and states before a row are recent; most methods use fewer."""

NOT_LINEAR = "the sampler's steps depend on the images, so they cannot be written out as fixed weights"

AGREEMENT = 1e-8
"""How far a program may be from the sampler on a test denoiser, relative."""


class Row(NamedTuple):
    """One state, which the network is called with; the last row has no level and is the result.

    Args:
        sigma: noise level of the call; None for the result.
        states: weights of the states of the rows before, the latest first; before the first row these are the latents.
        images: weights of the denoised images so far, the latest first.
        fresh: noises to draw before this row.
        noises: weights of the noises so far, the latest first.
    """

    sigma: float | None
    states: tuple[float, ...]
    images: tuple[float, ...]
    fresh: int
    noises: tuple[float, ...]


def linear_program(denoiser: Denoiser, sampler: Sampler) -> list[Row]:
    """The rows of a sampler on a denoiser, of which only the noise range and the rounding of levels matter.

    Images are to be clipped where the sampler says so; the rows do not.

    Raises:
        InputError: the sampler has no fixed weights (adaptive steps, steps that depend on norms), takes more than
            `MOST_CALLS` calls, or cannot be laid out over the range.
    """
    if sampler.solver.adaptive:
        raise InputError(
            f"solver '{sampler.solver.kind}' chooses its steps as it goes, so they cannot be written out; use one with "
            "fixed steps, such as 'heun'"
        )
    counted = _follow(denoiser, sampler, _Vectors(1, ()))
    if len(counted.sigmas) > MOST_CALLS:
        raise InputError(
            f"the sampler calls the network {len(counted.sigmas):,} times, and at most {MOST_CALLS:,} are written out; "
            "ask for fewer steps"
        )
    width = 1 + len(counted.sigmas) + counted.draws + len(counted.cuts)
    followed = _follow(denoiser, sampler, _Vectors(width, counted.cuts))
    program = _rows(followed)
    _check(denoiser, sampler, program, followed)
    return program


class _Vectors:
    """Unit vectors as they are asked for, with what each stands for.

    Args:
        width: of the vectors; 1 for counting alone.
        cuts: parts (high, low) of the Brownian path.

    Attributes:
        sigmas: noise level of every call.
        inputs: the state of every call, and the result, as vectors float64 [width].
        draws: noises drawn from the stream.
        cuts: after counting, the parts into which intervals of the path cut it.
        is_image, made: for every position, whether it is an image, and before which call it was drawn.
    """

    def __init__(self, width: int, cuts: tuple[tuple[float, float], ...]) -> None:
        self.width, self.cuts = width, cuts
        self.sigmas: list[float] = []
        self.inputs: list[Tensor] = []
        self.draws = 0
        self.intervals: list[tuple[float, float]] = []
        self.images: list[int] = []
        self.noises: list[tuple[int, int]] = []
        self.of_cut: dict[tuple[float, float], int] = {}
        self.used = 1

    def image(self) -> Tensor:
        """The next denoised image."""
        self.images.append(self.used)
        return self._unit()

    def draw(self) -> Tensor:
        """The next noise of the stream."""
        self.draws += 1
        self.noises.append((self.used, len(self.sigmas)))
        return self._unit()

    def increment(self, start: float, end: float, clock: Clock) -> Tensor:
        """The path's change over an interval, as standard normals: parts weighted by the roots of their durations."""
        high, low = max(start, end), min(start, end)
        self.intervals.append((high, low))
        total = torch.zeros(self.width, dtype=torch.float64)
        parts = [cut for cut in self.cuts if low <= cut[1] and cut[0] <= high]
        spans = [_duration(clock, *cut) for cut in parts]
        for cut, span in zip(parts, spans, strict=True):
            if cut not in self.of_cut:
                self.of_cut[cut] = self.used
                self.noises.append((self.used, len(self.sigmas)))
                self._unit()
            total[self.of_cut[cut]] = math.sqrt(span / sum(spans)) if sum(spans) > 0 else 0.0
        return total.reshape(1, 1, 1, -1) * (1.0 if end <= start else -1.0)

    def _unit(self) -> Tensor:
        vector = torch.zeros(1, 1, 1, self.width, dtype=torch.float64)
        if self.used < self.width:
            vector[..., self.used] = 1.0
        self.used += 1
        return vector


def _duration(clock: Clock, high: float, low: float) -> float:
    ends = clock(torch.tensor([high, low], dtype=torch.float64))
    return abs((ends[1] - ends[0]).item())


class _Recorder:
    """A denoiser that keeps what it is asked and answers with the next image, over the range of another one."""

    label_dim, cost = 0, 1
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, like: Denoiser, width: int, answer: Callable[[Tensor, float], Tensor]) -> None:
        self.shape = (1, 1, width)
        self.sigma_min, self.sigma_max, self.round_sigma = like.sigma_min, like.sigma_max, like.round_sigma
        self.answer = answer

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.answer(x, sigma.item())


class _Stream:
    """What stands in for the samples' random numbers: noises and a path that somebody else makes."""

    def __init__(self, draw: Callable[[], Tensor], increment: Callable[[float, float, Clock], Tensor]) -> None:
        self.draw, self.add = draw, increment

    def __len__(self) -> int:
        return 1

    def normal(self, rows: Sequence[int] | None = None) -> Tensor:
        return self.draw()

    def path(self, high: float, low: float) -> Brownian:
        return cast(Brownian, self)

    def increment(self, start: Tensor, end: Tensor, clock: Clock, rows: Sequence[int] | None = None) -> Tensor:
        return self.add(start.item(), end.item(), clock)


def _walk(sampler: Sampler, recorder: _Recorder, stream: _Stream, latents: Tensor) -> Tensor:
    """The sampler's own result [1, 1, 1, width] from unit latents."""
    steps = sampler.time_steps(cast(Denoiser, recorder))
    ends = steps.sigmas[0].item(), steps.sigmas[-1].item()
    dynamics = Dynamics(cast(Denoiser, recorder), steps.curve, sampler.scaling, cast(Noise, stream), levels=ends)
    x = latents * (steps.sigmas[0] * dynamics.s(steps.times[0]))
    try:
        for step in trajectory(dynamics, sampler, steps.times, x):
            x = step.x
    except SamplingError as error:
        raise InputError(f"the sampler cannot be followed: {error.reason}") from None
    return x if sampler.end == "zero" else x / dynamics.s(steps.times[-1])


def _follow(denoiser: Denoiser, sampler: Sampler, vectors: _Vectors) -> _Vectors:
    """Follow the sampler once, and keep what it did in the vectors."""

    def answer(x: Tensor, sigma: float) -> Tensor:
        vectors.sigmas.append(sigma)
        vectors.inputs.append(x.flatten().clone())
        return vectors.image()

    latents = torch.zeros(1, 1, 1, vectors.width, dtype=torch.float64)
    latents[..., 0] = 1.0
    recorder = _Recorder(denoiser, vectors.width, answer)
    result = _walk(sampler, recorder, _Stream(vectors.draw, vectors.increment), latents)
    vectors.inputs.append(result.flatten())
    if not vectors.cuts:
        points = sorted({end for interval in vectors.intervals for end in interval}, reverse=True)
        vectors.cuts = tuple(pairwise(points))
    return vectors


def _rows(vectors: _Vectors) -> list[Row]:
    """The program that the states are one by one."""
    rows, sigmas = list[Row](), [*vectors.sigmas, None]
    latents = torch.zeros(vectors.width, dtype=torch.float64)
    latents[0] = 1.0
    before = [latents]  # the latest first
    kept, drawn = _used(vectors), 0
    for number, (state, sigma) in enumerate(zip(vectors.inputs, sigmas, strict=True)):
        if not bool(state.isfinite().all()):
            raise InputError(NOT_LINEAR)
        known = [place for place, when in vectors.noises if when <= number and place in kept]
        recent = [*vectors.images[:number][-RECENT:], *known[-RECENT:]]
        weights, rest = _by_states(state, before[:RECENT], recent)
        images = _weights(rest, vectors.images[:number])
        rows.append(Row(sigma, weights, images, len(known) - drawn, _weights(rest, known)))
        before, drawn = [state, *before], len(known)
    return rows


def _used(vectors: _Vectors) -> set[int]:
    """The noises that some state contains; a step whose noise has no weight draws none."""
    states = torch.stack(vectors.inputs)
    return {place for place, _ in vectors.noises if bool((states[:, place].abs() > NOTHING).any())}


def _by_states(state: Tensor, before: Sequence[Tensor], recent: Sequence[int]) -> tuple[tuple[float, ...], Tensor]:
    """Weights of states before, as few as leave recent images and noises alone, and what is left for these.

    Args:
        state, before: vectors float64 [width], the latest before first.
        recent: places of the latest images and noises.
    """
    is_old = torch.ones_like(state, dtype=torch.bool)
    is_old[list(recent)] = False
    best: tuple[tuple[float, ...], Tensor] | None = None
    for count in range(1, len(before) + 1):
        for weights in _candidates(state, before[:count], is_old):
            rest = _rest(state, before, weights)
            if not bool(rest[is_old].any()):
                return weights, rest
            if rest[0] == 0 and (best is None or (rest != 0).sum() < (best[1] != 0).sum()):
                best = weights, rest
    if best is None:
        raise InputError(NOT_LINEAR)
    return best


def _candidates(state: Tensor, before: Sequence[Tensor], is_old: Tensor) -> Iterator[tuple[float, ...]]:
    """Weights of the states before that may leave nothing old.

    Of one state, its weight is the ratio at some place that both have. Of several, they solve a linear system.
    """
    if len(before) == 1:
        common = ((before[0].abs() > NOTHING) & (state.abs() > NOTHING)).nonzero().flatten().tolist()
        ratios = [float(state[place] / before[0][place]) for place in (*common[:2], *common[-2:])]
        yield from ((ratio,) for ratio in ratios if abs(ratio) > NOTHING)
        yield (0.0,)
        return
    matrix = torch.stack(list(before), dim=1)[is_old]
    scale = matrix.abs().amax(dim=0).clip(min=NOTHING)
    solved = torch.linalg.lstsq(matrix / scale, state[is_old][:, None], driver="gelsd").solution.flatten()
    yield tuple((solved / scale).tolist())


def _rest(state: Tensor, before: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """What the weighted states before leave of a state, rounding taken for nothing."""
    rest, size = state.clone(), state.abs()
    for weight, each in zip(weights, before, strict=False):
        rest -= weight * each
        size = torch.maximum(size, (weight * each).abs())
    nothing = NOTHING * max(1.0, rest.abs().max().item())
    return torch.where((rest.abs() <= SAME * size) | (rest.abs() <= nothing), 0.0, rest)


def _weights(rest: Tensor, places: Sequence[int]) -> tuple[float, ...]:
    """Weights at some places, the latest first, without the zeros at the end."""
    weights = [rest[place].item() for place in reversed(places)]
    while weights and weights[-1] == 0:
        weights.pop()
    return tuple(weights)


def run_program(
    program: Sequence[Row], denoise: Callable[[Any, float], Any], latents: Any, randn: Callable[[], Any]
) -> Any:
    """The result of a program: what the text that is written for Python does."""
    states, images, noises = [latents], list[Any](), list[Any]()
    for row in program:
        noises = [*reversed([randn() for _ in range(row.fresh)]), *noises]
        terms = zip(
            (*row.states, *row.images, *row.noises),
            (*states[: len(row.states)], *images[: len(row.images)], *noises[: len(row.noises)]),
            strict=True,
        )
        states = [sum(weight * term for weight, term in terms), *states]
        if row.sigma is not None:
            images = [denoise(states[0], row.sigma), *images]
    return states[0]


def _check(denoiser: Denoiser, sampler: Sampler, program: Sequence[Row], vectors: _Vectors) -> None:
    """Compare the program with the sampler on a denoiser of a Gaussian, with the same noise.

    Raises:
        InputError: they differ: the sampler is not linear in the images.
    """
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(vectors.width, 1, 1, 1, 4, dtype=torch.float64, generator=generator)

    def smooth(x: Tensor, sigma: float) -> Tensor:
        return 0.3 + (x - 0.3) * 0.25 / (0.25 + sigma**2)

    places = iter([place for place, _ in vectors.noises if place not in vectors.of_cut.values()])
    parts = {cut: values[place] for cut, place in vectors.of_cut.items()}

    def increment(start: float, end: float, clock: Clock) -> Tensor:
        high, low = max(start, end), min(start, end)
        within = [cut for cut in parts if low <= cut[1] and cut[0] <= high]
        spans = [_duration(clock, *cut) for cut in within]
        total = sum((math.sqrt(span) * parts[cut] for span, cut in zip(spans, within, strict=True)), values[0] * 0)
        return total / math.sqrt(sum(spans)) if sum(spans) > 0 else total

    stream = _Stream(lambda: values[next(places)], increment)
    wanted = _walk(sampler, _Recorder(denoiser, 4, smooth), stream, values[0])
    kept = _used(vectors)
    drawn = iter([values[place] for place, _ in vectors.noises if place in kept])
    found = run_program(program, smooth, values[0], lambda: next(drawn))
    if not bool(torch.isfinite(found).all()) or (found - wanted).abs().max() > AGREEMENT * (1 + wanted.abs().max()):
        raise InputError(NOT_LINEAR)
