"""`harness import` and `harness inspect` on the command line: what they print, exit codes, and nothing half left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import harness
from harness.cli.main import app
from harness.core.errors import InputError
from harness.denoisers.load import describe
from tests.denoisers import families
from tests.denoisers.snapshots import small, write_snapshot

PICKLES = Path(__file__).parents[1] / "golden" / "pickles"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_import_then_run(run, tmp_path):
    write_snapshot(tmp_path / "toy.pkl", small())
    done = run("import", "toy.pkl", "-o", "nets/toy.safetensors")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("nets/toy.safetensors: EDM snapshot, SHA-256 ")
    assert run("import", "toy.pkl").exit_code == 0
    assert Path("toy.safetensors").read_bytes() == Path("nets/toy.safetensors").read_bytes()
    drawn = run("sample", "toy.safetensors", "-o", "sheet.png", "--seeds", "0-3", "--sampler", "{steps: 3}")
    assert drawn.exit_code == 0, drawn.output
    direct = run("sample", "toy.pkl", "-o", "direct.png", "--seeds", "0-3", "--sampler", "{steps: 3}")
    assert direct.exit_code == 0, direct.output
    assert Path("sheet.png").read_bytes() == Path("direct.png").read_bytes()


def test_what_was_assumed_is_printed(run, tmp_path):
    families.write(tmp_path / "net.pt", families.openai_state("guided_plain"))
    done = run("import", "net.pt", "--set", "image_size=16", "--set", "num_heads=2")
    assert done.exit_code == 0, done.output
    assert "assumed: noise_schedule = linear (the file does not say)" in done.output
    assert "image_size" not in done.output
    assert harness.load_denoiser("net.safetensors").shape == (3, 16, 16)


def test_inspect(run):
    done = run("inspect", PICKLES / "edm_ddpmpp_cond_aug.pkl")
    assert done.exit_code == 0, done.output
    for line in (
        "format           EDM snapshot",
        "preconditioning  edm",
        "parameters       189,667",
        "usable           yes",
    ):
        assert line in done.stdout
    facts = json.loads(run("inspect", PICKLES / "iddpm_adm_cond.pkl", "--json").stdout)
    assert (facts["architecture"], facts["images"], facts["classes"]) == ("DhariwalUNet", [3, 16, 16], 10)
    assert facts["ignored"] == ["source code embedded in the file"]
    assert facts["training"]["dataset_kwargs"]["resolution"] == 16
    ours = json.loads(
        run("inspect", harness.core.embedded.data_dir("pretrained") / "digits-vp.safetensors", "--json").stdout
    )
    assert (ours["format"], ours["parameters"], ours["sigma_max"]) == (
        "harness checkpoint",
        188_769,
        152.16697692871094,
    )


def test_inspect_says_why_a_file_is_of_no_use(run, tmp_path):
    net = small()
    net.config["channel_mult"] = [1, 1]
    write_snapshot(tmp_path / "toy.pkl", net)
    facts = json.loads(run("inspect", "toy.pkl", "--json").stdout)
    assert facts["usable"].startswith("no: toy.pkl: tensor 'model.dec.4x4_block0.affine.bias': the network has [8]")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello there", "not a checkpoint: it begins with b'hello th'"),
        (b"\x80\x04cos\nsystem\n\x8c\x04true\x85R.", "asks for 'os.system'"),
        (b"\x80\x04\x8e" + b"\xff" * 8, "claims 18,446,744,073,709,551,615 bytes"),
        (b"PK\x03\x04" + b"x" * 100, "a zip file without its end"),
    ],
)
@pytest.mark.parametrize("command", ["import", "inspect"])
def test_mistakes_exit_with_2_and_leave_nothing(run, tmp_path, command, content, message):
    (tmp_path / "bad.pkl").write_bytes(content)
    done = run(command, "bad.pkl")
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pkl"]


def test_other_mistakes(run, tmp_path):
    write_snapshot(tmp_path / "toy.pkl", small())
    assert run("import", "toy.pkl").exit_code == 0
    for arguments, message in [
        (("toy.pkl", "-o", "toy.pt"), "a checkpoint's name ends in .safetensors"),
        (("toy.pkl", "--set", "steps"), "--set takes KEY=VALUE, such as image_size=64; we got 'steps'"),
        (("toy.pkl", "--set", "steps=4"), "the file describes itself; leave out the option 'steps'"),
        (("gone.pkl",), "cannot read the file"),
        (("gone.safetensors",), "cannot read the file"),
        (("toy.safetensors",), "toy.safetensors: a checkpoint of ours is not imported; use it as it is"),
        (("toy.pkl", "-o", "toy.pkl/x.safetensors"), "cannot write there"),
    ]:
        done = run("import", *arguments)
        assert done.exit_code == 2 and message in done.output.replace("\n", " "), done.output


def test_the_package_is_the_command():
    done = subprocess.run([sys.executable, "-m", "harness", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, f"harness {harness.__version__}")


def test_what_was_left_out_is_printed(run, tmp_path):
    families.write(tmp_path / "net.pt", {"model": families.openai_state("guided_plain"), "epoch": 3})
    done = run("import", "net.pt", "--set", "image_size=16", "--set", "num_heads=2")
    assert done.exit_code == 0, done.output
    assert "checkpoint, its 'model', SHA-256" in done.stdout
    assert "ignored: epoch" in done.output


def test_a_checkpoint_never_takes_its_own_place(run, tmp_path):
    save_file(families.openai_state("guided_plain"), tmp_path / "net.safetensors")
    before = (tmp_path / "net.safetensors").read_bytes()
    done = run("import", "net.safetensors", "--set", "image_size=16", "--set", "num_heads=2")
    assert done.exit_code == 2 and "is the file to import; give another --output" in done.output, done.output
    assert (tmp_path / "net.safetensors").read_bytes() == before


@pytest.mark.parametrize("command", ["import", "inspect"])
def test_safetensors_of_nothing_known(run, tmp_path, command):
    save_file({"head.weight": torch.ones(2)}, tmp_path / "net.safetensors")
    done = run(command, "net.safetensors", *(["-o", "x.safetensors"] if command == "import" else []))
    assert done.exit_code == 2
    assert "of no network known here (it holds head.weight), and no config.json lies beside it" in done.output


def test_a_run_names_the_import_of_foreign_safetensors(tmp_path):
    save_file(families.openai_state("guided_plain"), tmp_path / "net.v2.safetensors")
    with pytest.raises(InputError, match=r"a run takes our own checkpoints.*-o net\.safetensors"):
        describe(tmp_path / "net.v2.safetensors")
