"""What a report is told of a denoiser: its card, its kind, and for a user's own network what it is known by."""

import pytest
import torch

from harness.denoisers.given import GivenDenoiser, given_denoisers
from harness.denoisers.load import describe
from harness.execution.plan_record import denoiser_facts
from harness.report.text.provenance import card_facts
from tests.cli.test_exporting import Given
from tests.denoisers import programs


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "told_net.py").write_text("def make():\n    return lambda x, sigma: x\n")
    (tmp_path / "weights.bin").write_bytes(b"1")
    programs.export(programs.Eps(), "eps.pt2", torch.zeros(2, 3), torch.ones(2))


CODE = {"kind": "python", "factory": "told_net.py:make", "predicts": "image", "shape": [3], "weights": "weights.bin"}
PROGRAM = {"kind": "exported", "path": "eps.pt2", "predicts": "noise", "shape": [3]}


def told(source):
    return {fact.name: fact.values for fact in card_facts(denoiser_facts(source, describe(source)))}


def test_own_networks_are_named_by_their_code_or_file():
    code = told(CODE)
    assert code["source"] == ["denoiser 'told_net.py:make'"] and code["kind"] == ["python"]
    assert len(code["code"][0]) == 64 and code["weights"] == [programs.sha256("weights.bin")]
    program = told(PROGRAM)
    assert program["source"] == ["the network in eps.pt2"] and program["kind"] == ["exported"]
    assert program["sha256"] == [programs.sha256("eps.pt2")] and "code" not in program
    with given_denoisers({"mine": GivenDenoiser(Given(), "step 4000")}):
        given = told({"kind": "given", "name": "mine", "identity": "step 4000"})
    assert given["source"] == ["denoiser 'mine'"] and given["identity"] == ["step 4000"]


def test_a_guided_denoiser_is_not_analytic():
    guided = told({"kind": "cfg", "denoiser": "digits-adm", "weight": 2})
    assert guided["source"] == ["denoiser 'cfg'"] and guided["kind"] == ["cfg"]


def test_others_are_what_they_were():
    assert told({"kind": "gaussian", "std": 0.5})["source"] == ["analytic"]
    assert told({"kind": "gaussian", "std": 0.5})["kind"] == ["gaussian"]
    assert told("ideal")["source"] == ["ideal"]
    assert told("digits-vp")["dataset"]
