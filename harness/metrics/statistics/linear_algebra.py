"""The matrix routines that a Frechet distance needs, of NumPy for narrow features, of torch for wide ones or on a GPU.

Both run LAPACK in float64. For 2048 features torch's is several times as fast on a CPU; below a few hundred it is not
worth loading.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

WIDE = 256


class Spectrum(NamedTuple):
    """Eigenvalues [d], ascending, and eigenvectors [d, d] in columns."""

    values: Any
    vectors: Any


class Dense(Protocol):
    """Routines over matrices of one library, all float64."""

    def of(self, array: np.ndarray) -> Any:
        """The library's own array."""

    def cholesky(self, matrix: Any) -> Any | None:
        """The lower factor of a positive definite matrix; None where it is none."""

    def spectrum(self, matrix: Any) -> Spectrum:
        """Of a symmetric matrix."""

    def eigenvalues(self, matrix: Any) -> np.ndarray:
        """Of a symmetric matrix, ascending."""

    def singular_values(self, matrix: Any) -> np.ndarray:
        """Of any matrix, descending."""


class NumPy:
    """With NumPy, on the CPU."""

    def of(self, array: np.ndarray) -> np.ndarray:
        """As it is."""
        return array

    def cholesky(self, matrix: np.ndarray) -> np.ndarray | None:
        """See `Dense`."""
        try:
            return np.linalg.cholesky(matrix)
        except np.linalg.LinAlgError:
            return None

    def spectrum(self, matrix: np.ndarray) -> Spectrum:
        """See `Dense`."""
        return Spectrum(*np.linalg.eigh(matrix))

    def eigenvalues(self, matrix: np.ndarray) -> np.ndarray:
        """See `Dense`."""
        return np.linalg.eigvalsh(matrix)

    def singular_values(self, matrix: np.ndarray) -> np.ndarray:
        """See `Dense`."""
        return np.linalg.svd(matrix, compute_uv=False)


class Torch:
    """With torch.

    Args:
        device: where to compute; one without float64 is replaced by the CPU.
    """

    def __init__(self, device: str) -> None:
        self.device = "cpu" if device.startswith("mps") else device

    def of(self, array: np.ndarray) -> Any:
        """On the device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def cholesky(self, matrix: Any) -> Any | None:
        """See `Dense`."""
        import torch

        factor, trouble = torch.linalg.cholesky_ex(matrix)
        return None if int(trouble) else factor

    def spectrum(self, matrix: Any) -> Spectrum:
        """See `Dense`."""
        import torch

        return Spectrum(*torch.linalg.eigh(matrix))

    def eigenvalues(self, matrix: Any) -> np.ndarray:
        """See `Dense`."""
        import torch

        return torch.linalg.eigvalsh(matrix).cpu().numpy()

    def singular_values(self, matrix: Any) -> np.ndarray:
        """See `Dense`. On the CPU by NumPy, whose driver is the faster one there."""
        import torch

        if matrix.device.type == "cpu":
            return np.linalg.svd(matrix.numpy(), compute_uv=False)
        return torch.linalg.svdvals(matrix).cpu().numpy()


def dense(width: int, device: str = "cpu") -> Dense:
    """The routines for features of a width on a device."""
    return NumPy() if device == "cpu" and width < WIDE else Torch(device)
