"""Pictures of samples of any shape, as byte images: what a sheet of samples shows.

| shape of a sample          | picture                                                                 |
|----------------------------|-------------------------------------------------------------------------|
| [C, H, W]                  | the image, black and white at the ends of the data's range               |
| [..., H, W], a longer one  | its slices of the last two sides, grey, next to each other              |
| [L] or [C, L]              | a plot of the values, one line a channel                                |

Pictures that are no images are scaled to the least and the largest value of all samples of the sheet.
"""

import numpy as np
from PIL import Image, ImageDraw

from harness.core.data_range import BYTES, DataRange
from harness.datasets.image_bytes import to_picture

PLOT_HEIGHT, PLOT_WIDTH, MARGIN = 48, 96, 3  # pixels
INK, PAPER = 40, 255


def pictures(samples: np.ndarray, data_range: DataRange = BYTES) -> np.ndarray:
    """Byte images uint8 [N, C, H, W] of samples [N, *shape].

    Args:
        samples: floating.
        data_range: of the data: what is black and white in images; None for the least and the largest value.
    """
    if samples.ndim == 4:
        return to_picture(samples, data_range)
    unit = _scaled(samples)
    if samples.ndim > 4:
        slices = unit.reshape(len(unit), -1, *unit.shape[-2:])
        rows = np.concatenate(list(slices.swapaxes(0, 1)), axis=2)  # [N, H, slices * W]
        return np.round(255 * rows[:, None]).astype(np.uint8)
    return np.stack([_plot(sample.reshape(-1, sample.shape[-1])) for sample in unit])[:, None]


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 between the least and the largest; 1/2 where all are equal."""
    values = np.asarray(samples, dtype=np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full_like(values, 0.5)


def _plot(lines: np.ndarray) -> np.ndarray:
    """Lines [K, L] of values from 0 to 1 as one grey plot, uint8 [PLOT_HEIGHT, PLOT_WIDTH]."""
    sheet = Image.new("L", (PLOT_WIDTH, PLOT_HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    x = np.linspace(MARGIN, PLOT_WIDTH - 1 - MARGIN, lines.shape[1])
    for line in lines:
        y = PLOT_HEIGHT - 1 - MARGIN - line * (PLOT_HEIGHT - 1 - 2 * MARGIN)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=INK)
        draw.point(list(zip(x.tolist(), y.tolist(), strict=True)), fill=INK)  # a single value makes no line
    return np.asarray(sheet)
