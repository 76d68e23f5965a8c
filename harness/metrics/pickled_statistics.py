"""Statistics in the pickles of EDM2: a mean and a covariance for each of its metrics.

    {"num_images": 50000, "fid": {"mu": [d], "sigma": [d, d]}, "fd_dinov2": {"mu": [d], "sigma": [d, d]}}

A pickle with `mu` and `sigma` at its top is read as well. Nothing in it is executed.

Source: Karras et al. 2024 (arXiv 2312.02696), the reference statistics of their released code.
"""

from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.text import brief
from harness.denoisers.checkpoints.pickles.machine import PickleBudget, unpickle
from harness.denoisers.checkpoints.pickles.numpy_arrays import NUMPY_ARRAYS, array_of
from harness.denoisers.checkpoints.pickles.torch_file import mapped
from harness.denoisers.checkpoints.pickles.torch_names import encoded, ordered_dict
from harness.metrics.reference_statistics import REMEDY, Statistics, check_covariance, from_arrays

ALLOWED = {**NUMPY_ARRAYS, "_codecs.encode": encoded, "dnnlib.util.EasyDict": ordered_dict}

COUNT = "num_images"


def read_pickled(path: Path, metric: str) -> Statistics:
    """Read the statistics of one metric; the file does not say which extractor made them.

    Args:
        path: the file.
        metric: EDM2's name of what is compared, `fid` or `fd_dinov2`; "" where it has none for the extractor.

    Raises:
        InputError: a pickle of something else, of other metrics, damaged, or numbers that cannot be.
    """
    where = str(path)
    try:
        root = unpickle(mapped(path), where, ALLOWED, PickleBudget()).value
    except InputError as error:
        raise InputError(f"{error}. As a reference, {REMEDY}") from None
    if not isinstance(root, dict):
        raise InputError(f"{where}: a pickle without a dict; {REMEDY}")
    kept = {str(key): value for key, value in root.items() if isinstance(value, dict) and {"mu", "sigma"} <= set(value)}
    pair: Any = root if {"mu", "sigma"} <= set(root) else kept.get(metric)
    if pair is None and kept:
        have = ", ".join(f"'{brief(name)}'" for name in kept)
        raise InputError(
            f"{where}: statistics of EDM2 for {have}, and none of them is in this extractor's features; 'fid' is in "
            "those of 'inception' and 'fd_dinov2' in those of 'dinov2'"
        )
    if pair is None:
        have = ", ".join(brief(str(key)) for key in list(root)[:8]) or "nothing"
        raise InputError(f"{where}: a pickle with {have}, without `mu` and `sigma`; {REMEDY}")
    try:
        arrays = {name: array_of(pair[name]) for name in ("mu", "sigma")}
    except ValueError as error:
        raise InputError(f"{where}: {error}; {REMEDY}") from None
    if isinstance(root.get(COUNT), int):
        arrays["n"] = root[COUNT]
    statistics = from_arrays(arrays, where)
    check_covariance(statistics.sigma, where)
    return statistics
