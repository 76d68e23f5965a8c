"""The page of a search: one HTML file that carries its figures, styles and script in itself."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.report.figures.contour import contour
from harness.report.figures.history import history
from harness.report.figures.holdout import moves
from harness.report.figures.importance import importance
from harness.report.figures.legend import SIZE
from harness.report.figures.pareto_front import tradeoff
from harness.report.figures.proxy import proxy
from harness.report.figures.slices import slices
from harness.report.holdout import Final, best, finals, known
from harness.report.pages.grid import TEMPLATES, environment, style, write_page
from harness.report.study import Search, load_search, sign
from harness.report.tables import search as lists
from harness.report.text import provenance
from harness.report.text.numbers import whole
from harness.report.text.provenance import Fact
from harness.report.text.search_summary import cost, words
from harness.report.text.settings import sampler_yaml, source_yaml
from harness.report.text.summary import SCALE
from harness.store.database import Store

HOW = {
    "tpe": "TPE, the tree-structured Parzen estimator",
    "random": "random search",
    "grid": "every point of a grid",
    "cma": "CMA-ES",
    "cmaes": "CMA-ES",
    "nsga2": "NSGA-II",
}
PRUNERS = {
    "paired": "a trial ends when, on the same seeds, its paired difference from a rival leaves little doubt",
    "halving": "successive halving: of the trials at a rung, the better half goes on, less those that the paired "
    "difference from a rival ends",
    "none": "none: every trial goes to full N",
}


def write_search_report(store: Store, study: str, out: Path) -> Path:
    """Render a search, finished or not, to one HTML file.

    Args:
        store: where the rows are; nothing is written to it.
        study: name of a search that was begun.
        out: the file to write; its folder is made. A report that is there is replaced at once, never half.

    Returns:
        The file's path.

    Raises:
        InputError: the store has no such study, or the file cannot be written.
    """
    return write_page(render_search(store, study), out)


def render_search(store: Store, study: str) -> str:
    """The page as text; the same rows give the same text.

    Raises:
        InputError: the store has no such study.
    """
    search = load_search(store, study)
    found = finals(search)
    shares = importance(search)
    figures: dict[str, Any] = {
        "moves": moves(search, found),
        "history": history(search),
        "slices": slices(search),
        "tradeoff": tradeoff(search, found),
    }
    signs = {sign.id: sign for each in figures.values() if each for sign in each.signs}
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.js", "copy.js"))
    return (
        environment()
        .get_template("search.html")
        .render(
            search=search,
            title=title(search),
            words=words(search, found),
            scale=scale_note(search),
            blocks=blocks(search, found),
            finals=lists.final_rows(search, found),
            known=known(found),
            importance=shares,
            contour=contour(search, shares),
            proxy=proxy(search, found),
            pruned=lists.pruned_rows(search),
            slots=lists.slot_rows(search),
            lower=sign(search.metric) == 1,
            symbols=[Markup(sign.symbol) for sign in signs.values()],
            sign_box=f"0 0 {72 * SIZE[0]:g} {72 * SIZE[1]:g}",
            facts=spec_facts(search),
            row_facts=provenance.facts(list(search.rows.values())),
            card=provenance.card_facts(search.record.get("card") or {}),
            spec=json.dumps(search.spec, indent=2, sort_keys=True, ensure_ascii=False),
            cost=cost(search),
            style=Markup(style()),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **figures,
        )
    )


def title(search: Search) -> str:
    """What the page is called."""
    return f"{search.record.get('title') or search.name}: a search on {search.record['denoiser']}"


def scale_note(search: Search) -> str:
    """What the metric is not; "" where there is nothing to say."""
    metric = search.metric
    is_other = metric.get("is_distance") and metric["metric"] != "fid"
    return SCALE.format(metric["title"]) if is_other else ""


def blocks(search: Search, found: list[Final]) -> list[tuple[str, str, str]]:
    """Settings to copy, each with its label, sampler and, where guidance is searched, the denoiser's source.

    They are the best on fresh seeds, and the best of the search where that is another.
    """
    paths = [str(each["path"]) for each in search.parameters]
    top = best(found)
    chosen = [top] if top else []
    own = next((each for each in found if each.fresh and each.is_found), None)
    chosen += [own] if own and own is not top else []
    return [(each.label, sampler_yaml(each.trial), source_yaml(each.trial, paths)) for each in chosen]


def spec_facts(search: Search) -> list[Fact]:
    """Seeds, rungs, method and pruner in words."""
    spec, metric = search.spec, search.metric
    budget = {name: value for name, value in search.budget.items() if value is not None}
    rows = [
        ("study", search.name),
        ("denoiser", search.record["denoiser"]),
        ("weights", spec.get("weights")),
        ("labels", spec.get("labels")),
        ("dtype", spec.get("dtype")),
        ("target", spec.get("target")),
        ("NFE", spec.get("nfe")),
        ("steps", search.record.get("steps")),
        ("points of the grid", search.record.get("points")),
        ("objective", search.objective["title"]),
        ("metric", metric["title"]),
        ("extractor", metric.get("extractor")),
        ("reference", metric.get("reference")),
        ("method", HOW.get(str(spec.get("method")), spec.get("method"))),
        ("pruning", PRUNERS.get(str(spec.get("pruner")), spec.get("pruner"))),
        ("rungs, in images", ", ".join(whole(rung) for rung in spec["rungs"])),
        ("search seeds", f"{search.search_seeds()} (N = {whole(search.samples)})"),
        ("fresh seeds", f"{search.fresh_seeds()} (N = {whole(search.fresh_samples)})"),
        ("blocks of seeds", spec.get("chunk")),
        ("trials ahead", spec.get("ahead")),
        ("seed of the method", spec.get("seed")),
        ("best settings measured again", spec.get("top")),
        ("budget", ", ".join(f"{whole(value)} {name}" for name, value in budget.items())),
    ]
    facts = [Fact(name, [str(value)]) for name, value in rows if value is not None and value != ""]
    versions = search.record.get("versions") or {}
    return facts + ([Fact("versions", [f"{name} {value}" for name, value in versions.items()])] if versions else [])
