"""Where studies stand, in lines: names are text, and the best is that of all that was measured on fresh seeds."""

import io

from rich.console import Console

from harness.cli.search_terminal import _best_lines
from harness.cli.study_status import status_table
from harness.store.studies import Studies
from tests.report import search_store


def test_names_are_text(tmp_path):
    row = search_store.study(record={"denoiser": "[/bold]x\x1b[2J"}, spec={"target": "[red]"})
    with search_store.fill(tmp_path / "s.sqlite", row, search_store.searched(24)) as store:
        text = io.StringIO()
        Console(file=text, width=250).print(status_table(store))
    assert "[/bold]x" in text.getvalue() and "[red]" in text.getvalue() and "\x1b" not in text.getvalue()


def test_the_best_may_be_one_along_the_ranking(tmp_path):
    made = search_store.searched()
    finals = search_store.conclude(made, 2, 4)
    best = next(final for final in finals if final["role"] == "spread")
    by_name = {each["fingerprint"]: each for each in made if each["twin"] is None}
    rows = [
        search_store.fresh_row(by_name[final["fingerprint"]], 0.2 if final is best else 3.0, evaluations=1)
        for final in finals
    ]
    with search_store.fill(tmp_path / "s.sqlite", search_store.study(finals=finals), made, rows) as store:
        lines = _best_lines(store, Studies(store).find("one") or {})
    assert lines[0].startswith(f"best on fresh seeds: {best['label']}, ")
    assert all("better" in line for line in lines[1:]) and len(lines) == 3


def test_where_a_known_setting_is_best_the_search_has_a_line_of_its_own(tmp_path):
    made = search_store.searched()
    finals = search_store.conclude(made, 2, 0)
    baseline = next(final for final in finals if final["role"] == "baseline")
    by_name = {each["fingerprint"]: each for each in made if each["twin"] is None}
    rows = [
        search_store.fresh_row(by_name[name], 0.2 if name == baseline["fingerprint"] else 3.0, evaluations=1)
        for name in dict.fromkeys(final["fingerprint"] for final in finals)
    ]
    with search_store.fill(tmp_path / "s.sqlite", search_store.study(finals=finals), made, rows) as store:
        lines = _best_lines(store, Studies(store).find("one") or {})
    assert lines[0].startswith(f"best on fresh seeds: {baseline['label']}, ")
    own = next(index for index, line in enumerate(lines) if line.startswith("best that the search found: No. "))
    assert not any(baseline["label"] in line for line in lines[1:own])
    against = next(line for line in lines[own:] if f"against {baseline['label']}, 0.2" in line)
    assert "difference at infinite N +2.7" in against and against.endswith("worse")
