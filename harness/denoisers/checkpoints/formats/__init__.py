"""Checkpoint formats of other programs, one file a format.

A new format is one file and one word here, the file's name; see `base.CheckpointFormat`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.config import classes_in, one_of
from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import (
    CheckpointFile,
    CheckpointFormat,
    ReadCheckpoint,
    Settings,
    errors_are_the_files,
)
from harness.hub.header import is_ours

FILES = ("edm_snapshot", "score_sde", "openai", "diffusers_folder")

ELSEWHERE = {
    "x_embedder.proj.": "the weights of a DiT, which denoises latents, not images; latent models are not known here",
    "first_stage_model.": "a latent diffusion model, which has an autoencoder; latent models are not known here",
    "down_blocks.": "weights of diffusers without the config.json that says of what network; give a folder with both",
    "param_groups": "an optimiser's state, not a network; the weights lie in another file of that training, such as "
    "model*.pt or ema_*.pt",
}
"""What a file is that has names which begin so."""

FORMATS = one_of(*classes_in(__name__, FILES, CheckpointFormat), group="harness.formats")  # type: ignore[type-abstract]


def format_of(kind: str) -> CheckpointFormat:
    """The format that a card names.

    Raises:
        InputError: there is none of that name; with those that there are.
    """
    if FORMATS.find(kind) is None:
        raise InputError(f"unknown checkpoint format '{kind}'; known: {', '.join(FORMATS.kinds)}")
    return FORMATS.read(kind)


def read_checkpoint(path: Path, settings: Mapping[str, Any] | None = None, kind: str | None = None) -> ReadCheckpoint:
    """Read a checkpoint of another program; its weights stay in the file.

    Args:
        path: a file, or a folder of diffusers.
        settings: what the file does not say, by key; which keys there are depends on the format.
        kind: the only format that it may be of; None means any.

    Raises:
        InputError: not a checkpoint known here, damaged, or with something in it that no checkpoint needs.
    """
    if path.suffix == ".safetensors" and is_ours(path):
        raise InputError(f"{path}: a checkpoint of ours is not imported; use it as it is")
    candidates = _all_formats() if kind is None else [format_of(kind)]
    with errors_are_the_files(path):
        file, given = CheckpointFile(path), Settings(settings or {}, str(path))
        format = _recognised(file, candidates)
        read = format.read(file, given)
        given.check_all_taken()
        return read


def _all_formats() -> Iterator[CheckpointFormat]:
    """The built-in formats, then those of plugins, which are imported when no built-in one recognises the file."""
    built_in = FORMATS.kinds
    yield from map(FORMATS.read, built_in)
    yield from (FORMATS.read(kind) for kind in FORMATS.plugins if kind not in built_in)


def _recognised(file: CheckpointFile, candidates: Iterable[CheckpointFormat]) -> CheckpointFormat:
    """The first format that recognises the file.

    Raises:
        InputError: none does; with why a format could not look at it, if that is so.
    """
    problem, titles = None, []
    for candidate in candidates:
        titles.append(candidate.title)
        try:
            if candidate.recognise(file):
                return candidate
        except InputError as error:  # say, a zip file that torch did not write; it may be another format's
            problem = problem or error
    if problem is None and (what := _elsewhere(file)):
        raise InputError(f"{file.path}: {what}")
    raise problem or InputError(f"{file.path}: {_content(file)}; known: {', '.join(titles)}")


def _content(file: CheckpointFile) -> str:
    """What a file that no format recognises holds, in words."""
    if file.path.is_dir():
        return "a folder without config.json, unet/config.json or model_index.json"
    if not file.is_torch_file and not file.is_safetensors:
        return f"not a checkpoint: it begins with {bytes(file.data[:8])!r}"
    root = file.state_dicts.get("", {}) if file.is_safetensors else file.torch_object
    names = ", ".join(str(key)[:60] for key in list(root)[:5]) if isinstance(root, dict) else type(root).__name__
    if file.is_safetensors:
        return f"a safetensors file of no network known here (it holds {names}), and no config.json lies beside it"
    return f"a file of torch.save, but of no network known here (it holds {names})"


def _elsewhere(file: CheckpointFile) -> str | None:
    """What a file is that is not meant to be read here, in words."""
    root = file.torch_object
    names = [
        *(root if isinstance(root, dict) else ()),
        *(name for found in file.state_dicts.values() for name in found),
    ]
    return next((what for start, what in ELSEWHERE.items() if any(str(name).startswith(start) for name in names)), None)
