"""From a word, a path or a spec to a denoiser, and to what a plan needs to know of it without torch.

A source is one of
    a card's name      digits-vp
    a path             runs/mine.safetensors
    a spec             ideal, {kind: gaussian, std: 0.5}, {kind: cfg, denoiser: NAME, weight: 2}, or a spec object
and is looked up in this order.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.denoisers.guidance_specs import AutoguidanceSpec, CFGSpec, check_classes, check_same_classes
from harness.denoisers.specs import KINDS, Spec, parse
from harness.hub.cards import DenoiserCard, checked_path, denoiser_cards
from harness.hub.header import read_header

if TYPE_CHECKING:
    import torch

    from harness.sampling.denoiser import Denoiser

Source: TypeAlias = str | Path | Mapping[str, Any] | Spec


class Window(NamedTuple):
    """Where a guided denoiser costs less: outside sigma_lo < sigma <= sigma_hi an evaluation counts as `outside`."""

    sigma_lo: float
    sigma_hi: float
    outside: int


class Description(NamedTuple):
    """What a plan needs to know of a denoiser.

    Attributes:
        identity: see `identity`.
        shape: (C, H, W) of the images.
        label_dim: classes; 0 means unconditional.
        sigma_min, sigma_max: noise range that it supports.
        cost: evaluations that one call counts as.
        window: where a call counts as fewer; None if it never does.
        guided_by_class: whether it is classifier-free guidance.
        family: kind of the network's preconditioning; "" for an analytic denoiser.
    """

    identity: str
    shape: tuple[int, int, int]
    label_dim: int
    sigma_min: float
    sigma_max: float
    cost: int = 1
    window: Window | None = None
    guided_by_class: bool = False
    family: str = ""

    @property
    def rounds(self) -> bool:
        """Whether noise levels are rounded to those that the network was trained at."""
        return self.family == "iddpm" or self.family.startswith("ddpm")


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
    match found:
        case _Named():
            return _load_file(checked_path(found.name, found.card), device, wanted)
        case Path():
            return _load_file(found, device, wanted, options)
        case CFGSpec():
            from harness.denoisers.guidance import CFG

            main = load_denoiser(found.denoiser, device, dtype)
            return CFG(main, found.weight, found.sigma_lo, found.sigma_hi)
        case AutoguidanceSpec():
            from harness.denoisers.guidance import Autoguidance

            main, guide = (load_denoiser(part, device, dtype) for part in (found.denoiser, found.guide))
            return Autoguidance(main, guide, found.weight, found.sigma_lo, found.sigma_hi)
    from harness.denoisers.analytic.exact import build

    if wanted not in (None, torch.float64):
        raise InputError(f"an analytic denoiser computes in float64, not {wanted}; leave dtype out")
    return build(found, device)


def _load_file(
    path: Path, device: "torch.device", dtype: "torch.dtype | None", options: Mapping[str, Any] | None = None
) -> "Denoiser":
    import torch

    from harness.denoisers.checkpoints import safetensors_file

    wanted = torch.float32 if dtype is None else dtype
    if path.suffix == ".safetensors":
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
    """What identifies the numbers: `sha256:...` of the weights' file, or the canonical JSON of a spec.

    Raises:
        InputError: as `describe`.
    """
    return describe(source).identity


def describe(source: Source) -> Description:
    """Read a denoiser's facts from its card, its file's header or its spec; loads no torch.

    Raises:
        InputError: unknown name, unreadable file or invalid spec.
    """
    match found := _find(source):
        case _Named(card=card) if card.file is not None:
            facts = card.shape, card.label_dim, card.sigma_min, card.sigma_max
            return Description(f"sha256:{card.sha256}", *facts, family=card.preconditioning)
        case _Named():
            return _describe_file(checked_path(found.name, found.card))
        case Path():
            if found.suffix != ".safetensors":
                ours = found.with_suffix(".safetensors").name
                raise InputError(
                    f"{found}: a run takes our own checkpoints; write one, once: harness import {found} -o {ours}"
                )
            return _describe_file(found)
        case CFGSpec() | AutoguidanceSpec():
            return _describe_guided(found)
    fields = {**found.model_dump(mode="json"), "version": found.version}
    return Description(_canonical(fields), found.shape, found.label_dim, found.sigma_min, found.sigma_max, found.cost)


def _describe_file(path: Path) -> Description:
    config = read_header(path).config
    digest = f"sha256:{sha256_of(path)}"
    facts = config.shape, config.label_dim, config.sigma_min, config.sigma_max
    return Description(digest, *facts, family=config.preconditioning)


def _describe_guided(spec: CFGSpec | AutoguidanceSpec) -> Description:
    """The facts of guidance follow from those of its parts.

    Raises:
        InputError: parts that do not go together.
    """
    main = describe(spec.denoiser)
    if isinstance(spec, CFGSpec):
        check_classes(main.label_dim)
        guide = main
    else:
        guide = describe(spec.guide)
        check_same_classes(main.label_dim, guide.label_dim)
    if main.shape != guide.shape:
        raise InputError(f"guidance needs images of one shape; we got {list(main.shape)} and {list(guide.shape)}")
    parts = {"denoiser": main.identity, "guide": guide.identity, "version": spec.version}
    fields = spec.model_dump(mode="json", exclude={"denoiser", "guide"}) | parts
    low, high = max(main.sigma_min, guide.sigma_min), min(main.sigma_max, guide.sigma_max)
    cost = main.cost + (guide.cost if spec.weight != 1 else 0)
    window = Window(spec.sigma_lo, spec.sigma_hi, main.cost)
    by_class = isinstance(spec, CFGSpec)
    return Description(_canonical(fields), main.shape, main.label_dim, low, high, cost, window, by_class, main.family)


def _canonical(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


def verify(source: Source) -> None:
    """Check, before any compute, that a card's file is there and is the one that the card describes.

    Raises:
        InputError: with both hashes and the remedy.
    """
    match found := _find(source):
        case _Named(name, card):
            checked_path(name, card)
        case CFGSpec():
            verify(found.denoiser)
        case AutoguidanceSpec():
            verify(found.denoiser)
            verify(found.guide)


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
