"""Moments of a stream of features, summed in place about a pilot mean, on the device where the features are.

    with p the mean of the first batch:   T = sum (f - p),   S = sum (f - p)(f - p)^T
    mean = p + T / n        scatter = S - T T^T / n

The shift by p saves the digits that raw sums lose where the mean is large against the spread; whoever shifts by another
p gets the same moments to about 1e-13, so streams merge as `Moments` do. Nothing of the size of the scatter is made for
a batch, which counts for 2048 features.
"""

from typing import Any

import numpy as np

from harness.core.errors import InputError, SamplingError
from harness.metrics.statistics.moments import Moments


class MomentStream:
    """Sums over features [B, d] given batch by batch, as numpy arrays or as tensors on one device."""

    def __init__(self) -> None:
        self.n = 0
        self._pilot: Any = None
        self._total: Any = None
        self._scatter: Any = None

    def add(self, features: Any) -> None:
        """Add a batch; unchanged if it raises.

        Raises:
            InputError: not [B, d], or features of another length than before.
            SamplingError: rows that are not finite, with their number.
        """
        import torch

        if isinstance(features, np.ndarray):
            features = np.require(features, requirements=["C", "W"])  # torch takes no view of a read-only array
        rows = torch.as_tensor(features).detach()
        rows = (rows.cpu() if rows.device.type == "mps" else rows).double()
        if rows.ndim != 2 or (self._pilot is not None and rows.shape[1] != len(self._pilot)):
            wanted = "d" if self._pilot is None else len(self._pilot)
            raise InputError(f"features must be [B, {wanted}]; we got shape {list(rows.shape)}")
        if not len(rows):
            return
        bad = int((~torch.isfinite(rows).all(1)).sum())
        if bad:
            raise SamplingError(f"{bad} of {len(rows)} feature vectors are not finite")
        if self._pilot is None:
            self._pilot = rows.mean(0)
            self._total = torch.zeros_like(self._pilot)
            self._scatter = rows.new_zeros(rows.shape[1], rows.shape[1])
        about = rows - self._pilot
        self._total += about.sum(0)
        self._scatter.addmm_(about.T, about)
        self.n += len(rows)

    def moments(self) -> Moments:
        """What was seen so far.

        Raises:
            InputError: nothing yet, so that the features' length is not known.
        """
        if self._pilot is None:
            raise InputError("no features yet; add a batch first")
        total, scatter = self._total.cpu().numpy(), self._scatter.cpu().numpy()
        scatter = scatter - np.outer(total, total) / self.n
        return Moments(self.n, self._pilot.cpu().numpy() + total / self.n, (scatter + scatter.T) / 2)
