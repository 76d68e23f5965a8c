"""Files of `torch.save` in either layout, without torch and without trust."""

import mmap
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.core.errors import InputError
from harness.denoisers.checkpoints.pickles import archive, legacy
from harness.denoisers.checkpoints.pickles.machine import PickleBudget
from harness.denoisers.checkpoints.pickles.torch_names import TORCH_FILE

Layout = Literal["zip", "legacy"]


class TorchFile(NamedTuple):
    """What is in a file of torch.save, its layout, and the budget that is left."""

    root: Any
    layout: Layout


def mapped(path: Path) -> memoryview:
    """A file's bytes, read when they are looked at.

    Raises:
        InputError: the file cannot be read, or is empty.
    """
    try:
        if not path.is_file():  # also not a pipe, which would be waited for
            raise InputError(f"{path}: cannot read the file (there is none, or it is no plain file); check the path")
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    except ValueError:
        raise InputError(f"{path}: the file is empty; copy or download it again") from None


def layout_of(data: memoryview) -> Layout | None:
    """Which of torch's layouts a file has, by its first bytes; None if neither."""
    if bytes(data[: len(archive.HEAD)]) == archive.HEAD:
        return "zip"
    return "legacy" if bytes(data[: len(legacy.HEAD)]) == legacy.HEAD else None


def read_torch_file(path: Path) -> TorchFile:
    """Read what `torch.save` wrote: dicts, lists, numbers and texts as they are, tensors as `LazyTensor`.

    Raises:
        InputError: another kind of file, damaged, or with a global that no checkpoint needs.
    """
    data, budget = mapped(path), PickleBudget()
    match layout_of(data):
        case "zip":
            return TorchFile(archive.read_archive(path, data, TORCH_FILE, budget), "zip")
        case "legacy":
            return TorchFile(legacy.read_legacy(data, str(path), TORCH_FILE, budget).root, "legacy")
    head = bytes(data[:8])
    raise InputError(f"{path}: not a file of torch.save: it begins with {head!r}; check the path")
