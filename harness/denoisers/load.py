"""Loading and describing denoisers.

A source is one of the following, tried in this order:

    a card's name      digits-vp
    a path             runs/mine.safetensors
    a spec             ideal, {kind: gaussian, std: 0.5}, {kind: cfg, denoiser: NAME, weight: 2}, or a spec object

`load_denoiser` gives the denoiser; `describe` gives what a plan needs to know of it, without torch.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pydantic import ValidationError

from harness.core.code import code_allowed
from harness.core.config import one_of
from harness.core.embedded import sha256_of
from harness.core.errors import InputError
from harness.core.yaml import explain
from harness.denoisers.analytic.specs import DigitsMixtureSpec, DiracsSpec, GaussianSpec, IdealSpec, MixtureSpec
from harness.denoisers.config import DTYPES, AnyDenoiser, DenoiserConfig, Description
from harness.denoisers.config import Part as Part
from harness.denoisers.exported import ExportedSpec
from harness.denoisers.given import GivenSpec
from harness.denoisers.guidance import AutoguidanceSpec, CFGSpec
from harness.denoisers.python_network import PythonSpec
from harness.denoisers.with_error import WithErrorSpec
from harness.hub.cards import DenoiserCard, checked_path, denoiser_cards, is_here, used_path
from harness.hub.header import CheckpointConfig, is_ours, read_header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from harness.sampling.denoiser import Denoiser

DENOISERS = one_of(
    GaussianSpec,
    MixtureSpec,
    DiracsSpec,
    IdealSpec,
    DigitsMixtureSpec,
    WithErrorSpec,
    GivenSpec,
    PythonSpec,
    CFGSpec,
    AutoguidanceSpec,
    ExportedSpec,
    group="harness.denoisers",
)
AnyDenoiser.union = DENOISERS
Source: TypeAlias = str | Path | Mapping[str, Any] | DenoiserConfig


class _Named(NamedTuple):
    """A denoiser with a card."""

    name: str
    card: DenoiserCard


def load_denoiser(
    source: Source,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | str | None" = None,
    options: Mapping[str, Any] | None = None,
    allow_code: bool = False,
) -> "Denoiser":
    """Load a denoiser.

    Args:
        source: a card's name, a path to a checkpoint of ours or of another program, or a spec.
        device: where it computes; None means the CPU.
        dtype: of its arithmetic, `float32` or `float64`; None means its own: float32 for a network, float64 for an
            analytic denoiser, which has no other, and the file's for an exported program, of which none may be asked.
        options: of a checkpoint of another program, what its file does not say (`harness inspect` shows it).
        allow_code: run the Python code that a spec of kind `python` names; see `harness.core.code`.

    Example:
        >>> import harness, torch
        >>> denoiser = harness.load_denoiser({"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2]})
        >>> denoiser(torch.ones(3, 1, 2, 2), torch.tensor(1.0)).flatten(1)[0]  # x std^2 / (std^2 + sigma^2)
        tensor([0.2000, 0.2000, 0.2000, 0.2000], dtype=torch.float64)

    Raises:
        InputError: unknown name, unreadable or altered file, invalid spec, a dtype that it does not have, or code
            without permission.
    """
    import torch

    device = torch.device("cpu" if device is None else device)
    if dtype is not None:
        known = {"float32": torch.float32, "float64": torch.float64}
        word = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else str(dtype)
        if word not in known:
            raise InputError(f"a denoiser's dtype is float32 or float64; we got {dtype}")
        dtype = known[word]
    resolved = _resolve(source)
    if options and not (isinstance(resolved, Path) and _is_foreign(resolved)):
        raise InputError(f"'{source}' describes itself; leave out the option '{next(iter(options))}'")
    if isinstance(resolved, DenoiserConfig):
        with code_allowed(allow_code):
            parts = tuple(load_denoiser(part, device, dtype) for part in resolved.parts())
            return resolved.build(parts, device, dtype)
    path = resolved if isinstance(resolved, Path) else checked_path(resolved.name, resolved.card)
    dtype = torch.float32 if dtype is None else dtype
    if _is_foreign(path):
        from harness.denoisers.checkpoints.convert import load_foreign

        return load_foreign(path, device, dtype, options)
    from harness.denoisers.checkpoints import safetensors_file

    return safetensors_file.load(path, device, dtype)


def identity(source: Source) -> str:
    """The identity of a denoiser's numbers; see `Description`.

    Raises:
        InputError: as `describe`.
    """
    return describe(source).identity


def describe(source: Source, absent_ok: bool = False) -> Description:
    """What a plan needs to know of a denoiser, from its card, its file's header or its spec; loads no torch.

    Args:
        source: see this module.
        absent_ok: a card whose file has to be fetched first is described by the card. Its identity is not known then.

    Raises:
        InputError: unknown name, unreadable file or invalid spec.
    """
    resolved = _resolve(source)
    if isinstance(resolved, DenoiserConfig):
        return resolved.describe(*(describe(part, absent_ok) for part in resolved.parts()))
    facts: DenoiserCard | CheckpointConfig
    if isinstance(resolved, _Named) and (resolved.card.file is not None or (absent_ok and not is_here(resolved.card))):
        # the file is compared with the card's hash when it is loaded; one that has to be fetched may have none yet
        facts, digest = resolved.card, resolved.card.sha256 or f"not fetched: {resolved.name}"
    else:
        path = resolved if isinstance(resolved, Path) else checked_path(resolved.name, resolved.card)
        if _is_foreign(path):
            ours = f"{path.resolve().name.split('.')[0]}.safetensors"
            raise InputError(
                f"{path}: a run takes our own checkpoints; write one, once: harness import {path} -o {ours}"
            )
        facts, digest = read_header(path).config, sha256_of(path)
    network = facts if isinstance(facts, CheckpointConfig) else None  # a card says nothing of tables of classes
    return Description(
        f"sha256:{digest}",
        facts.shape,
        facts.label_dim,
        facts.sigma_min,
        facts.sigma_max,
        family=facts.preconditioning,
        null_class=network.null_class if network else None,
        needs_class=bool(network and network.needs_class),
        dtypes=DTYPES,
        takes_infinity=facts.preconditioning == "flow" and facts.sigma_max == math.inf,
    )


def rounding_of(source: Source) -> "Callable[[Tensor], Tensor] | None":
    """How a denoiser rounds noise levels, without reading its weights; None where there is no file of ours to say it.

    Raises:
        InputError: as `describe`.
    """
    resolved = _resolve(source)
    if isinstance(resolved, DenoiserConfig):
        parts = resolved.parts()
        return rounding_of(parts[0]) if parts else resolved.rounding()
    path = resolved if isinstance(resolved, Path) else used_path(resolved.card)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    from harness.denoisers.checkpoints import safetensors_file

    return safetensors_file.without_weights(path).round_sigma


def own_parts(source: Source) -> tuple[DenoiserConfig, ...]:
    """The specs among a denoiser and its parts that are a user's own networks, and run the user's code.

    Raises:
        InputError: as `describe`.
    """
    resolved = _resolve(source)
    if not isinstance(resolved, DenoiserConfig):
        return ()
    inner = (own for part in resolved.parts() for own in own_parts(part))
    return ((resolved,) if resolved.is_own else ()) + tuple(inner)


def cards_of(source: Source) -> tuple[str, ...]:
    """Names of the cards that a denoiser is loaded from, its parts' included.

    Raises:
        InputError: as `describe`.
    """
    resolved = _resolve(source)
    if isinstance(resolved, DenoiserConfig):
        return tuple(name for part in resolved.parts() for name in cards_of(part))
    return (resolved.name,) if isinstance(resolved, _Named) else ()


def verify(source: Source) -> None:
    """Check, before any compute, that a card's file is there and is the one that the card describes.

    Raises:
        InputError: with both hashes and the remedy.
    """
    resolved = _resolve(source)
    if isinstance(resolved, DenoiserConfig):
        for part in resolved.parts():
            verify(part)
    elif isinstance(resolved, _Named):
        checked_path(resolved.name, resolved.card)


def parse(spec: Any) -> DenoiserConfig:
    """Read a spec given as a mapping, a bare kind, or a spec object.

    Raises:
        InputError: unknown kind or key, or a value out of range; names the key.
    """
    try:
        return DENOISERS.read(spec)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in e['loc'])}: {explain(e)}" for e in error.errors()]
        raise InputError("denoiser: " + "\n".join(dict.fromkeys(lines[:10]))) from None


def _is_foreign(path: Path) -> bool:
    """Whether a path is a checkpoint of another program.

    Raises:
        InputError: a safetensors file that is missing or damaged.
    """
    return path.suffix != ".safetensors" or not is_ours(path)


def _resolve(source: Source) -> _Named | Path | DenoiserConfig:
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
    if name in DENOISERS.kinds:
        return parse(name)
    if path.exists():
        return path
    if DENOISERS.find(name):  # imports plugins
        return parse(name)
    here = [known for known, card in cards.items() if card.file is not None]
    raise InputError(
        f"unknown denoiser '{name}'; known names: {', '.join([*here, *DENOISERS.kinds])}; "
        "`harness fetch --list` shows more, or give the path of a checkpoint"
    )
