"""Schedules of betas, and the noise levels of the steps that they define.

    x_k = sqrt(abar_k) y + sqrt(1 - abar_k) n,   abar_k = prod_{i <= k} (1 - beta_i),   k = 0 ... T - 1.

In units of the data, x_k / sqrt(abar_k) = y + sigma_k n with sigma_k = sqrt((1 - abar_k) / abar_k).

| schedule         | beta                                                                                | of                    |
|------------------|-------------------------------------------------------------------------------------|-----------------------|
| `linear`         | evenly spaced from beta_start to beta_end                                           | Ho et al. 2020        |
| `scaled_linear`  | squares of evenly spaced roots                                                      | latent diffusion      |
| `cosine`         | min(1 - f(k + 1) / f(k), 0.999), f(k) = cos^2((k / T + 0.008) / 1.008 pi / 2)       | Nichol & Dhariwal 2021, eq. 17 |
| `sigmoid`        | beta_start + (beta_end - beta_start) / (1 + exp(-s)), s evenly spaced from -6 to 6  | GeoDiff               |
| `given`          | listed one by one                                                                   |                       |

Without torch, and numpy only once a function is called, so that a plan knows the range of a model.
"""  # noqa: E501

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid", "given")
MAX_STEPS = 100_000

DIFFUSERS_SCHEDULES = {
    "linear": "linear",
    "scaled_linear": "scaled_linear",
    "squaredcos_cap_v2": "cosine",
    "sigmoid": "sigmoid",
}
"""The schedules by their names in diffusers."""


def betas(
    schedule: str,
    steps: int,
    start: float,
    end: float,
    given: Sequence[float] = (),
    dtype: Literal["float64", "float32"] = "float64",
) -> "np.ndarray":
    """The betas of a schedule, [steps] of `dtype`.

    Args:
        schedule: one of SCHEDULES.
        steps: how many.
        start, end: first and last beta; the cosine has its own.
        given: the betas themselves, for `given`.
        dtype: of the betas. Schedulers of diffusers have float32.

    Raises:
        ValueError: an unknown schedule, or betas that are not between 0 and 1.
    """
    import numpy as np

    if not 2 <= steps <= MAX_STEPS:
        raise ValueError(f"a schedule has 2 to {MAX_STEPS:,} steps; we got {steps}")
    match schedule:
        case "linear":
            beta = np.linspace(start, end, steps, dtype=dtype)
        case "scaled_linear":
            beta = np.linspace(start**0.5, end**0.5, steps, dtype=dtype) ** 2
        case "cosine":
            k = np.arange(steps + 1) / steps
            abar = np.cos((k + 0.008) / 1.008 * np.pi / 2) ** 2
            beta = np.minimum(1 - abar[1:] / abar[:-1], 0.999)
        case "sigmoid":
            beta = (end - start) / (1 + np.exp(-np.linspace(-6, 6, steps))) + start
        case "given":
            beta = np.asarray(given, dtype=np.float64)
        case _:
            raise ValueError(f"a schedule of betas is one of {', '.join(SCHEDULES)}; we got {schedule!r}")
    if beta.shape != (steps,) or not ((beta > 0) & (beta <= 1)).all():
        raise ValueError(f"betas must be {steps} numbers in (0, 1]; those of '{schedule}' are not")
    return beta.astype(dtype, copy=False)


def noise_levels(beta: "np.ndarray", zero_snr: bool = False) -> "np.ndarray":
    """sigma_k of every step, rising, float64; steps without any signal are left out.

    Args:
        beta: [T]. abar is rounded to its type, so levels of float32 betas are those of a scheduler of diffusers.
        zero_snr: rescale sqrt(abar) so that the last step has no signal, and the first stays as it is
            (Lin et al. 2023, arXiv 2305.08891, alg. 1).
    """
    import numpy as np

    # multiplied in float64 and rounded at every step, as torch.cumprod does it
    product = np.cumprod(1 - beta, dtype=np.float64).astype(beta.dtype)
    root = np.sqrt(product.astype(np.float64))  # sqrt(abar_k), the share of the signal
    if zero_snr:
        # shift so that the last is 0, then scale so that the first is what it was
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    abar = root[root > 0] ** 2
    return np.sqrt((1 - abar) / abar)
