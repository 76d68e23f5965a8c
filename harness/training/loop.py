"""The training loop: Adam, an exponential moving average of the weights, and a state file to resume from.

A run that is stopped and resumed ends with the same bits as one that was not. The result holds the averaged weights,
the recipe and its origin, and no time or place, so that it can be reproduced.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness.core.errors import RunError
from harness.training import state as states
from harness.training.recipe import Recipe
from harness.training.state import TrainingState
from harness.training.tasks import TrainingTask, task_of

WORK = Path("results/training")
"""Where state files and logs go unless told otherwise, relative to the working directory."""

REPORTS = 200
"""Lines in the log of a whole run."""


class TrainingError(RunError):
    """A training run failed, and resuming it would fail again."""


class Progress(NamedTuple):
    """Where a run stands. `loss` is the mean since the last report, `seconds` all time spent in steps."""

    name: str
    step: int
    steps: int
    images: int
    loss: float
    rate: float
    seconds: float


def train(
    recipe: Recipe,
    out: Path,
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
    work: Path = WORK,
    save_every: float = 60.0,
    stop_after: int | None = None,
) -> Path:
    """Train a network from a recipe.

    Args:
        recipe: see `load_recipe`.
        out: folder of the result, `<name>.safetensors`.
        resume: continue from a state file, and leave a finished result alone; False starts afresh.
        progress: called a few hundred times in a run.
        work: folder of the state file and of the log `<name>.jsonl`.
        save_every: seconds between state files.
        stop_after: save the state and return after this many steps of the run; None runs to the end.

    Returns:
        The path of the result.

    Raises:
        TrainingError: the loss is not finite.
        InputError: a state file that cannot be used.
    """
    result, saved, log = (
        out / f"{recipe.name}.safetensors",
        work / f"{recipe.name}.state",
        work / f"{recipe.name}.jsonl",
    )
    if resume and is_result_of(result, recipe):
        return result
    work.mkdir(parents=True, exist_ok=True)
    with _own_random_stream(recipe.seed):
        task = task_of(recipe)
        state = states.initial(task.build(), recipe.optimizer, recipe.seed)
        if resume and saved.exists():
            states.restore(state, saved, recipe.fingerprint())
        end = recipe.steps if stop_after is None else min(stop_after, recipe.steps)
        last = time.monotonic()
        for report in _steps(recipe, task, state, end):
            with log.open("a" if report.step > 1 else "w") as lines:
                lines.write(json.dumps(report._asdict()) + "\n")
            if progress is not None:
                progress(report)
            if time.monotonic() - last > save_every:
                states.save(state, saved, recipe.fingerprint())
                last = time.monotonic()
        states.save(state, saved, recipe.fingerprint())
    if state.step == recipe.steps:
        task.save(state.average, result)
        saved.unlink()
    return result


@contextmanager
def _own_random_stream(seed: int) -> Iterator[None]:
    """torch's own random stream (initial weights, dropout) seeded inside, untouched outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _steps(recipe: Recipe, task: TrainingTask, state: TrainingState, end: int) -> Iterator[Progress]:
    """Run steps up to `end` and yield progress; at each yield the state is complete and can be saved."""
    data = task.data()
    every = max(1, recipe.steps // REPORTS)
    parameters: list[Tensor] = list(state.network.parameters())
    averages: list[Tensor] = list(state.average.parameters())
    total, count, began = 0.0, 0, time.monotonic()
    while state.step < end:
        seen = state.step * recipe.batch
        rate = recipe.optimizer.rate(seen, recipe.images)
        rows = torch.randint(len(data.labels), (recipe.batch,), generator=state.generator)
        loss = task.objective(state.network, data.take(rows), state.generator)
        if not math.isfinite(value := loss.item()):
            raise TrainingError(
                f"{recipe.name}: the loss became {value} in step {state.step + 1} ({seen:,} images); "
                "use a lower `lr`, a `clip`, or a longer `ramp_images` in the recipe"
            )
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.optimizer.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, recipe.optimizer.clip)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
        keep = recipe.ema.decay(seen, recipe.batch)
        torch._foreach_lerp_(averages, parameters, 1 - keep)  # average = keep average + (1 - keep) weights
        state.step, total, count = state.step + 1, total + value, count + 1
        if state.step % every == 0 or state.step in (1, end):
            state.seconds, began = state.seconds + time.monotonic() - began, time.monotonic()
            yield Progress(
                recipe.name, state.step, recipe.steps, seen + recipe.batch, total / count, rate, state.seconds
            )
            total, count = 0.0, 0


def is_result_of(path: Path, recipe: Recipe) -> bool:
    """Whether the file is a finished result of exactly this recipe."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("recipe_fingerprint") == recipe.fingerprint()
    except (OSError, SafetensorError):
        return False
