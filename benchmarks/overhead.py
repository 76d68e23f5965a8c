"""What the sampler itself costs: wall time of `harness.sample` over that of the bare network calls, in one run.

NFE 35 (18 steps of Heun's method) of a network of about 0.75 M parameters at batch 32. Both are timed in turn, several
times, and the medians compared, since absolute times drift.

    python benchmarks/overhead.py [--rounds 9] [--device cpu]
"""

import argparse
import platform
import statistics
import time
from pathlib import Path

import torch

from benchmarks.output import show
from harness.denoisers.preconditioning import EDMPrecond
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler

NETWORK = {
    "img_resolution": 32, "img_channels": 3, "model_type": "SongUNet",
    "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [16],
}  # fmt: skip
BATCH, STEPS, NFE = 32, 18, 35


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    network = EDMPrecond(**NETWORK).eval().requires_grad_(False).to(device)
    sampler, seeds = Sampler(steps=STEPS), range(BATCH)
    x = torch.randn(BATCH, *network.shape, device=device)
    sigmas = [torch.tensor(sigma, dtype=torch.float64) for sigma in torch.linspace(80, 0.002, NFE).tolist()]

    def bare() -> None:
        with torch.no_grad():
            for sigma in sigmas:
                network(x, sigma)

    def ours() -> None:
        assert sample(network, sampler, seeds).nfe.tolist() == [NFE] * BATCH

    def timed(work) -> float:  # noqa: ANN001
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    bare(), ours()
    pairs = [(timed(ours), timed(bare)) for _ in range(options.rounds)]
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    figures = {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "batch": BATCH,
        "nfe": NFE,
        "rounds": options.rounds,
        "ratio_of_medians": statistics.median(p[0] for p in pairs) / statistics.median(p[1] for p in pairs),
        "ratio_median": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {platform.machine()}, 1 thread",
        "torch": torch.__version__,
    }
    show(figures, options.write)


if __name__ == "__main__":
    main()
