"""From a path to what lies there, by its content; names and suffixes are not believed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import Found, blaming
from harness.denoisers.checkpoints.formats.diffusers_folder import is_diffusers, read_diffusers
from harness.denoisers.checkpoints.formats.edm_snapshot import read_snapshot
from harness.denoisers.checkpoints.formats.openai import is_openai, read_openai
from harness.denoisers.checkpoints.formats.score_sde import is_score_sde, read_score_sde
from harness.denoisers.checkpoints.pickles.torch_file import layout_of, mapped, read_torch_file

KNOWN = "EDM snapshots (.pkl), score_sde_pytorch (.pth), guided- and improved-diffusion (.pt), folders of diffusers"


def read_foreign(path: Path, options: Mapping[str, Any] | None = None) -> Found:
    """Read a checkpoint of another program; loads no torch and leaves the weights in the file.

    Args:
        path: a file, or a folder of diffusers.
        options: what the file does not say, by key; which keys there are depends on what it is.

    Raises:
        InputError: not a checkpoint known here, damaged, or with something in it that no checkpoint needs.
    """
    with blaming(path):
        return _read(path, options or {})


def _read(path: Path, given: Mapping[str, Any]) -> Found:
    if path.is_dir():
        if not is_diffusers(path):
            raise InputError(f"{path}: a folder without config.json or unet/config.json; known: {KNOWN}")
        return read_diffusers(path, given)
    if path.suffix == ".safetensors":
        raise InputError(
            f"{path}: a safetensors file is not imported; `harness inspect` says whether it is one of ours"
        )
    data = mapped(path)
    if layout_of(data) is not None:
        root = read_torch_file(path).root
        if is_score_sde(root):
            return read_score_sde(root, str(path), given)
        if is_openai(root):
            return read_openai(root, str(path), given)
        names = ", ".join(str(key)[:60] for key in list(root)[:5]) if isinstance(root, dict) else type(root).__name__
        raise InputError(
            f"{path}: a file of torch.save, but of no network known here (it holds {names}); known: {KNOWN}"
        )
    head = bytes(data[:2])
    if head[:1] != b"\x80":
        raise InputError(f"{path}: not a checkpoint: it begins with {bytes(data[:8])!r}; known: {KNOWN}")
    if given:
        raise InputError(f"{path}: a snapshot describes itself; leave out the option '{next(iter(given))}'")
    return read_snapshot(path)
