"""The training loop: Adam, moving averages of the weights, snapshots, and a state to resume from.

A run that is stopped and resumed ends with the same bits as one that was not. The result holds the averaged weights,
the recipe and its origin, and no time or place, so that it can be reproduced.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from harness.core.errors import InputError, RunError
from harness.core.files import write_bytes
from harness.training import FOLDER
from harness.training import state as states
from harness.training.processes import Process
from harness.training.recipe import DenoiserRecipe, Recipe
from harness.training.state import StepLayout, TrainingState
from harness.training.tasks import TrainingTask, each, parts_of, task_of
from harness.training.tensorboard import event_writer

WORK = Path(FOLDER)
"""Where states, logs and snapshots go unless told otherwise, a folder a run."""

LEVELS = "levels.json"
"""The loss by noise level before and after training, in the folder of a run."""

REPORTS = 200
"""Lines in the log of a whole run."""

MOST_STEPS = 100
"""Steps between two lines at most: states are saved at lines only."""

LOG = "stats.jsonl"


class TrainingError(RunError):
    """A training run failed, and resuming it would fail again."""


class Progress(NamedTuple):
    """Where a run stands.

    Args:
        name: of the recipe; step, steps: done and in all; images: seen.
        loss: mean since the last report.
        rate: learning rate.
        seconds: all time spent in steps.
        images_per_second: since the last report.
    """

    name: str
    step: int
    steps: int
    images: int
    loss: float
    rate: float
    seconds: float
    images_per_second: float

    @property
    def seconds_left(self) -> float:
        """Time until the end, at the speed so far."""
        return self.seconds / self.step * (self.steps - self.step)


class Snapshot(NamedTuple):
    """An average of the weights that was kept during a run: after how many images, which one, and its file."""

    images: int
    average: str
    path: Path
    is_of_results: bool
    """Whether it is the average that results have."""


def train(
    recipe: Recipe,
    out: Path,
    task: TrainingTask | None = None,
    resume: bool = True,
    again: bool = False,
    progress: Callable[[Progress], None] | None = None,
    work: Path = WORK,
    save_every: float = 60.0,
    stop_after: int | None = None,
    process: Process | None = None,
    micro_batch: int | None = None,
    note: Callable[[str], None] = lambda text: None,
    on_snapshot: Callable[[Snapshot], None] = lambda snapshot: None,
) -> Path:
    """Train a network from a recipe.

    Args:
        recipe: see `load_recipe`.
        out: folder of the result, `<name>.safetensors`.
        task: what the recipe asks for, where its data is open already.
        resume: continue from a state, and leave a finished result alone; False starts afresh.
        again: train although the result is there, to have its snapshots again.
        progress: called a few hundred times in a run.
        work: the folder `<work>/<name>` has the state, the log `stats.jsonl` and the folder `snapshots`.
        save_every: seconds between states.
        stop_after: save the state and return after this many steps of the run; None runs to the end.
        process: this process among those that train together; None: alone, on the CPU.
        micro_batch: images of one pass through the network; gradients of the passes of a step are summed. None: all of
            a process at once. The result is the same but for the rounding of sums.
        note: told what a person should know, such as a damaged state.
        on_snapshot: called with each snapshot that was written.

    Returns:
        The path of the result.

    Raises:
        TrainingError: the loss is not finite.
        InputError: data or choices that do not fit, or a state that cannot be used.
        RunError: a file that cannot be written.
    """
    process = process or Process()
    layout = _layout(recipe, process, micro_batch)
    result, folder = out / f"{recipe.name}.safetensors", work / recipe.name
    with _own_random_stream(recipe.seed, process), _exact_float32():
        task = task or task_of(recipe)
        fingerprint = recipe.fingerprint(task.identity())
        if resume and not again and is_result_of(result, fingerprint):
            return result
        run = _Run(recipe, task, process, layout, folder, fingerprint, on_snapshot)
        if resume and states.restore(run.state, folder, fingerprint, layout, process.rank, note):
            note(f"{recipe.name}: goes on from step {run.state.step:,} of {recipe.steps:,}")
        process.wait()  # until all have read the state
        if process.is_first:
            _cut(folder / LOG, run.state.step)
            if not run.state.step:  # what an earlier run of this name left
                states.remove(folder)
                for file in (folder / LEVELS, *(folder / "snapshots").glob(f"{recipe.name}-*")):
                    file.unlink(missing_ok=True)
        _to_end(run, recipe.steps if stop_after is None else min(stop_after, recipe.steps), progress, save_every)
        if run.state.step == recipe.steps and process.is_first:
            with _writing(result):
                is_usual = layout.world == 1 and layout.micro_batch == recipe.batch
                task.save(run.state.averages[0], result, None if is_usual else {"layout": layout._asdict()})
            states.remove(folder)
        process.wait()
    return result


def _layout(recipe: Recipe, process: Process, micro_batch: int | None) -> StepLayout:
    if process.world > 1 and not isinstance(recipe, DenoiserRecipe):
        raise InputError(f"{recipe.name}: this kind of network is trained by one process; start it without a launcher")
    own, rest = divmod(recipe.batch, process.world)
    if rest:
        raise InputError(
            f"{recipe.name}: a batch of {recipe.batch} images cannot be shared equally by {process.world} processes"
        )
    if micro_batch is not None and (micro_batch < 1 or own % micro_batch):
        raise InputError(
            f"--micro-batch {micro_batch}: the {own} images of a process are no multiple of it; take a divisor"
        )
    return StepLayout(process.world, micro_batch or own, process.device.type)


def _to_end(run: "_Run", end: int, progress: Callable[[Progress], None] | None, save_every: float) -> None:
    """Run steps up to `end`, with the log, the states and the last state."""
    last = time.monotonic()
    log = run.folder / LOG
    if run.process.is_first:
        run.folder.mkdir(parents=True, exist_ok=True)
    with event_writer(run.folder if run.process.is_first else None, run.state.step * run.recipe.batch) as events:
        for report in run.steps(end):
            if run.process.is_first:
                with _writing(log), log.open("a") as lines:
                    lines.write(json.dumps(report._asdict()) + "\n")
                events(report.images, loss=report.loss, rate=report.rate, images_per_second=report.images_per_second)
                if progress is not None:
                    progress(report)
            if run.should_save(time.monotonic() - last > save_every):
                run.save()
                last = time.monotonic()
    run.save()


class _Run:
    """A run between its start and its end: the network on its device, and what one step does."""

    def __init__(
        self,
        recipe: Recipe,
        task: TrainingTask,
        process: Process,
        layout: StepLayout,
        folder: Path,
        fingerprint: str,
        on_snapshot: Callable[[Snapshot], None],
    ) -> None:
        self.recipe, self.task, self.process, self.layout = recipe, task, process, layout
        self.folder, self.fingerprint, self.on_snapshot = folder, fingerprint, on_snapshot
        self.precision = recipe.precision if isinstance(recipe, DenoiserRecipe) else "float32"
        self.dtype = torch.float64 if self.precision == "float64" else torch.float32
        network = task.build().to(process.device, self.dtype)
        self.state: TrainingState = states.initial(network, recipe.optimizer, len(recipe.ema.names), recipe.seed)
        self.parameters: list[Tensor] = list(network.parameters())
        self.averaged: list[list[Tensor]] = [list(average.parameters()) for average in self.state.averages]
        if process.rank:  # dropout of each process is its own
            torch.manual_seed(recipe.seed + (process.rank << 32))

    def steps(self, end: int) -> Iterator[Progress]:
        """Run steps up to `end` and yield progress; at each yield the state is complete and can be saved."""
        recipe, state = self.recipe, self.state
        every = max(1, min(recipe.steps // REPORTS, MOST_STEPS))
        wrapped = self.process.wrapped(state.network)
        is_compiled = isinstance(recipe, DenoiserRecipe) and recipe.compile
        network = cast(nn.Module, torch.compile(wrapped)) if is_compiled else wrapped
        losses: list[Tensor] = []
        began = time.monotonic()
        with _draws(self.task, state, ahead=self.process.device.type != "cpu") as draw:
            while state.step < end:
                seen = state.step * recipe.batch
                losses.append(self._step(wrapped, network, draw(), seen))
                state.step += 1
                snapshots = [count for count in recipe.snapshots if seen < count <= seen + recipe.batch]
                if state.step % every == 0 or state.step in (1, end) or snapshots:
                    # one look at the device for many steps
                    values = self.process.mean(torch.stack(losses).double()).tolist()
                    self._check(values)
                    now = time.monotonic()
                    state.seconds, spent, began = state.seconds + now - began, now - began, now
                    for count in snapshots:
                        self._snapshot(count)
                    yield Progress(
                        recipe.name,
                        state.step,
                        recipe.steps,
                        seen + recipe.batch,
                        sum(values) / len(values),
                        recipe.optimizer.rate(seen, recipe.images),
                        state.seconds,
                        len(values) * recipe.batch / max(spent, 1e-9),
                    )
                    losses, began = [], time.monotonic()

    def _step(self, wrapped: nn.Module, network: nn.Module, batch: tuple[Tensor | None, ...], seen: int) -> Tensor:
        """One step of the optimiser and of the averages; the mean loss of this process's images, ()."""
        recipe, state, device = self.recipe, self.state, self.process.device
        own = recipe.batch // self.process.world
        batch = each(batch, lambda tensor: tensor[self.process.rank * own : (self.process.rank + 1) * own])
        parts = list(parts_of(batch, self.layout.micro_batch))
        total = torch.zeros((), device=device)
        state.optimizer.zero_grad(set_to_none=True)
        for part in parts:
            is_last = part is parts[-1]
            with contextlib.nullcontext() if is_last or self.process.world == 1 else wrapped.no_sync():  # type: ignore[operator]
                with self._arithmetic():
                    moved = each(part, self._moved)
                    loss = self.task.loss(network, moved, state.network) * (self.layout.micro_batch / own)
                loss.backward()
            total = total + loss.detach()
        if recipe.optimizer.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, recipe.optimizer.clip)
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.optimizer.rate(seen, recipe.images)
        state.optimizer.step()
        with torch.no_grad():
            for averaged, keep in zip(self.averaged, recipe.ema.decays(seen, recipe.batch), strict=True):
                torch._foreach_lerp_(averaged, self.parameters, 1 - keep)  # keep average + (1 - keep) weights
        return total

    def _moved(self, tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return tensor.to(self.process.device, self.dtype, non_blocking=True)
        return tensor.to(self.process.device, non_blocking=True)

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "bf16":
            return torch.autocast(self.process.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _check(self, values: list[float]) -> None:
        """Stop a run whose loss or weights are not finite, before anything of it is saved."""
        step, what = self.state.step, ""
        for index, value in enumerate(values):
            if not math.isfinite(value):
                step, what = self.state.step - len(values) + index + 1, f"the loss became {value}"
                break
        else:
            # a last step may have a finite loss and spoil the weights
            with torch.no_grad():
                norms = torch._foreach_norm(self.parameters)
            if not torch.stack(list(norms)).isfinite().all():
                what = "the weights became infinite or NaN"
        if what:
            kept = sorted((self.folder / "snapshots").glob("*.safetensors"))
            last = f"the last good snapshot is {kept[-1]}" if kept else "there is no snapshot yet"
            raise TrainingError(
                f"{self.recipe.name}: {what} in step {step:,} ({(step - 1) * self.recipe.batch:,} images); use a lower "
                f"`lr`, a `clip`, or a longer `ramp_images` in the recipe; {last}"
            )

    def _snapshot(self, count: int) -> None:
        """Keep the averages in files of their own."""
        if not self.process.is_first:
            return
        seen = self.state.step * self.recipe.batch
        for index, (name, average) in enumerate(zip(self.recipe.ema.names, self.state.averages, strict=True)):
            which = f"-{name}" if index else ""  # the first is the one that results have
            path = self.folder / "snapshots" / f"{self.recipe.name}-{count:09d}{which}.safetensors"
            facts = {"images": seen, "steps": self.state.step, "average": name}
            with _writing(path):
                self.task.save(average, path, facts, exact=True)
            self.on_snapshot(Snapshot(count, name, path, not index))

    def should_save(self, wanted: bool) -> bool:
        """Whether to save now: the first process's clock decides for all."""
        decision = torch.tensor(float(wanted and self.process.is_first))
        return bool(self.process.mean(decision.to(self.process.device)) > 0)

    def save(self) -> None:
        """Write the state; every process gives its random streams."""
        streams = self.process.gather(states.streams_here(self.process.rank))
        if self.process.is_first:
            with _writing(self.folder / states.STATE):
                states.save(self.state, self.folder, self.fingerprint, self.layout, streams)


def initial_network(task: TrainingTask, seed: int) -> Any:
    """The network before its first step."""
    with _own_random_stream(seed, Process()):
        return task.build()


def _cut(log: Path, step: int) -> None:
    """Leave out what a log says of steps that are done again."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)
        kept = [line for line in lines if _step_of(line) <= step]
        write_bytes(log, "".join(kept).encode())


def _step_of(line: str) -> float:
    """The step of a log's line; infinite for one that was not written to its end."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf


@contextlib.contextmanager
def _own_random_stream(seed: int, process: Process) -> Iterator[None]:
    """torch's own random stream (initial weights, dropout) seeded inside, untouched outside."""
    devices = [process.device] if process.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Float32 means float32: no TF32 on GPUs, as in the official training."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror or error}); what was saved before is whole. Free space or "
            "mend the place, and run the same command again"
        ) from error


@contextlib.contextmanager
def _draws(task: TrainingTask, state: TrainingState, ahead: bool) -> Iterator[Callable[[], tuple[Tensor | None, ...]]]:
    """A function that draws the next batch; with `ahead`, a thread draws the one after it meanwhile.

    `state.draws` is what the generator was before the draws that were not handed out yet, so that a state saved between
    two steps resumes there.
    """

    def now() -> tuple[Tensor | None, ...]:
        batch = task.draw(state.generator)
        state.draws = state.generator.get_state()
        return batch

    if not ahead:
        yield now
        return
    with ThreadPoolExecutor(1) as pool:

        def pinned() -> tuple[Tensor | None, ...]:
            return each(task.draw(state.generator), Tensor.pin_memory)

        waiting: list[Future[tuple[Tensor | None, ...]]] = [pool.submit(pinned)]

        def later() -> tuple[Tensor | None, ...]:
            batch = waiting.pop().result()
            state.draws = state.generator.get_state()
            waiting.append(pool.submit(pinned))
            return batch

        yield later


def is_result_of(path: Path, fingerprint: str) -> bool:
    """Whether the file is a finished result of the recipe with this fingerprint."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("recipe_fingerprint") == fingerprint
    except (OSError, SafetensorError):
        return False
