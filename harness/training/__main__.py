"""One recipe in a process of its own, with one thread.

`python -m harness.training RECIPE OUT WORK [--fresh] [--parent PID]`: `train_all` starts these, and they end with it.
The command for people is `harness train`.
"""

import os
import sys
import threading
import time
from pathlib import Path

import torch

from harness.core.errors import InputError
from harness.training.loop import Progress, TrainingError, train
from harness.training.recipe import load_recipe


def tell(at: Progress) -> None:
    """One line of progress."""
    left = at.seconds / at.step * (at.steps - at.step)
    print(
        f"{at.name}: {at.images:,} images ({at.step / at.steps:.0%}), loss {at.loss:.5f}, "
        f"{at.seconds / 60:.1f} min, about {left / 60:.1f} min left",
        flush=True,
    )


def end_with(parent: int, seconds: float = 1.0) -> None:
    """End this process when its parent is another than this one: a later command would train beside it."""
    while os.getppid() == parent:
        time.sleep(seconds)
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Train, and return the exit code: 0 done, 1 the run failed, 2 the input is wrong."""
    recipe, out, work = (Path(argument) for argument in arguments[:3])
    if "--parent" in arguments:
        parent = int(arguments[arguments.index("--parent") + 1])
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    try:
        print(train(load_recipe(recipe), out, resume="--fresh" not in arguments, progress=tell, work=work), flush=True)
    except (InputError, TrainingError) as error:
        print(error, file=sys.stderr, flush=True)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
