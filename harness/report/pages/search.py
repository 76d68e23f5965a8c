"""The page of a search: what was found, whether it holds on fresh seeds, and what the search looked like."""

import json
from pathlib import Path
from typing import Any

from harness.report.figures import contour, history, holdout, importance, pareto_front, proxy, slices, svg
from harness.report.holdout import HoldoutResult, best, holdout_results
from harness.report.pages.page import FigurePanel, PageSection, fragment, render_page, write_page
from harness.report.study import SearchData, load_search, parameters, sign
from harness.report.tables.search import front_table, holdout_table, pruned_table, search_trial_table
from harness.report.text.choices import sampler_yaml, source_yaml
from harness.report.text.exports import Exports
from harness.report.text.exports import exports as exports_of
from harness.report.text.numbers import whole
from harness.report.text.provenance import Fact, card_facts, facts
from harness.report.text.search_summary import cost, summarize_search
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
    results = holdout_results(search)
    figures = _figures(search, results)
    legend = [entry for drawn in figures.values() if isinstance(drawn, dict) for entry in drawn["legend"]]
    summary, title = summarize_search(search, results), page_title(search)
    metric = search.metric
    header = fragment(
        "search.html",
        "header",
        title=title,
        about=search.record.get("about"),
        summary=summary,
        scale=SCALE.format(metric["title"]) if metric.get("is_distance") and metric["metric"] != "fid" else "",
    )
    body = fragment(
        "search.html",
        "body",
        search=search,
        summary=summary,
        blocks=_blocks(search, results),
        exports=_exports(results),
        holdout_table=holdout_table(search, results, "h-finals") if results else None,
        pruned=pruned_table(search, "h-pruned"),
        trials=search_trial_table(search),
        is_lower=sign(metric) == 1,
        facts=_spec_facts(search),
        row_facts=facts(list(search.rows.values())),
        card=card_facts(search.record.get("card") or {}),
        spec=json.dumps(search.spec, indent=2, sort_keys=True, ensure_ascii=False),
        cost=cost(search),
        **figures,
    )
    return render_page(title, header, [PageSection(body, legend)], ["report.js", "copy.js"], css="search")


def page_title(search: SearchData) -> str:
    """What the page is called."""
    return f"{search.record.get('title') or search.name}: a search on {search.record['denoiser']}"


def _figures(search: SearchData, results: list[HoldoutResult]) -> dict[str, Any]:
    """The figures with what belongs to each; None for one that has nothing to show."""
    figures: dict[str, Any] = dict.fromkeys(("moves", "history", "front", "slices", "proxy"))
    if (axes := holdout.plot(search, results)) is not None:
        figures["moves"] = {"svg": svg.inline(axes, "moves"), "legend": holdout.legend()}
    if (axes := history.plot(search)) is not None:
        unplaced, beyond = history.left_aside(search)
        figures["history"] = {
            "svg": svg.inline(axes, "history"),
            "legend": history.legend(search),
            "unplaced": unplaced,
            "beyond": beyond,
        }
    if search.spec.get("pareto") and (front := pareto_front.front(search)):
        figures["front"] = {
            "svg": svg.inline(pareto_front.plot(search, results), "front"),
            "legend": pareto_front.legend(search, results),
            "table": front_table(search, front, results, "h-front"),
        }
    panels = [
        FigurePanel(axis.name, about, svg.inline(slices.plot(search, axis), f"slice{index}"))
        for index, (axis, about) in enumerate(slices.panels(search, parameters(search)))
    ]
    if panels:
        figures["slices"] = {"panels": panels, "legend": slices.legend(search), "beyond": slices.beyond(search)}
    if search.is_proxy:
        axes = proxy.plot(search, results)
        drawn = svg.inline(axes, "proxy") if axes is not None else ""
        figures["proxy"] = {"svg": drawn, "words": proxy.agreement(search, results), "legend": []}
    shares = importance.importance(search)
    pair = contour.contour(search, shares)
    figures["importance"], figures["contour"] = shares, pair
    figures["importance_svg"] = "" if shares.refused else svg.inline(importance.plot(shares), "importance")
    figures["contour_svg"] = "" if pair.refused else svg.inline(contour.plot(search, pair), "contour")
    return figures


def _blocks(search: SearchData, results: list[HoldoutResult]) -> list[tuple[str, str, str]]:
    """Settings to copy, each with its label, sampler and, where guidance is searched, the denoiser's source.

    They are the best on fresh seeds, and the best of the search where that is another.
    """
    return [(each.label, sampler_yaml(each.trial), source_yaml(each.trial, search.paths)) for each in _chosen(results)]


def _chosen(results: list[HoldoutResult]) -> list[HoldoutResult]:
    """The best on fresh seeds, and the best of what the search found where that is another."""
    top = best(results)
    own = next((each for each in results if each.fresh and each.is_chosen), None)
    return [each for each in (top, own if own is not top else None) if each]


def _exports(results: list[HoldoutResult]) -> list[Exports]:
    """The settings to copy, for other tools; none where their rows keep no noise levels."""
    made = []
    for each in _chosen(results):
        levels = ((each.row or {}).get("provenance") or {}).get("levels") or {}
        made.append(exports_of(each.label, each.settings, each.fingerprint, each.trial["sampler"], levels))
    return [each for each in made if each]


def _spec_facts(search: SearchData) -> list[Fact]:
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
        ("search seeds", f"{search.search_seeds} (N = {whole(search.samples)})"),
        ("fresh seeds", f"{search.fresh_seeds} (N = {whole(search.fresh_samples)})"),
        ("blocks of seeds", spec.get("chunk")),
        ("trials ahead", spec.get("ahead")),
        ("seed of the method", spec.get("seed")),
        ("best settings measured again", spec.get("top")),
        ("budget", ", ".join(f"{whole(value)} {name}" for name, value in budget.items())),
    ]
    facts = [Fact(name, [str(value)]) for name, value in rows if value is not None and value != ""]
    versions = search.record.get("versions") or {}
    return facts + ([Fact("versions", [f"{name} {value}" for name, value in versions.items()])] if versions else [])
