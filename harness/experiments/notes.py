"""Settings of a sampler without effect at its levels, or at its number of them: they run, and are noted.

A setting that contradicts itself is refused where it is read. One that happens to change nothing is a fair point of a
sweep; but who asked for it should know.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from harness.denoisers.config import Description
from harness.denoisers.load import Source, describe, rounding_of

if TYPE_CHECKING:
    from torch import Tensor

    from harness.experiments.nfe import Layout
    from harness.sampling.sampler import Sampler

NAMED = 100
"""Curves that a note names one by one at most."""

Rounding = Callable[["Tensor"], "Tensor"]


def sampler_notes(
    sampler: "Sampler", denoiser: Description, rounding: Rounding | None = None, layout: "Layout | None" = None
) -> tuple[str, ...]:
    """What of a sampler has no effect with a denoiser, in sentences; none while its levels are still to be found.

    Args:
        sampler: which.
        denoiser: what a plan knows of it.
        rounding: how it rounds noise levels; None where it does not, or where that is not known.
        layout: the levels before any rounding, where they are known.
    """
    from harness.experiments.nfe import Probe, lay_out
    from harness.sampling.sample import sample

    if sampler.discretization.is_open:
        return ()
    probe, window = Probe(denoiser.sigma_min, denoiser.sigma_max, denoiser.cost, rounding), denoiser.window
    if layout is None or rounding is not None:
        layout = lay_out(sampler, denoiser, rounding)
    told = [*layout.notes, *sampler.stochasticity.notes(layout.sigmas, probe)]
    if window is not None and denoiser.cost > window.outside:
        sample(probe, sampler.model_copy(update={"noise_device": "cpu"}), seeds=[0])
        if not any(window.sigma_lo < sigma <= window.sigma_hi for sigma in probe.levels):
            told.append(
                f"No evaluation is at a noise level above sigma_lo = {window.sigma_lo:g} and up to sigma_hi = "
                f"{window.sigma_hi:g}: guidance has no effect."
            )
    return tuple(told)


def conditions_notes(path: str | None, seeds: int) -> tuple[str, ...]:
    """That a file has fewer conditions than there are seeds, in a sentence; none otherwise.

    Raises:
        InputError: the file cannot be read.
    """
    if path is None:
        return ()
    from harness.sampling.conditions import read_conditions

    count = len(read_conditions(path))
    if seeds <= count:
        return ()
    return (f"'{path}' holds {count:,} conditions for {seeds:,} seeds: they are used in turn, again and again.",)


def notes_of(source: Source, sampler: "Sampler") -> tuple[str, ...]:
    """The same with a denoiser that is not described yet.

    Raises:
        InputError: there is no such denoiser.
    """
    described = describe(source)
    return sampler_notes(sampler, described, rounding_of(source) if described.rounds else None)


def joined_notes(notes: Iterable[tuple[str, str, str]]) -> list[str]:
    """Each note once, followed by the trials that it is about.

    Args:
        notes: a note, the curve of a trial, and its NFE.
    """
    about: dict[str, dict[str, list[str]]] = {}
    for note, curve, nfe in notes:
        points = about.setdefault(note, {}).setdefault(curve, [])
        if nfe not in points:
            points.append(nfe)
    told = {
        note: [f"{curve}, NFE {', '.join(points)}" for curve, points in itertools.islice(curves.items(), NAMED)]
        + ([f"and {len(curves) - NAMED:,} more"] if len(curves) > NAMED else [])
        for note, curves in about.items()
    }
    return [f"{note} ({'; '.join(curves)})" for note, curves in told.items()]
