"""What in a program's file can run Python, and that none of it runs unasked."""

import json
import pickle
import zipfile

import pytest
import torch

from harness.core.code import code_allowed
from harness.core.errors import InputError
from harness.denoisers.exported import open_exported, read_program
from harness.denoisers.inspect import inspect
from harness.denoisers.programs import pt2
from harness.denoisers.programs.arithmetic import is_expression, is_guard
from tests.denoisers import programs

BATCH = (torch.zeros(2, 3), torch.ones(2))


@pytest.fixture(autouse=True)
def without_permission(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A .pt2 of torch.export with nothing in it but arithmetic."""
    return programs.export(programs.Eps(), tmp_path_factory.mktemp("programs") / "eps.pt2", *BATCH)


def opened(path):
    return open_exported(read_program(path, programs.sha256(path), "cpu"))


def weight(members):
    in_config = programs.in_json("data/weights/model_weights_config.json", lambda c: mark(c, use_pickle=True))
    in_config(members)


def mark(config, **changes):
    next(iter(config["config"].values())).update(changes)


def attacks(trace):
    """Ways in which a .pt2 can run Python, by what is said of each: a change of a file's members."""
    call = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    bomb = programs.bomb_bytes(trace)
    model = "models/model.json"

    def pickled_weight(members):
        weight(members)
        members["data/weights/weight_0"] = bomb

    def pickled_constant(members):
        config = {
            "config": {"c": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}}
        }
        members["data/constants/model_constants_config.json"] = json.dumps(config).encode()
        members["data/constants/opaque_obj_0"] = pickle.dumps(programs.Bomb(trace))

    def with_node(graph, target, text=""):
        argument = {"name": "", "arg": {"as_string": text}, "kind": 1}
        node = {"target": target, "inputs": [argument], "outputs": [], "metadata": {}, "name": "node"}
        graph["nodes"].insert(0, node)

    def tree(program):
        context = json.dumps([{"__enum__": True, "fqn": "antigravity:X", "name": "x"}])
        node = {"type": "builtins.dict", "context": context, "children_spec": []}
        program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, node])

    def renamed(graph):
        graph["nodes"][0]["name"] = f"x; {call}"

    def sized(graph):
        next(iter(graph["tensor_values"].values()))["sizes"] = [{"as_expr": {"expr_str": call, "hint": None}}]

    return {
        "the pickled weight 'variance'": pickled_weight,
        "the pickled constant 'c'": pickled_constant,
        "'data/weights/model.pt', pickled weights of an older layout": lambda members: members.update(
            {"data/weights/model.pt": bomb}
        ),
        "the pickle of its example inputs": lambda members: members.update({"data/sample_inputs/model.pt": bomb}),
        "the expression": programs.in_graph(sized),
        "the guard": programs.in_json(model, lambda program: program["guards_code"].append(call)),
        "the operator 'torch.os.system'": programs.in_graph(
            lambda graph: with_node(graph, "torch.os.system", f"touch {trace}")
        ),
        "the operator 'torch.ops.aten.from_file.default'": programs.in_graph(
            lambda graph: with_node(graph, "torch.ops.aten.from_file.default", str(trace))
        ),
        'the name "x; ': programs.in_graph(renamed),
        "a tree of inputs or outputs": programs.in_json(model, tree),
        "compiled code": lambda members: members.update({"data/aotinductor/model/net.so": b"\x7fELF"}),
        "a file of an older layout": lambda members: members.pop("archive_format"),
    }


ATTACKS = list(attacks("x"))
RUNNING = [said for said in ATTACKS if said.startswith(("the pickle", "'data/weights", "the expression", "the guard"))]
"""Those that torch 2.13 runs."""


class TestPayloads:
    @pytest.mark.parametrize("said", ATTACKS)
    def test_nothing_runs_without_permission(self, whole, tmp_path, said):
        trace = tmp_path / "ran"
        path = programs.changed(whole, tmp_path / "bad.pt2", attacks(trace)[said])
        with pytest.raises(InputError) as refused:
            opened(path)
        text = str(refused.value)
        assert text.startswith(f"{path}: {said}") and "add --allow-code" in text and "\n" not in text
        assert not trace.exists()

    @pytest.mark.parametrize("said", RUNNING)
    def test_these_files_run_code_with_permission(self, whole, tmp_path, said):
        trace = tmp_path / "ran"
        path = programs.changed(whole, tmp_path / "bad.pt2", attacks(trace)[said])
        with code_allowed(), pytest.raises(InputError, match=r"not a program of torch\.export|Guard failed"):
            opened(path)(*BATCH)
        assert trace.exists()

    def test_a_library_beside_the_program(self, whole, tmp_path):
        extra = {"data/aotinductor/model/readme": b"x"}
        path = programs.changed(whole, tmp_path / "net.pt2", lambda members: members.update(extra))
        assert read_program(path).payload == "compiled code (data/aotinductor/model/readme)"

    def test_torch_sees_only_what_was_checked(self, whole):
        with zipfile.ZipFile(read_program(whole)._given()) as given:
            assert given.read("archive/data/sample_inputs/model.pt") == b""
            graph = json.loads(given.read(f"archive/{pt2.MODEL}"))["graph_module"]["graph"]
        assert all(not node["metadata"] for node in graph["nodes"])

    def test_weights_that_are_missing_are_told_without_loading(self, whole, tmp_path):
        change = lambda members: members.pop("data/weights/weight_0")  # noqa: E731
        path = programs.changed(whole, tmp_path / "net.pt2", change)
        with pytest.raises(InputError, match="'data/weights/weight_0' is missing in it; damaged"):
            inspect(path)

    def test_torchscript_that_touches_files(self, tmp_path):
        class Saving(programs.Eps):
            def forward(self, x, t):
                torch.save(x, "stolen")
                return x + t[:, None]

        path = programs.script(Saving(), tmp_path / "net.ts")
        assert inspect(path)["usable"].startswith("only with --allow-code, because of 'torch.save', which reaches")
        with pytest.raises(InputError, match=r"'torch.save', which reaches beyond tensors, is Python code"):
            opened(path)

    def test_inspect_says_that_code_is_in_it(self, whole, tmp_path):
        trace = tmp_path / "ran"
        path = programs.changed(whole, tmp_path / "bad.pt2", attacks(trace)["the expression"])
        assert inspect(path)["usable"].startswith("only with --allow-code, because of the expression")
        assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Symbol('s77', positive=True, integer=True)", True),
        ("Add(FloorDiv(Add(Symbol('s0', positive=True), Integer(-3)), Integer(2)), Integer(1))", True),
        ("TruncToInt(Mul(Float('1.5', precision=53), ToFloat(s0)))", True),
        ("Pow(Symbol('s0', integer=True), Integer(2))", True),
        ("2*s0 - 1", True),
        ("Pow(Integer(9), Pow(Integer(9), Integer(9)))", False),
        ("9**9**9**9", False),
        ("exec('1')", False),
        ("s0.__class__", False),
        ("[s0 for s0 in ()]", False),
        ("Symbol('s0; exit()')", False),
        ("(lambda: s0)()", False),
        ("Float('s0')", False),
        ("Integer(__import__('os'))", False),
        ("s0 # more", False),
    ],
)
def test_expressions(text, plain):
    assert is_expression(text) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("L['t'].size()[0] == L['x'].size()[0]", True),
        ("math.trunc(1.5*torch.sym_float(1 + (((-3) + L['x'].size()[2]) // 2))) >= 2", True),
        ("L['args'][0].stride()[1] != 1", True),
        ("torch.hub.load('a')", False),
        ("torch.load('a')", False),
        ("L['x'].storage().data_ptr()", False),
        ("L['x'].size()[0] == 1 or exit()", False),
        ('1 == 1, "")', False),
        ("__import__('os').system('a')", False),
    ],
)
def test_guards(text, plain):
    assert is_guard(text) == plain
