"""Classes of image files, from `dataset.json` or from the folders of the images."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.core.errors import InputError
from harness.core.text import brief

NAME = "dataset.json"
MAX_BYTES = 256 << 20
ONE_HOT = (
    "only class numbers are read, not vectors: store one whole number an image, such as the argmax of a one-hot vector"
)


def from_folders(names: Sequence[str]) -> np.ndarray | None:
    """Classes [N] by the first folder of each name, numbered in alphabetical order.

    Args:
        names: names of the images, with `/` between folders.

    Returns:
        None if an image is in no folder, because then folders are not classes.
    """
    if not all("/" in name for name in names):
        return None
    tops = [name.split("/", 1)[0] for name in names]
    number = {folder: place for place, folder in enumerate(sorted(set(tops)))}
    return np.array([number[top] for top in tops], dtype=np.int64)


def from_json(content: bytes, names: Sequence[str], where: str) -> np.ndarray | None:
    """Classes [N] as `dataset.json` gives them: {"labels": [[name, class], ...]}, or null for none.

    Args:
        content: the bytes of the file.
        names: names of the images, with `/` between folders; the file may use either separator.
        where: name of the file in errors.

    Raises:
        InputError: another form, vectors instead of class numbers, images without a class, or classes without an image.
    """
    pairs = _labels(content, where)
    if pairs is None:
        return None
    class_of: dict[str, int] = {}
    for pair in pairs:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise InputError(f'{where}: an entry of "labels" is a pair [name, class]; we got {_said(pair)}')
        name, number = pair[0].replace("\\", "/"), pair[1]
        if isinstance(number, list | float):
            raise InputError(f"{where}: image '{brief(name)}' has the class {_said(number)}; {ONE_HOT}")
        if type(number) is not int:
            raise InputError(f"{where}: image '{brief(name)}' has the class {_said(number)}, not a whole number")
        if class_of.setdefault(name, number) != number:
            raise InputError(f"{where}: image '{brief(name)}' has two classes, {class_of[name]} and {number}")
    _check_names(class_of, names, where)
    values = [class_of[name] for name in names]
    if any(abs(value) >= 1 << 62 for value in values):
        raise InputError(f"{where}: a class that is far too large a number")
    return np.array(values, dtype=np.int64)


def _said(value: Any) -> str:
    """A JSON value for messages; of lists and tables only the kind and length."""
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value):,} values"
    return brief(repr(value))[:60]


def _labels(content: bytes, where: str) -> list[Any] | None:
    if len(content) > MAX_BYTES:
        raise InputError(f"{where}: {len(content):,} bytes, more than {MAX_BYTES:,}; refused")
    try:
        root = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({brief(str(error))}); mend the file or remove it") from None
    labels = root.get("labels") if isinstance(root, dict) else 0
    if labels is not None and not isinstance(labels, list):
        raise InputError(f'{where}: must be {{"labels": [[name, class], ...]}} or {{"labels": null}}')
    return labels


def _check_names(class_of: dict[str, int], names: Sequence[str], where: str) -> None:
    missing = [name for name in names if name not in class_of]
    if missing:
        raise InputError(
            f"{where}: {len(missing):,} of {len(names):,} images have no class, the first is '{brief(missing[0])}'; "
            'add them, or set "labels" to null'
        )
    if len(class_of) != len(names):
        there = set(names)
        absent = [name for name in class_of if name not in there]
        raise InputError(
            f"{where}: {len(absent):,} classes are for images that are not there, the first is '{brief(absent[0])}'; "
            "the copy is not whole, or take them out of the file"
        )
