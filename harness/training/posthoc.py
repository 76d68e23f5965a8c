"""An average of another width, made after training from the snapshots of a run that tracked power-function averages.

Source: Karras et al. 2024 (arXiv 2312.02696), Sec. 3.2; the mathematics is in `harness.training.averages`.
"""

from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file

from harness.core.errors import InputError
from harness.denoisers.checkpoints.safetensors_file import load, save
from harness.hub.header import read_header
from harness.training.averages import WIDEST, Profile, fit_profile, gamma_of, reconstruct

LARGE_ERROR = 0.02
"""Errors of the fit up to 0.01 gave the average to 0.001 in every trial, and 0.04 did not."""


class Averaged(NamedTuple):
    """An average that was made.

    Args:
        path: its file.
        images: after how many images it is.
        snapshots: how many it is made of.
        error: of the fit: the part of the wanted profile that the snapshots cannot give.
    """

    path: Path
    images: int
    snapshots: int
    error: float

    @property
    def is_rough(self) -> bool:
        """Whether the snapshots do not reach the width."""
        return self.error > LARGE_ERROR


def average_of_run(folder: Path, sigma_rel: float, out: Path, images: int | None = None) -> Averaged:
    """Make the average of a relative width from the snapshots of a run, and write it as a denoiser.

    Args:
        folder: of the run, with `snapshots` in it.
        sigma_rel: width of the wanted average, in (0, 0.28].
        out: the file to write.
        images: after how many images; a number at which there is a snapshot. None: the last.

    Raises:
        InputError: no snapshots of power-function averages, a width out of range, or no snapshot at that number.
        OSError: the file cannot be written.
    """
    if not 0 < sigma_rel <= WIDEST:
        raise InputError(f"the width is above 0 and at most {WIDEST}; we got {sigma_rel}")
    profiles: dict[Path, Profile] = {}
    trainings: dict[str, Path] = {}
    batch = 1
    for path in sorted((folder / "snapshots").glob("*.safetensors")):
        origin = read_header(path).provenance
        recipe = origin.get("recipe") or {}
        if recipe.get("ema", {}).get("kind") == "power":
            profiles[path] = Profile(float(origin["images"]), gamma_of(float(origin["average"])))
            trainings[origin["recipe_fingerprint"]], batch = path, int(recipe["batch"])
    if len(trainings) > 1:
        one, other = list(trainings.values())[:2]
        raise InputError(f"{folder}: {one.name} and {other.name} are of two trainings; remove those of one")
    if not profiles:
        raise InputError(
            f"{folder}: no snapshots of power-function averages; train with `ema: power` and `snapshots` in the recipe"
        )
    times = sorted({int(profile.t) for profile in profiles.values()})
    # a snapshot is after the first whole batch from the number on that the recipe states
    wanted = times[-1] if images is None else next((t for t in times if images <= t < images + batch), images)
    if wanted not in times:
        raise InputError(f"{folder}: no snapshot after {wanted:,} images; there are: {', '.join(map(str, times))}")
    used = {path: profile for path, profile in profiles.items() if profile.t <= wanted}
    target = Profile(float(wanted), gamma_of(sigma_rel))
    fitted = list(used.values())
    error = fit_profile(fitted, target).error
    last = next(path for path, profile in used.items() if profile.t == wanted)
    network = load(last)
    network.load_state_dict(reconstruct(fitted, (load_file(path) for path in used), target))
    # the recipe's fingerprint is left out: this is not the network that the recipe gives
    origin = {name: fact for name, fact in read_header(last).provenance.items() if name != "recipe_fingerprint"}
    save(out, network, origin | {"average": f"{sigma_rel:g} post hoc", "snapshots": len(used), "fit_error": error})
    return Averaged(out, wanted, len(used), error)
