"""From a word, a path or a spec to a denoiser, and to what a plan needs to know of it without torch.

A source is one of
    a card's name      digits-vp
    a path             runs/mine.safetensors
    a spec             ideal, {kind: gaussian, std: 0.5}, {kind: cfg, denoiser: NAME, weight: 2}, or a spec object
and is looked up in this order.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.denoisers.config import DenoiserConfig, Description
from harness.denoisers.specs import KINDS, Spec, parse
from harness.hub.cards import DenoiserCard, checked_path, denoiser_cards
from harness.hub.header import read_header

if TYPE_CHECKING:
    import torch

    from harness.sampling.denoiser import Denoiser

Source: TypeAlias = str | Path | Mapping[str, Any] | Spec


class _Named(NamedTuple):
    name: str
    card: DenoiserCard


def load_denoiser(
    source: Source,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | str | None" = None,
    options: Mapping[str, Any] | None = None,
) -> "Denoiser":
    """Load a denoiser.

    Args:
        source: a card's name, a path to a checkpoint of ours or of another program, or a spec.
        device: where it computes; None means the CPU.
        dtype: of its arithmetic, `float32` or `float64`; None means its own: float32 for a network, float64 for an
            analytic denoiser, which has no other.
        options: of a checkpoint of another program, what its file does not say (`harness inspect` shows it).

    Raises:
        InputError: unknown name, unreadable or altered file, invalid spec, or a dtype that it has not.
    """
    import torch

    device = torch.device("cpu" if device is None else device)
    wanted = _dtype(dtype)
    found = _find(source)
    if options and not (isinstance(found, Path) and found.suffix != ".safetensors"):
        raise InputError(f"'{source}' describes itself; leave out the option '{next(iter(options))}'")
    if isinstance(found, DenoiserConfig):
        parts = tuple(load_denoiser(part, device, wanted) for part in found.parts())
        return found.build(parts, device, wanted)
    path = found if isinstance(found, Path) else checked_path(found.name, found.card)
    wanted = torch.float32 if wanted is None else wanted
    if path.suffix == ".safetensors":
        from harness.denoisers.checkpoints import safetensors_file

        return safetensors_file.load(path, device, wanted)
    from harness.denoisers.checkpoints.convert import load_foreign

    return load_foreign(path, device, wanted, options)


def _dtype(dtype: "torch.dtype | str | None") -> "torch.dtype | None":
    import torch

    known = {"float32": torch.float32, "float64": torch.float64}
    if dtype is None or (isinstance(dtype, torch.dtype) and dtype in known.values()):
        return dtype
    if str(dtype) not in known:
        raise InputError(f"a denoiser's dtype is float32 or float64; we got {dtype}")
    return known[str(dtype)]


def identity(source: Source) -> str:
    """What identifies a denoiser's numbers; see `Description`.

    Raises:
        InputError: as `describe`.
    """
    return describe(source).identity


def describe(source: Source) -> Description:
    """Read a denoiser's facts from its card, its file's header or its spec; loads no torch.

    Raises:
        InputError: unknown name, unreadable file or invalid spec.
    """
    found = _find(source)
    if isinstance(found, DenoiserConfig):
        return found.describe(*(describe(part) for part in found.parts()))
    if isinstance(found, Path):
        if found.suffix != ".safetensors":
            ours = found.with_suffix(".safetensors").name
            raise InputError(
                f"{found}: a run takes our own checkpoints; write one, once: harness import {found} -o {ours}"
            )
        return _describe_file(found)
    card = found.card
    if card.file is None:
        return _describe_file(checked_path(found.name, card))
    facts = card.shape, card.label_dim, card.sigma_min, card.sigma_max
    return Description(f"sha256:{card.sha256}", *facts, family=card.preconditioning)


def _describe_file(path: Path) -> Description:
    config = read_header(path).config
    digest = f"sha256:{sha256_of(path)}"
    facts = config.shape, config.label_dim, config.sigma_min, config.sigma_max
    return Description(digest, *facts, family=config.preconditioning)


def verify(source: Source) -> None:
    """Check, before any compute, that a card's file is there and is the one that the card describes.

    Raises:
        InputError: with both hashes and the remedy.
    """
    found = _find(source)
    if isinstance(found, DenoiserConfig):
        for part in found.parts():
            verify(part)
    elif isinstance(found, _Named):
        checked_path(found.name, found.card)


def _find(source: Source) -> _Named | Path | Spec:
    """Tell names, paths and specs apart."""
    if not isinstance(source, str | Path):
        return parse(source)
    cards = denoiser_cards()
    name = str(source)
    if name in cards:
        return _Named(name, cards[name])
    path = Path(source)
    if path.suffix == ".safetensors":
        return path
    if name in KINDS:
        return parse(name)
    if path.exists():
        return path
    here = [known for known, card in cards.items() if card.file is not None]
    raise InputError(
        f"unknown denoiser '{name}'; known names: {', '.join([*here, *KINDS])}; `harness fetch --list` shows more, or "
        "give the path of a checkpoint"
    )
