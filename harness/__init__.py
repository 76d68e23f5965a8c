"""A design-space harness for diffusion samplers, after Karras et al. 2022 (EDM, arXiv 2206.00364).

The public names are resolved on first use, so that `harness --help` and the report load no torch:

    denoiser = harness.load_denoiser("digits-vp")
    sampler = harness.Sampler.model_validate({"solver": "heun", "steps": 18})
    out = harness.sample(denoiser, sampler, seeds=range(64))      # out.images, out.nfe
    table = harness.results(grid="fig2_deterministic")            # what `harness run` has measured, as a DataFrame
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from harness.api import evaluate as evaluate
    from harness.api import run as run
    from harness.api import search as search
    from harness.core.errors import InputError as InputError
    from harness.core.errors import SamplingError as SamplingError
    from harness.denoisers.check import check_denoiser as check_denoiser
    from harness.denoisers.load import load_denoiser as load_denoiser
    from harness.exporting.export import export as export
    from harness.report.data import results as results
    from harness.sampling.encode import encode as encode
    from harness.sampling.sample import sample as sample
    from harness.sampling.sampler import Sampler as Sampler

_PUBLIC = {
    "InputError": "harness.core.errors",
    "Sampler": "harness.sampling.sampler",
    "SamplingError": "harness.core.errors",
    "check_denoiser": "harness.denoisers.check",
    "encode": "harness.sampling.encode",
    "evaluate": "harness.api",
    "export": "harness.exporting.export",
    "load_denoiser": "harness.denoisers.load",
    "results": "harness.report.data",
    "run": "harness.api",
    "sample": "harness.sampling.sample",
    "search": "harness.api",
}

__all__ = [
    "InputError",
    "Sampler",
    "SamplingError",
    "__version__",
    "check_denoiser",
    "encode",
    "evaluate",
    "export",
    "load_denoiser",
    "results",
    "run",
    "sample",
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
