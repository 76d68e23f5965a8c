"""The table of design choices for every kind of network that a card may have."""

import pytest

from harness.denoisers.preconditioning import PRECONDITIONINGS
from harness.execution import design_table
from harness.experiments.plan import plan
from harness.training.losses import COLUMNS

GRID = """
title: One network
samples: 8
metrics: fd-digits
denoisers:
  a: {source: digits-edm}
series:
  - {name: S, sampler: {solver: euler}}
nfe: [3]
"""


@pytest.mark.parametrize("kind", PRECONDITIONINGS)
def test_every_kind_has_its_formulas_whether_or_not_it_is_trained_here(tmp_path, monkeypatch, kind):
    (tmp_path / "grid.yaml").write_text(GRID)
    planned = plan(tmp_path / "grid.yaml")
    cards = {
        name: card.model_copy(update={"preconditioning": kind}) for name, card in design_table.denoiser_cards().items()
    }
    monkeypatch.setattr(design_table, "denoiser_cards", lambda: cards)
    groups = {group["title"]: group["rows"] for group in design_table.design(planned)["groups"]}
    written = [row["cells"][0]["formula"] for row in groups["Network and preconditioning"]]
    assert written == list(PRECONDITIONINGS[kind].formulas)
    assert ("Training" in groups) == (kind in COLUMNS.kinds)
    numbers = groups["Parameters"][-1]["cells"][0]["words"]
    assert ("sigma_data = 0.5" in numbers) == (kind in ("edm", "expression"))
    assert ("time_scale = 1" in numbers) == (kind == "flow" or kind.startswith("ddpm"))
