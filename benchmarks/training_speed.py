"""What the training loop costs: images a CPU-second of `harness train` over those of a plain PyTorch loop, in one run.

The plain loop has the same network, data in memory, batch, loss, Adam and exponential average, and nothing else: no
log, no states, no checks, no choice of anything. Both run in turn, several times, and the ratios are of neighbours,
since absolute times drift. CPU-seconds are those of this process on all its threads.

    python -m benchmarks.training_speed [--rounds 9] [--steps 40] [--write FILE]
"""

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.output import show
from harness.hub.digits import load_digits
from harness.training import loop
from harness.training.loop import StepLayout, _Run
from harness.training.processes import Process
from harness.training.recipe import RECIPES, DenoiserRecipe
from harness.training.tasks import DenoisingTask

CASES = {
    "digits-edm, batch 128": {
        "network": {"kind": "SongUNet", "model_channels": 16, "channel_mult": [1, 2], "attn_resolutions": [4]},
        "batch": 128,
    },
    "small, batch 64": {
        "network": {"kind": "SongUNet", "model_channels": 8, "channel_mult": [2, 2], "attn_resolutions": [4]},
        "batch": 64,
    },
}
HALFLIFE, SIGMA_DATA, RATE = 30_000.0, 0.752, 2e-3


def recipe(case: dict) -> DenoiserRecipe:
    """The loop's own choices, equal to those of the plain one."""
    fields = {
        "kind": "denoiser",
        "name": "speed",
        "preconditioning": "edm",
        "loss": "edm",
        "sigma_data": SIGMA_DATA,
        "images": 10**9,
        "optimizer": {"kind": "adam", "lr": RATE, "clip": 1.0},
        "ema": {"halflife_images": HALFLIFE, "ramp": None},
    }
    return RECIPES.read(fields | case)  # type: ignore[return-value]


class Plain:
    """A loop as one writes it in a notebook."""

    def __init__(self, chosen: DenoiserRecipe) -> None:
        torch.manual_seed(0)
        self.network = DenoisingTask(chosen).build().train()
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=RATE, fused=True)
        self.images, self.batch = load_digits().images, chosen.batch

    def run(self, steps: int) -> None:
        keep = 0.5 ** (self.batch / HALFLIFE)
        for _ in range(steps):
            y = self.images[torch.randint(len(self.images), (self.batch,))]
            sigma = (torch.randn(self.batch, 1, 1, 1) * 1.2 - 1.2).exp()
            weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
            denoised = self.network(y + sigma * torch.randn_like(y), sigma)
            loss = (weight * (denoised - y) ** 2).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            with torch.no_grad():
                names = [name for name, _ in self.network.named_parameters()]
                torch._foreach_lerp_([self.average[name] for name in names], list(self.network.parameters()), 1 - keep)


class Ours:
    """The loop of `harness train`, with its log and its state at the end of each round."""

    def __init__(self, chosen: DenoiserRecipe, folder: Path) -> None:
        torch.manual_seed(0)
        layout = StepLayout(1, chosen.batch)
        self.run_ = _Run(chosen, DenoisingTask(chosen), Process(), layout, folder, "", lambda snapshot: None)

    def run(self, steps: int) -> None:
        loop._to_end(self.run_, self.run_.state.step + steps, None, 60.0)


def cpu_seconds(work, steps: int) -> float:  # noqa: ANN001
    started = time.process_time()
    work.run(steps)
    return time.process_time() - started


def measure(case: dict, rounds: int, steps: int) -> dict:
    chosen = recipe(case)
    with tempfile.TemporaryDirectory() as folder:
        ours, plain = Ours(chosen, Path(folder)), Plain(chosen)
        ours.run(3), plain.run(3)
        # each round has both orders, so that neither is always the one that finds warm caches
        ratios, speeds = [], []
        for _ in range(rounds):
            first, theirs, again, second = (cpu_seconds(work, steps) for work in (ours, plain, plain, ours))
            ratios.append((theirs + again) / (first + second))
            speeds.append(2 * steps * chosen.batch / (first + second))
    ordered = sorted(ratios)
    mean, sd = statistics.mean(ratios), statistics.stdev(ratios)
    half = 2.0 * sd / len(ratios) ** 0.5
    return {
        "parameters": sum(parameter.numel() for parameter in plain.network.parameters()),
        "batch": chosen.batch,
        "images_per_cpu_second_ratio": mean,
        "interval_95": [mean - half, mean + half],
        "range": [ordered[0], ordered[-1]],
        "images_per_cpu_second": statistics.median(speeds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--write", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {
        "rounds": options.rounds,
        "steps": options.steps,
        "device": f"cpu, {platform.machine()}, 1 thread",
        "torch": torch.__version__,
        "cases": {name: measure(case, options.rounds, options.steps) for name, case in CASES.items()},
    }
    show(figures, options.write)


if __name__ == "__main__":
    main()
