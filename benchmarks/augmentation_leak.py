"""Whether non-leaky augmentation leaks: the share of generated digits that look augmented, trained with it and without.

A detector learns to tell images of configuration E, which is trained without augmentation, from the same images after
the augmentation of configuration F. On images that it has not seen it answers "augmented" for a share `false` of the
plain ones and a share `true` of the augmented ones. Of images of which it calls a share q augmented,

    p = (q - false) / (true - false)

are augmented (the adjusted count of Forman 2008, doi 10.1007/s10618-008-0097-y). A network that leaked wholly would
generate what the augmentation makes of E's images: the row `E, augmented`. The interval of F - E is Welch's over the
training seeds. Networks are those of `harness run table2_training`.

    python -m benchmarks.augmentation_leak RESULTS/training [--images 1024] [--write FILE]
"""

import argparse
import math
import platform
import statistics
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor, nn

import harness
from benchmarks.output import show
from harness.hub.digits import load_digits
from harness.training.recipe import load_recipe

COLUMNS = ("vp", "ve")
SEEDS = (0, 1, 2)
SAMPLER = harness.Sampler.model_validate({"solver": "heun", "discretization": "edm", "steps": 18})
EPOCHS, BATCH = 60, 128


def generate(network: Path, images: int) -> Tensor:
    """Images [N, 1, 8, 8] float32 of one network, from seeds 0 on."""
    return harness.sample(harness.load_denoiser(network), SAMPLER, range(images)).images.float()


class Detector:
    """A small convolutional network: is an image augmented?

    Args:
        plain: images [N, 1, 8, 8] to learn from.
        augmentation: what makes the others of them; only those that it changes count.
    """

    def __init__(self, plain: Tensor, augmentation) -> None:  # noqa: ANN001
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        self.network = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(1024, 1)),
        )
        steps = EPOCHS * math.ceil(len(plain) / BATCH)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            batch = plain[torch.randint(len(plain), (BATCH,), generator=generator)]
            changed = augmented(batch, augmentation, generator)
            inputs = torch.cat([batch, changed])
            wanted = torch.cat([torch.zeros(len(batch)), torch.ones(len(changed))])
            loss = nn.functional.binary_cross_entropy_with_logits(self.network(inputs)[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.network.eval()

    @torch.no_grad()
    def share(self, images: Tensor) -> float:
        """The share of the images that it calls augmented."""
        return (self.network(images)[:, 0] > 0).float().mean().item()


def augmented(images: Tensor, augmentation, generator: torch.Generator) -> Tensor:  # noqa: ANN001
    """Of the images after the augmentation, those that it changed."""
    changed, labels = augmentation(images, generator)
    return changed[(labels != 0).any(1)]


def measure(folder: Path, column: str, images: int) -> dict:
    augmentation = load_recipe(Path(f"pretrained/recipes/table2/table2-{column}-f.yaml")).augmentation
    made = {
        row: [generate(folder / f"table2-{column}-{row}-s{seed}.safetensors", images) for seed in SEEDS] for row in "ef"
    }
    half = images // 2
    detector = Detector(torch.cat([some[:half] for some in made["e"]]), augmentation)
    unseen = torch.cat([some[half:] for some in made["e"]])
    generator = torch.Generator().manual_seed(1)
    false, true = detector.share(unseen), detector.share(augmented(unseen, augmentation, generator))

    def adjusted(some: Tensor) -> float:
        return (detector.share(some) - false) / (true - false)

    # each from unseen images: E has been learnt from in its first half
    shares = {row: [adjusted(some[half:]) for some in made[row]] for row in "ef"}
    wholly = [adjusted(augmentation(some[half:], generator)[0]) for some in made["e"]]
    interval = stats.ttest_ind(shares["f"], shares["e"], equal_var=False).confidence_interval(0.95)
    changed = (augmentation.draw(100_000, torch.Generator().manual_seed(2)) != 0).any(1).float().mean().item()
    return {
        "detector": {"called augmented, of plain": false, "of augmented": true},
        "augmented in training": changed,
        "share that looks augmented": {
            "E": shares["e"],
            "F": shares["f"],
            "E, augmented": wholly,
            "digits themselves": adjusted(load_digits().images),
        },
        "F - E": {
            "mean": statistics.mean(shares["f"]) - statistics.mean(shares["e"]),
            "low": float(interval.low),
            "high": float(interval.high),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the networks of table2_training lie")
    parser.add_argument("--images", type=int, default=1024, help="of each network")
    parser.add_argument("--write", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {
        "images": options.images,
        "device": f"cpu, {platform.machine()}, 1 thread",
        "torch": torch.__version__,
        "columns": {column: measure(options.folder, column, options.images) for column in COLUMNS},
    }
    show(figures, options.write)


if __name__ == "__main__":
    main()
