"""Networks in files of torch.export, TorchScript and ONNX: their numbers, and what is said of bad ones."""

import io
import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch

from harness.core.errors import InputError
from harness.denoisers.check import check_denoiser
from harness.denoisers.exported import open_exported, read_program
from harness.denoisers.inspect import inspect
from harness.denoisers.load import describe, identity, load_denoiser, rounding_of
from harness.denoisers.programs import pt2
from harness.experiments.checks import misfit
from harness.sampling.conditions import read_conditions
from tests.denoisers import programs

BATCH = (torch.zeros(2, 3), torch.ones(2))


@pytest.fixture(autouse=True)
def without_permission(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_SETTINGS", str(tmp_path / "settings.yaml"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    return {
        "pt2": programs.export(programs.Eps(), folder / "eps.pt2", *BATCH),
        "ts": programs.script(programs.Eps(), folder / "eps.ts"),
        "pt": programs.script(programs.Eps(), folder / "eps.pt"),
        "onnx": programs.onnx(folder / "eps.onnx"),
        "class": programs.export(programs.Shifted(), folder / "class.pt2", *BATCH, torch.zeros(2, dtype=torch.int64)),
    }


def spec(path, **changes):
    return {"kind": "exported", "path": str(path), "predicts": "noise", "shape": [3], **changes}


def opened(path):
    return open_exported(read_program(path, programs.sha256(path), "cpu"))


FORMATS = ["pt2", "ts", "pt", "onnx"]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_denoiser_of_each_format_is_the_exact_one(files, kind):
    denoiser = load_denoiser(spec(files[kind], sigma_max=80.0))
    x, sigma = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0.1, 0.5, 1.0, 3.0, 40.0], dtype=torch.float64)
    with torch.no_grad():
        found = denoiser(x, sigma)
    share = programs.VARIANCE / (programs.VARIANCE + sigma[:, None] ** 2)
    assert found.dtype == denoiser.dtype == torch.float32
    torch.testing.assert_close(found.double(), x * share, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["pt2", "ts"])
def test_a_program_in_float64_computes_in_float64(tmp_path, kind):
    net, path = programs.Eps().double(), tmp_path / f"net.{kind}"
    programs.export(net, path, *(value.double() for value in BATCH)) if kind == "pt2" else programs.script(net, path)
    denoiser = load_denoiser(spec(path, sigma_max=80.0))
    x, sigma = torch.randn(5, 3, dtype=torch.float64), torch.tensor(40.0, dtype=torch.float64)
    assert denoiser.dtype == torch.float64
    torch.testing.assert_close(denoiser(x, sigma), x / (1 + 4 * sigma**2), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_type_can_be_asked_for(files, dtype):
    """Constants of a program would keep their type, so the numbers would not be of the type that was asked for."""
    with pytest.raises(InputError, match="in the types that it was exported with; leave dtype out"):
        load_denoiser(spec(files["pt2"]), dtype=dtype)
    key, told = misfit(describe(spec(files["pt2"])), None, dtype)
    assert (key, told) == ("dtype", "this denoiser computes in the type that it was exported with; leave dtype out")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_denoiser_of_each_format_keeps_the_rules(files, kind):
    check_denoiser(load_denoiser(spec(files[kind], sigma_max=80.0)))


def test_a_batch_of_one_and_a_derivative(files):
    denoiser = load_denoiser(spec(files["pt2"]))
    x = torch.ones(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(denoiser(x, torch.tensor(0.5)).sum(), x)
    torch.testing.assert_close(gradient, torch.full((1, 3), 0.5))


def test_a_batch_that_is_larger_than_the_program_takes(tmp_path):
    path = programs.export(programs.Eps(), tmp_path / "net.pt2", *BATCH, largest=4)
    x = torch.randn(11, 3)
    torch.testing.assert_close(load_denoiser(spec(path))(x, torch.tensor(0.5)), x / 2)


def test_classes_as_indices(files):
    made = load_denoiser(spec(files["class"], predicts="image", classes="index", null_class=2, label_dim=3))
    x, labels = torch.randn(2, 3), torch.eye(3)[[1, 0]]
    assert made(x, torch.tensor(1.0), labels)[:, 0].tolist() == [1, 0]
    assert made(x, torch.tensor(1.0))[:, 0].tolist() == [2, 2]
    with pytest.raises(InputError, match="a class needs classes: index"):
        load_denoiser(spec(files["class"], predicts="image", label_dim=3))(x, torch.tensor(1.0), labels)


class TestReading:
    @pytest.mark.parametrize("kind", FORMATS)
    def test_a_file_is_read_once(self, files, kind, monkeypatch):
        source, reads, usual = spec(files[kind], sha256=programs.sha256(files[kind])), [], io.open

        def counted(file, *args, **kwargs):
            reads.append(file)
            return usual(file, *args, **kwargs)

        monkeypatch.setattr(io, "open", counted)
        load_denoiser(source)
        assert [file for file in reads if file == files[kind]] == [files[kind]]

    def test_a_program_of_export_is_parsed_once(self, files, monkeypatch):
        content, parsed, usual = files["pt2"].read_bytes(), [], json.loads
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(pt2.MODEL))
            model = archive.read(name)

        def counted(text, *args, **kwargs):
            parsed.append(text == model)
            return usual(text, *args, **kwargs)

        program = read_program(files["pt2"], device="cpu")
        monkeypatch.setattr(pt2.json, "loads", counted)
        program.signature.check("net", (3,), 0)
        assert program.payload == ""
        open_exported(program)
        assert sum(parsed) == 1

    def test_an_onnx_model_has_one_session(self, files, monkeypatch):
        import onnxruntime

        made, usual = [], onnxruntime.InferenceSession

        def counted(*args, **kwargs):
            made.append(kwargs["sess_options"].graph_optimization_level)
            return usual(*args, **kwargs)

        monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
        load_denoiser(spec(files["onnx"]))
        inspect(files["onnx"])
        levels = onnxruntime.GraphOptimizationLevel
        assert made == [levels.ORT_ENABLE_ALL, levels.ORT_DISABLE_ALL]  # nothing is evaluated to describe a file


class TestConditions:
    @pytest.fixture(params=["pt2", "ts"])
    def path(self, request, tmp_path):
        net, path = programs.Embedded(), tmp_path / f"net.{request.param}"
        if request.param == "pt2":
            return programs.export(net, path, *BATCH, torch.zeros(2, 4), largest=4)
        return programs.script(net, path)

    def test_a_tensor_for_each_row_also_in_parts(self, path, tmp_path):
        values = torch.arange(44.0, dtype=torch.float64).reshape(11, 4)
        np.save(tmp_path / "c.npy", values.numpy())
        conditions = read_conditions(tmp_path / "c.npy")
        denoiser = load_denoiser(spec(path, predicts="image", conditional=True, sigma_max=80.0))
        out = denoiser(torch.randn(11, 3), torch.tensor(1.0), conditions.of(range(11)))
        torch.testing.assert_close(out, values.float().mean(1, keepdim=True).expand(11, 3))
        check_denoiser(denoiser, identity=False, conditions=conditions)

    @pytest.mark.parametrize(
        ("condition", "told"), [(["a"], "got texts"), ({"a": torch.ones(1, 4)}, "got a dict"), (None, "got none")]
    )
    def test_others_do_not_fit(self, path, condition, told):
        denoiser = load_denoiser(spec(path, predicts="image", conditional=True))
        with pytest.raises(InputError, match=f"takes one tensor as its condition, and we {told}; give conditions"):
            denoiser(torch.ones(1, 3), torch.tensor(1.0), condition)

    def test_a_network_without_a_condition(self, files):
        with pytest.raises(InputError, match="it is to be conditional, and the network takes no condition"):
            load_denoiser(spec(files["pt2"], conditional=True))


class TestDescription:
    def test_the_identity_is_that_of_the_content_and_the_convention(self, files, tmp_path):
        copy = shutil.copy(files["pt2"], tmp_path / "elsewhere.pt2")
        known = identity(spec(files["pt2"]))
        assert identity(spec(copy)) == known
        assert identity(spec(copy, sha256=programs.sha256(copy))) == known
        assert programs.sha256(copy) in known and "elsewhere" not in known
        assert identity(spec(copy, predicts="image")) != known
        programs.export(programs.Wide(), copy, *BATCH)
        assert identity(spec(copy)) != known

    def test_what_a_plan_knows(self, files):
        described = describe(spec(files["pt2"], predicts="noise", betas="linear"))
        assert described.shape == (3,) and described.label_dim == 0 and described.rounds and not described.dtypes
        assert 0.01 < described.sigma_min < 0.011 and 157 < described.sigma_max < 158
        rounding = rounding_of(spec(files["pt2"], betas="linear"))
        assert rounding is not None and rounding(torch.tensor([0.0])) == pytest.approx(described.sigma_min)
        assert rounding_of(spec(files["pt2"])) is None

    def test_keys_of_the_convention_stand_beside_it_or_in_it(self, files):
        beside = spec(files["pt2"], betas="linear", between="interpolate")
        within = spec(files["pt2"], predicts={"kind": "noise", "betas": "linear", "between": "interpolate"})
        assert identity(beside) == identity(within)
        with pytest.raises(InputError, match="'velocity' is no key of a network that predicts 'noise'; it has"):
            describe(spec(files["pt2"], velocity="noise_minus_data"))
        with pytest.raises(InputError, match="'betas' is there twice"):
            describe({**within, "betas": "linear"})

    def test_describing_a_file_opens_none(self, files, tmp_path):
        junk = tmp_path / "junk.pt2"
        junk.write_bytes(b"junk")
        assert describe(spec(junk)).shape == (3,)


class TestBadInput:
    def test_another_hash(self, files):
        with pytest.raises(InputError, match=f"SHA-256 is {programs.sha256(files['pt2'])}, not {'0' * 64}"):
            describe(spec(files["pt2"], sha256="0" * 64))
        with pytest.raises(InputError, match="run only if it is the one that was named"):
            load_denoiser(spec(files["pt2"], sha256="0" * 64))

    @pytest.mark.parametrize("name", ["net.zip", "net"])
    def test_another_suffix(self, name):
        with pytest.raises(InputError, match=r"a program is a file .pt2, .pt, .ts, .onnx"):
            describe(spec(name))

    @pytest.mark.parametrize("name", ["net.pt2", "net.ts", "net.pt"])
    def test_a_file_that_is_missing_or_damaged(self, files, tmp_path, name):
        path = tmp_path / name
        with pytest.raises(InputError, match=r"cannot read the file .*check the path"):
            load_denoiser(spec(path))
        kind = name.partition(".")[2]
        for content in (b"", b"PK\x03\x04junk", files[kind].read_bytes()[:-500]):
            path.write_bytes(content)
            with pytest.raises(InputError, match=r"not a (whole zip file|TorchScript module|program of torch\.export)"):
                load_denoiser(spec(path))

    def test_weights_that_do_not_fit(self, files, tmp_path, caplog):
        def enlarge(config):
            config["config"]["variance"]["tensor_meta"]["sizes"] = [{"as_int": 99}]

        change = programs.in_json("data/weights/model_weights_config.json", enlarge)
        path = programs.changed(files["pt2"], tmp_path / "net.pt2", change)
        with pytest.raises(InputError, match=r"not a program of torch\.export \(.*out of bounds for storage"):
            load_denoiser(spec(path))
        assert not caplog.records

    def test_weights_alone(self, tmp_path):
        torch.save(programs.Eps().state_dict(), tmp_path / "weights.pt")
        with pytest.raises(InputError, match="a checkpoint of weights alone has no network in it"):
            load_denoiser(spec(tmp_path / "weights.pt"))

    @pytest.mark.parametrize(
        ("module", "inputs", "said"),
        [
            (programs.Three, 2, r"takes \(x, t\) or \(x, t, condition\); this one takes \(x, t, c, d\)"),
            (programs.Pair, 0, "gives one tensor; this one gives 2"),
            (programs.Wide, 0, r"is float32\[.*, 4\], and shape \[3\] needs \[batch, 3\]"),
        ],
    )
    def test_another_signature(self, tmp_path, module, inputs, said):
        path = programs.export(module(), tmp_path / "net.pt2", *BATCH, *[torch.ones(2)] * inputs)
        with pytest.raises(InputError, match=said):
            load_denoiser(spec(path))

    def test_another_shape(self, files):
        with pytest.raises(InputError, match=r"'x' is float32\[.*, 3\], and shape \[1, 2\] needs \[batch, 1, 2\]"):
            load_denoiser(spec(files["pt2"], shape=[1, 2]))

    def test_outputs_of_another_shape_where_the_file_says_none(self, tmp_path):
        path = programs.script(programs.Wide(), tmp_path / "net.ts")
        with pytest.raises(InputError, match=r"the shape of x, \[2, 3\]; we got \[2, 4\]"):
            load_denoiser(spec(path))(torch.ones(2, 3), torch.tensor(1.0))

    def test_inputs_that_the_network_fails_on(self, tmp_path):
        path = programs.script(programs.Wide(), tmp_path / "net.ts")
        with pytest.raises(InputError, match=r"net\.ts: the network failed on a batch"):
            load_denoiser(spec(path, shape=[3, 2]))(torch.ones(2, 3, 2), torch.tensor(1.0))

    def test_a_fixed_batch(self, tmp_path):
        inputs = torch.zeros(4, 3), torch.ones(4)
        path = programs.export(programs.Eps(), tmp_path / "net.pt2", *inputs, dynamic=False)
        with pytest.raises(InputError, match="exported for a batch of 4; export it again with a dynamic batch"):
            load_denoiser(spec(path))

    def test_conditions_and_classes_go_together(self, files):
        with pytest.raises(InputError, match="takes a condition, 'c'; give label_dim"):
            load_denoiser(spec(files["class"]))
        with pytest.raises(InputError, match=r"label_dim is 3, and the network takes no (condition|third argument)"):
            load_denoiser(spec(files["pt2"], label_dim=3))

    def test_fractions_of_a_step_for_whole_ones(self, tmp_path):
        inputs = torch.zeros(2, 3), torch.ones(2, dtype=torch.int64)
        path = programs.export(programs.Eps(), tmp_path / "net.pt2", *inputs)
        x, sigma = torch.ones(2, 3), torch.tensor(1.0)
        assert load_denoiser(spec(path, betas="linear"))(x, sigma).shape == (2, 3)
        with pytest.raises(InputError, match=r"takes whole numbers \(int64\) where it is given fractions"):
            load_denoiser(spec(path))(x, sigma)


class TestInspect:
    def test_a_program_of_export(self, files):
        facts = inspect(files["class"])
        assert facts["inputs"] == {
            "x": "float32[s13: 0 to 4096, 3]",
            "t": "float32[s13: 0 to 4096]",
            "c": "int64[s13: 0 to 4096]",
        }
        assert facts["usable"].startswith("yes")

    def test_torchscript(self, files):
        for kind in ("ts", "pt"):
            facts = inspect(files[kind])
            assert facts["inputs"] == {"x": "Tensor", "t": "Tensor"} and facts["outputs"] == {"output": "Tensor"}
            assert facts["shapes"].startswith("not told")

    def test_onnx(self, files):
        facts = inspect(files["onnx"])
        assert facts["inputs"] == {"x": "float32[batch, 3]", "t": "float32[batch]"}
        assert facts["outputs"] == {"eps": "float32[batch, 3]"}

    def test_damaged_onnx(self, tmp_path):
        (tmp_path / "net.onnx").write_bytes(b"junk")
        with pytest.raises(InputError, match="not an ONNX model that can be opened"):
            inspect(tmp_path / "net.onnx")

    def test_onnx_without_its_runtime(self, files, monkeypatch):
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # its import fails, as where it is not installed
        with pytest.raises(InputError, match=r"pip install 'diffusion-harness\[onnx\]'"):
            inspect(files["onnx"])
