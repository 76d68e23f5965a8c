"""Statistics of real images' features as a file: the official `.npz` with `mu` and `sigma`, and what we add to it.

    mu [d] float64, sigma [d, d] float64      mean and unbiased covariance: all that the official files hold
    n, features [m, d] float32                how many images, and the features of up to 10,000 of them
    extractor, dataset, digest                which network, which images, and the hash of those
    shape [3], formats                        channels, height and width of the images, and the kinds of their files;
                                              of floats any shape

A program that knows only `mu` and `sigma` reads ours too. Nothing in such a file is unpickled. EDM2 keeps the same two
arrays in a pickle, one pair for each of its metrics, see `read_pickled`.
"""

import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import InputError
from harness.core.files import write_bytes
from harness.core.text import brief
from harness.metrics.statistics.frechet_distance import FrechetReference

MAX_WIDTH = 16_384
"""Features that a file may have: its covariance is 2 GB then."""

MAX_NUMBERS = MAX_WIDTH**2
MAX_BYTES = {"mu": 8 * MAX_WIDTH, "sigma": 8 * MAX_NUMBERS, "features": 8 * MAX_NUMBERS}
"""Bytes of an array in a file by its name; of the rest, which are a number or a word, 64 KB."""

MAX_SIDES = 16
"""Axes of a shape that a file may state."""

ASYMMETRY = 1e-6
"""How far a covariance may be from its transpose, of its largest number."""

NEGATIVE = 1e-6
"""How far an eigenvalue of a covariance may be below zero, of the largest."""

EXACT_WIDTH = 512
"""Features up to which all eigenvalues are computed; above, whether the least is below the limit."""

REMEDY = "a file of statistics is an .npz with `mu` [d] and `sigma` [d, d]: numpy.savez('REF.npz', mu=mu, sigma=sigma)"


@dataclass(frozen=True, eq=False)
class Statistics:
    """What is known of real images under one extractor.

    Args:
        mu: [d] mean of the features.
        sigma: [d, d] their unbiased covariance.
        n: number of images; None where a file does not say.
        features: [m, d] float32 of some or all images; None where they were not kept.
        extractor: id of the extractor; None where a file does not say.
        dataset: name of the images; None where a file does not say.
        digest: SHA-256 of the images; None where a file does not say.
        shape: [C, H, W] of the images, or of floats any; None where a file does not say.
        formats: kinds of the images' files, see `ImageSet.formats`; None where a file does not say.
    """

    mu: np.ndarray
    sigma: np.ndarray
    n: int | None = None
    features: np.ndarray | None = None
    extractor: str | None = None
    dataset: str | None = None
    digest: str | None = None
    shape: tuple[int, ...] | None = None
    formats: tuple[str, ...] | None = None
    _factored: dict[str, FrechetReference] = field(default_factory=dict, init=False, repr=False)

    @property
    def width(self) -> int:
        """Length d of a feature vector."""
        return len(self.mu)

    @property
    def kept(self) -> int:
        """Number of images whose features are here."""
        return 0 if self.features is None else len(self.features)

    @property
    def has_all_features(self) -> bool:
        """Whether every image's features are here."""
        return self.features is not None and len(self.features) == self.n

    def frechet(self, device: str = "cpu") -> FrechetReference:
        """Ready for distances, its factor computed once for each device."""
        if device not in self._factored:
            self._factored[device] = FrechetReference(self.mu, self.sigma, device)
        return self._factored[device]

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file holds; what is unknown is left out."""
        told = {name: getattr(self, name) for name in ("n", "extractor", "dataset", "digest")}
        arrays = {name: np.array(value) for name, value in told.items() if value is not None}
        if self.shape is not None:
            arrays["shape"] = np.array(self.shape)
        if self.formats is not None:
            arrays["formats"] = np.array(" ".join(self.formats))
        if self.features is not None:
            arrays["features"] = self.features.astype(np.float32)
        return {"mu": self.mu, "sigma": self.sigma, **arrays}

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self.arrays())
        try:
            write_bytes(path, buffer.getvalue())
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); check the path, or make space") from None


def read_statistics(path: Path) -> Statistics:
    """Read such a file, ours or an official one.

    Raises:
        InputError: not a file of statistics, damaged, one that asks for pickle, or numbers that cannot be.
    """
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
        for name, size in sizes.items():
            most = MAX_BYTES.get(name, 1 << 16)
            if name in _KNOWN and size > most + 4096:
                raise InputError(f"{where}: {name} takes {size:,} bytes, and at most {most:,} make sense; not read")
        with np.load(path, allow_pickle=False) as stored:
            if missing := {"mu", "sigma"} - set(stored.files):
                have = ", ".join(brief(name) for name in sorted(stored.files)[:8]) or "nothing"
                raise InputError(f"{where}: has no {' and no '.join(sorted(missing))}, and has {have}; {REMEDY}")
            statistics = from_arrays({name: stored[name] for name in stored.files if name in _KNOWN}, where)
    except OSError as error:
        raise InputError(f"{where}: cannot read the file ({error.strerror or error}); check the path") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, MemoryError, RuntimeError) as error:
        raise InputError(f"{where}: not an .npz file of statistics ({error}); check the path") from None
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise InputError(f"{where}: asks for pickle, which can run code; nothing was read") from None
        raise InputError(f"{where}: damaged .npz file ({str(error)[:200]})") from None
    check_covariance(statistics.sigma, where)
    return statistics


_KNOWN = ("mu", "sigma", "n", "features", "extractor", "dataset", "digest", "shape", "formats")


def check_covariance(sigma: np.ndarray, where: str) -> None:
    """See that no eigenvalue of a symmetric [d, d] is further below zero than rounding takes it.

    Raises:
        InputError: one is, so that this is no covariance.
    """
    if len(sigma) <= EXACT_WIDTH:
        values = np.linalg.eigvalsh(sigma)
        least, largest = float(values[0]), float(values[-1])
        if least < -NEGATIVE * abs(largest):
            raise InputError(
                f"{where}: sigma is no covariance: its eigenvalues go from {least:.4g} to {largest:.4g}, and none is "
                "below zero; make it again"
            )
        return
    if not sigma.any():
        return
    from scipy.sparse.linalg import eigsh

    largest = float(eigsh(sigma, k=1, which="LA", return_eigenvectors=False, v0=np.ones(len(sigma)))[0])
    try:  # it has a Cholesky factor if no eigenvalue is below the limit
        np.linalg.cholesky(sigma + np.eye(len(sigma)) * (NEGATIVE * abs(largest) or 1.0))
    except np.linalg.LinAlgError:
        raise InputError(
            f"{where}: sigma is no covariance: an eigenvalue is further below zero than {NEGATIVE:g} of the largest, "
            f"{largest:.4g}; make it again"
        ) from None


def from_arrays(arrays: dict[str, Any], where: str) -> Statistics:
    """Statistics from the arrays of a file.

    Raises:
        InputError: some are missing, or cannot be.
    """
    missing = {"mu", "sigma"} - set(arrays)
    if missing:
        have = ", ".join(sorted(arrays)) or "none that is known"
        raise InputError(f"{where}: has {have}; {REMEDY}")
    mu, sigma = _numbers(arrays["mu"], "mu", where), _numbers(arrays["sigma"], "sigma", where)
    if mu.ndim != 1 or not 1 <= len(mu) <= MAX_WIDTH or sigma.shape != (len(mu), len(mu)):
        raise InputError(
            f"{where}: mu [d] and sigma [d, d] do not go together; we got {list(mu.shape)} and {list(sigma.shape)}"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise InputError(f"{where}: holds values that are not finite; make it again")
    if np.abs(sigma - sigma.T).max() > ASYMMETRY * np.abs(sigma).max() or np.diagonal(sigma).min() < 0:
        raise InputError(f"{where}: sigma is no covariance (not symmetric, or a variance below zero); make it again")
    features = arrays.get("features")
    if features is not None:
        with np.errstate(over="ignore"):  # what is too large is refused as not finite
            features = np.asarray(_numbers(features, "features", where), dtype=np.float32)
        if features.ndim != 2 or features.shape[1] != len(mu) or not np.isfinite(features).all():
            raise InputError(f"{where}: features should be finite [m, {len(mu)}]; we got {list(features.shape)}")
    told: dict[str, Any] = {name: _text(arrays[name]) for name in ("extractor", "dataset", "digest") if name in arrays}
    if "formats" in arrays:
        told["formats"] = tuple(_text(arrays["formats"]).split())
    shape = _shape(arrays.get("shape"), where)
    return Statistics(mu, sigma, _count(arrays.get("n"), where), features, **told, shape=shape)


def _numbers(value: Any, name: str, where: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{where}: {name} should be numbers; we got {array.dtype}")
    return array if name == "features" else array.astype(np.float64)


def _text(value: Any) -> str:
    return str(np.asarray(value).reshape(-1)[0]) if np.asarray(value).size else ""


def _count(value: Any, where: str) -> int | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "iu" or array < 2:
        raise InputError(f"{where}: n should be one number of images, at least 2; we got {array!r}")
    return int(array)


def _shape(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.ndim != 1 or not 1 <= len(array) <= MAX_SIDES or array.dtype.kind not in "iu" or (array < 1).any():
        raise InputError(f"{where}: shape should be channels, height and width of the images; we got {array!r}")
    return tuple(int(side) for side in array)
