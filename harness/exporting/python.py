"""Python for anything: a table of weights and a loop over it, which need nothing but numbers to add and multiply.

What `denoise` takes and gives can be arrays of any library. The table is that of `linear_program`.
"""

from collections.abc import Sequence

from harness.core.errors import InputError
from harness.exporting.settings import Settings, literal

Row = tuple[float | None, Sequence[float], Sequence[float], int, Sequence[float]]
"""A row of `linear_program`."""


def text(settings: Settings, program: Sequence[Row]) -> str:
    """Python text that defines `sample(denoise, x, randn)`.

    Args:
        settings: the sampler.
        program: from `linear_program`.
    """
    calls = sum(row[0] is not None for row in program)
    draws = sum(row[3] for row in program)
    kept_states = max(len(row[1]) for row in program)
    kept_images, kept_noises = (max(1, *(len(each) for each in column)) for column in _weights(program))
    table = "\n".join(f"    {_row(row)}," for row in program)
    clip = ".clip(-1, 1)" if settings.clips else ""
    noise = f"; {draws} draws of noise" if draws else ""
    return f'''"""{settings.title}.

{calls} evaluations of the network{noise}. No library is needed.
"""

# A row a network call: its noise level; weights of the states before, of the denoised images so far, how many noises to
# draw, and weights of the noises so far; the latest comes first. The last row has no level: it is the image.
STEPS = [
{table}
]


def sample(denoise, x, randn=None):
    """An image from noise.

    x: unit normals, of the image's shape.
    denoise(x, sigma): the network's denoised image of x = image + sigma * noise.
    randn(): unit normals of the same shape.
    """
    states, images, noises = [x], [], []
    for sigma, of_states, of_images, fresh, of_noises in STEPS:
        for _ in range(fresh):
            noises = [randn(), *noises][:{kept_noises}]
        x = 0.0
        for weights, terms in ((of_states, states), (of_images, images), (of_noises, noises)):
            for weight, term in zip(weights, terms):
                x = x + weight * term
        states = [x, *states][:{kept_states}]
        if sigma is not None:
            images = [denoise(x, sigma){clip}, *images][:{kept_images}]
    return x
'''


def _weights(program: Sequence[Row]) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
    """The rows' weights of images, and of noises."""
    return [row[2] for row in program], [row[4] for row in program]


def _row(row: Row) -> str:
    sigma, states, images, fresh, noises = row
    level = "None" if sigma is None else literal(sigma)
    return f"({level}, {_list(states)}, {_list(images)}, {fresh}, {_list(noises)})"


def _list(weights: Sequence[float]) -> str:
    if any(weight != weight or abs(weight) == float("inf") for weight in weights):
        raise InputError("the sampler has weights that are not finite")
    return f"[{', '.join(map(literal, weights))}]"
