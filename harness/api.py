"""Whole runs from Python: `harness.run`, `harness.search` and `harness.evaluate`.

They are the commands of the same names, with denoisers that may be objects of the program:

    import harness
    table = harness.run("my_grid.yaml", denoisers={"mine": my_denoiser})
    found = harness.search("stochastic", denoiser=my_denoiser, budget=50)
    print(harness.evaluate("my_images/", metrics="fid", reference="my_photos/"))
    print(harness.evaluate(found.best, metrics="fid", reference="my_photos/", denoiser=my_denoiser))

A denoiser that is an object has no file, so nothing says whether it is the one of last time. With `identity`, a word of
the caller's for its weights and code, its results are kept in the store like any other. Without, they live in a
temporary store, which is gone when the call returns.
"""

import pickle
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from harness.cli.console import err
from harness.cli.run_terminal import RunProgress, left_line
from harness.cli.search_terminal import SearchProgress
from harness.core.code import code_allowed
from harness.core.errors import InputError
from harness.datasets.image_bytes import to_bytes
from harness.datasets.image_set import ImageSet, of_array, of_floats
from harness.datasets.open import open_images
from harness.denoisers.config import DenoiserConfig
from harness.denoisers.given import GivenDenoiser, GivenSpec, given_denoisers
from harness.denoisers.load import load_denoiser
from harness.denoisers.own import check_own
from harness.execution.devices import devices_for
from harness.execution.limits import Limits
from harness.execution.run import run as run_plan
from harness.experiments.grid_files import find_grid
from harness.experiments.plan import plan
from harness.metrics.evaluate import Evaluation, read_metrics
from harness.metrics.evaluate import evaluate as evaluate_images
from harness.metrics.features.configs import read_extractor
from harness.report.data import COLUMNS, trial_results
from harness.report.holdout import best, holdout_results
from harness.report.study import load_search, search_results
from harness.sampling.conditions import Conditions
from harness.sampling.denoiser import Denoiser
from harness.sampling.initial_state import Labels
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.search.plan import SearchRequest, plan_search
from harness.search.study import budget_of, run_study
from harness.store.database import Store
from harness.store.names import latest

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Source = str | Path | Mapping[str, Any] | DenoiserConfig


class SearchResult(NamedTuple):
    """What a search found.

    Args:
        trials: a line a trial of the search, and a setting on fresh seeds; the columns of `harness show --csv`.
        best: the sampler that is best on fresh seeds; None where none was measured.
        study: its name in the store.
    """

    trials: "pd.DataFrame"
    best: Sampler | None
    study: str


def run(
    grid: str | Path | Mapping[str, Any],
    denoisers: Mapping[str, Any] | None = None,
    *,
    identity: str | Mapping[str, str] | None = None,
    samples: int | None = None,
    store: str | Path | None = None,
    device: str | None = None,
    batch: int | None = None,
    executor: str | None = None,
    check: Literal["trained", "interface"] = "trained",
    allow_code: bool = False,
    retry_failed: bool = False,
    max_hours: float | None = None,
    max_evaluations: float | None = None,
) -> "pd.DataFrame":
    """Run a grid: compute what the store lacks, measure every trial.

    Args:
        grid: path of a grid's YAML file, name of one that comes with the package, or its content as a mapping.
        denoisers: for names in the grid's `denoisers`: a denoiser (see `harness.sampling.denoiser.Denoiser`); a
            function without arguments that makes one, which worker processes call too; or a source as a grid has it.
        identity: a word for the weights and code of the objects among them, or one for each name; see this module.
        samples: per trial, in place of the grid's.
        store: path of an SQLite file or a URL; `results/harness.sqlite` by default.
        device: where torch runs; all GPUs by default if there are any, else the CPU.
        batch: rows per network call.
        executor: who runs the work; `processes` by default, and `inline` where a denoiser is an object.
        check: of objects before anything is computed, see `harness.check_denoiser`: `trained`, all of it; `interface`,
            not what an untrained network does not keep.
        allow_code: run the Python code that the grid names.
        retry_failed: try failed trials again.
        max_hours, max_evaluations: what the run may spend; it stops before, and says on standard error what is left.
            The same call goes on.

    Returns:
        A line a trial, metric and range of seeds, with the columns of `harness show --csv`.

    Example:
        >>> import harness
        >>> mine = harness.load_denoiser({"kind": "gaussian", "std": 0.5, "shape": [1, 2, 2]})
        >>> grid = {"title": "Mine", "metrics": "end-point-error", "samples": 4, "steps": [4, 8], "denoisers": ["mine"],
        ...         "series": [{"name": "Heun"}]}
        >>> table = harness.run(grid, denoisers={"mine": mine})
        >>> table["value"].iloc[1] < table["value"].iloc[0]  # more steps, less error
        np.True_

    Raises:
        InputError: as `harness run`; a name that the grid does not have; or an object where worker processes need a
            factory that can be pickled.
        RunError: the disk is full, the store cannot be written, or workers cannot start.
    """
    with _given(denoisers or {}, identity, check) as given, code_allowed(allow_code):
        planned = plan(find_grid(str(grid)) if isinstance(grid, str | Path) else grid, samples, sources=given.sources)
        with ExitStack() as stack:
            opened = stack.enter_context(_store(store, given))
            with RunProgress(err, planned.name) as listener:
                summary = run_plan(
                    planned,
                    opened,
                    device,
                    batch,
                    retry_failed=retry_failed,
                    listener=listener,
                    executor=given.executor(executor),
                    limits=Limits(max_hours, max_evaluations),
                )
            if line := left_line(summary, []):
                err.print(f"{planned.name}: {line}", soft_wrap=True)
            kept = latest(opened)  # under another name where the store had one of this name
            return _table(trial_results(opened, kept.name if kept else None))


def search(
    target: str = "stochastic",
    denoiser: Any = None,
    *,
    budget: int | None = None,
    evaluations: int | None = None,
    identity: str | None = None,
    store: str | Path | None = None,
    device: str | None = None,
    batch: int | None = None,
    executor: str | None = None,
    check: Literal["trained", "interface"] = "trained",
    allow_code: bool = False,
    max_hours: float | None = None,
    max_evaluations: float | None = None,
    **request: Any,
) -> SearchResult:
    """Search for sampler settings within a budget.

    Args:
        target: name of a target, or path of its YAML file.
        denoiser: a denoiser, a function that makes one, or a source as a grid has it; by default the target's own.
        budget: trials.
        evaluations: network evaluations, over all calls for the study.
        identity: of an object; see this module.
        store, device, batch, executor, check, allow_code, max_hours, max_evaluations: as for `run`.
        request: the other fields of `harness.search.plan.SearchRequest`, such as nfe, metric, samples and method.

    Raises:
        InputError: as `harness search`, or an unknown field.
        RunError: the disk is full, the store cannot be written, or workers cannot start.
    """
    if unknown := sorted(set(request) - set(SearchRequest._fields)):
        raise InputError(f"harness.search takes no '{unknown[0]}'; it takes {', '.join(SearchRequest._fields)}")
    with _given({"mine": denoiser} if _is_object(denoiser) else {}, identity, check) as given, code_allowed(allow_code):
        planned = plan_search(SearchRequest(target=target, denoiser=given.sources.get("mine", denoiser), **request))
        with ExitStack() as stack:
            opened = stack.enter_context(_store(store, given))
            with SearchProgress(err, planned.objective.better) as listener:
                outcome = run_study(
                    planned,
                    opened,
                    budget_of(planned, budget, evaluations),
                    device,
                    batch,
                    listener,
                    given.executor(executor),
                    limits=Limits(max_hours, max_evaluations),
                )
            if outcome.stopped:
                err.print(f"{planned.name}: {outcome.stopped}", soft_wrap=True)
            found = best(holdout_results(load_search(opened, planned.name)))
            chosen = None if found is None else Sampler.model_validate(found.trial["sampler"])
            return SearchResult(_table(search_results(opened, planned.name)), chosen, planned.name)


def evaluate(
    images: "str | Path | np.ndarray | Tensor | Sampler",
    metrics: str = "fid",
    reference: str | Path | None = None,
    extractor: str | None = None,
    *,
    denoiser: Any = None,
    samples: int = 1024,
    labels: Labels = None,
    device: str | None = None,
    batch: int = 128,
    allow_code: bool = False,
) -> list[Evaluation]:
    """Measure images that any program made, or those of a sampler, each metric with its interval.

    Args:
        images: a folder, an archive, a `.npy` or `.npz` file; or [N, C, H, W], uint8, or floats, which become bytes as
            a sampler's images do, from [-1, 1], and stay floats for metrics that see floats; or a sampler.
        metrics: such as `fid,kid`, or a YAML list.
        reference: what to compare with: a card, a file of statistics, a data set.
        extractor: of features; each metric's own by default.
        denoiser: with a sampler: a denoiser, a function that makes one, or a source as a grid has it.
        samples: with a sampler: images, of the seeds from 0 on.
        labels: with a sampler: as for `harness.sample`.
        device: where networks are computed.
        batch: images per network call.
        allow_code: run the Python code that the denoiser names.

    Example:
        >>> import harness
        >>> levels = {"discretization": {"kind": "edm", "rho": 5.0}, "steps": 4}
        >>> sampler = harness.Sampler.model_validate(levels)
        >>> (measured,) = harness.evaluate(sampler, "fd-digits", denoiser="digits-vp", samples=256)
        >>> measured.n, measured.certainty.interval.low < measured.estimate.value
        (256, True)

    Raises:
        InputError: as `harness eval`; a sampler without a denoiser, or images with one.
        SamplingError: a state that is not finite.
    """
    choice = None if extractor is None else read_extractor(extractor)
    asked = read_metrics(metrics, None if reference is None else str(reference), choice)
    where = devices_for(device)[0]
    if isinstance(images, Sampler) != (denoiser is not None):
        raise InputError(
            "a sampler is measured on a denoiser, and images are measured alone; give both, or images alone"
        )
    if isinstance(images, Sampler):
        with _given({"mine": denoiser} if _is_object(denoiser) else {}, None) as given, code_allowed(allow_code):
            source = given.sources.get("mine", denoiser)
            check_own(source, where, conditions=labels if isinstance(labels, Conditions) else None)
            drawn = _drawn(load_denoiser(source, where), images, samples, labels, batch)
        return evaluate_images(drawn, asked, where, batch)
    return evaluate_images(_images(images, any(metric.features.sees_floats for metric in asked)), asked, where, batch)


def _drawn(denoiser: Denoiser, sampler: Sampler, count: int, labels: Labels, batch: int) -> ImageSet:
    """A sampler's images of the first seeds, as bytes."""
    if isinstance(labels, Sequence | np.ndarray) and not isinstance(labels, str):
        raise InputError("labels of a measured sampler are one class, 'unconditional', conditions by seed, or None")
    parts = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
    images = [sample(denoiser, sampler, seeds, labels, batch=batch).images.cpu().numpy() for seeds in parts]
    return of_array("samples", np.concatenate([to_bytes(part) for part in images]))


def _images(images: "str | Path | np.ndarray | Tensor", are_floats: bool) -> ImageSet:
    """Images as bytes; floats stay what they are for metrics of floats, and where they are no images."""
    if isinstance(images, str | Path):
        return open_images(Path(images), floats=True)
    array = np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
    if array.dtype == np.uint8:
        return of_array("images", array)
    is_image = array.ndim == 4 and array.shape[1] in (1, 3) and not are_floats
    return of_array("images", to_bytes(array)) if is_image else of_floats("images", array)


def _table(results: Sequence[Any]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([trial.record() for trial in results], columns=list(COLUMNS))


class _Given(NamedTuple):
    """Sources for the names of a grid, the objects among them, and whether these have identities."""

    sources: dict[str, Source]
    objects: dict[str, GivenDenoiser]
    is_lasting: bool

    def executor(self, asked: str | None) -> str:
        """Who runs the work.

        Raises:
            InputError: worker processes were asked for, and a denoiser cannot go there.
        """
        alone = [name for name, each in self.objects.items() if not each.is_factory]
        if asked is None:
            return "inline" if self.objects else "processes"
        if asked != "inline" and alone:
            raise InputError(
                f"denoiser '{alone[0]}' is an object, which executor '{asked}' cannot send to its workers; give a "
                "function that makes it, or executor='inline'"
            )
        if asked != "inline":
            for name, each in self.objects.items():
                _check_pickles(name, each)
        return asked


def _check_pickles(name: str, given: GivenDenoiser) -> None:
    try:
        pickle.dumps(given.value)
    except Exception as error:
        raise InputError(
            f"the factory of denoiser '{name}' cannot be sent to worker processes ({error}); define it at the top of a "
            "module, or give executor='inline'"
        ) from None


def _is_object(value: Any) -> bool:
    return value is not None and not isinstance(value, str | Path | Mapping | DenoiserConfig)


@contextmanager
def _given(
    denoisers: Mapping[str, Any], identity: str | Mapping[str, str] | None, check: str = "trained"
) -> Iterator[_Given]:
    """Objects under names that a grid knows, as long as the call runs."""
    objects = {name: value for name, value in denoisers.items() if _is_object(value)}
    named = identity if isinstance(identity, Mapping) else dict.fromkeys(objects, identity)
    if unknown := sorted(set(named) - set(objects)):
        raise InputError(f"identity names '{unknown[0]}', which is no object among denoisers")
    if identity is not None and not objects:
        raise InputError("identity is for denoisers that are objects, and there are none; leave it out")
    given = {
        name: GivenDenoiser(value, named.get(name) or uuid.uuid4().hex, check == "trained")
        for name, value in objects.items()
    }
    sources = dict(denoisers) | {name: GivenSpec(name=name, identity=each.identity) for name, each in given.items()}
    with given_denoisers(given):
        yield _Given(sources, given, all(named.get(name) for name in objects))


@contextmanager
def _store(store: str | Path | None, given: _Given) -> Iterator[Store]:
    """The store of a call: a temporary one where an object has no identity."""
    if given.is_lasting:
        with Store(None if store is None else str(store)) as opened:
            yield opened
        return
    if store is not None:
        raise InputError(
            "results of a denoiser that is an object are stored under its identity; give identity='...', a word for "
            "its weights and code, or leave store out"
        )
    with tempfile.TemporaryDirectory() as folder, Store(str(Path(folder) / "harness.sqlite")) as opened:
        yield opened
