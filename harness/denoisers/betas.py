"""Noise levels of models that were trained at discrete steps, from the betas of their schedule.

    x_k = sqrt(abar_k) y + sqrt(1 - abar_k) n,   abar_k = prod_{i <= k} (1 - beta_i),   k = 0 ... T - 1

In units of the images, x_k / sqrt(abar_k) = y + sigma_k n with sigma_k = sqrt((1 - abar_k) / abar_k): what a denoiser
D(x; sigma) is asked about. All in float64.

| schedule         | beta                                                                                | of                    |
|------------------|-------------------------------------------------------------------------------------|-----------------------|
| `linear`         | evenly spaced from beta_start to beta_end                                           | Ho et al. 2020        |
| `scaled_linear`  | squares of evenly spaced roots                                                      | latent diffusion      |
| `cosine`         | min(1 - f(k + 1) / f(k), 0.999), f(k) = cos^2((k / T + 0.008) / 1.008 pi / 2)       | Nichol & Dhariwal 2021, eq. 17 |
| `sigmoid`        | beta_start + (beta_end - beta_start) / (1 + exp(-s)), s evenly spaced from -6 to 6  | GeoDiff               |
| `given`          | listed one by one                                                                   |                       |
"""  # noqa: E501

from collections.abc import Sequence

import numpy as np

SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid", "given")
MAX_STEPS = 100_000


def betas(schedule: str, steps: int, start: float, end: float, given: Sequence[float] = ()) -> np.ndarray:
    """The betas of a schedule, [steps] float64.

    Args:
        schedule: one of SCHEDULES.
        steps: how many.
        start, end: first and last beta; the cosine has its own.
        given: the betas themselves, for `given`.

    Raises:
        ValueError: an unknown schedule, or betas that are not between 0 and 1.
    """
    if not 2 <= steps <= MAX_STEPS:
        raise ValueError(f"a schedule has 2 to {MAX_STEPS:,} steps; we got {steps}")
    match schedule:
        case "linear":
            found = np.linspace(start, end, steps)
        case "scaled_linear":
            found = np.linspace(start**0.5, end**0.5, steps) ** 2
        case "cosine":
            k = np.arange(steps + 1) / steps
            left = np.cos((k + 0.008) / 1.008 * np.pi / 2) ** 2
            found = np.minimum(1 - left[1:] / left[:-1], 0.999)
        case "sigmoid":
            found = (end - start) / (1 + np.exp(-np.linspace(-6, 6, steps))) + start
        case "given":
            found = np.asarray(given, dtype=np.float64)
        case _:
            raise ValueError(f"a schedule of betas is one of {', '.join(SCHEDULES)}; we got {schedule!r}")
    if found.shape != (steps,) or not ((found > 0) & (found <= 1)).all():
        raise ValueError(f"betas must be {steps} numbers in (0, 1]; those of '{schedule}' are not")
    return found


def noise_levels(beta: np.ndarray, zero_snr: bool = False) -> np.ndarray:
    """sigma_k of every step, rising, float64; steps without any signal are left out.

    Args:
        beta: [T].
        zero_snr: rescale sqrt(abar) so that the last step has no signal, and the first stays as it is
            (Lin et al. 2023, arXiv 2305.08891, alg. 1).
    """
    root = np.sqrt(np.cumprod(1 - beta))
    if zero_snr:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    left = root[root > 0] ** 2
    return np.sqrt((1 - left) / left)
