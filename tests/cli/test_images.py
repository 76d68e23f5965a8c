"""Images and metrics on the command line: the same FID of files and of streamed samples, data sets, references."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import InputError
from harness.execution.executors import EXECUTORS
from harness.execution.executors.inline import InlineExecutor
from harness.metrics.features.configs import Inception
from harness.metrics.references import find_reference
from tests.metrics.features.programs import Official, script

DENOISER = {"kind": "mixture", "means": [-0.6, 0.5], "weights": [1, 2], "std": 0.3, "shape": [3, 8, 8]}
SEEDS = 60


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Runs a command in an empty folder, the work done in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXECUTORS, "processes", InlineExecutor)
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def detector(tmp_path):
    """A stand-in with the official call signature, as a choice in YAML."""
    path = tmp_path / "detector.pt"
    return {"kind": "inception", "path": str(path), "sha256": script(Official(), path), "width": 24}


def real(folder, count=90, size=8, seed=3):
    """A folder of PNG images in two classes."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        place = folder / ("dark" if index % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        levels = rng.integers(0, 160, (size, size, 3)) + (0 if index % 2 else 90)
        Image.fromarray(levels.astype(np.uint8)).save(place / f"{index:03}.png")
    return folder


def evaluated(harness, *arguments):
    done = harness("eval", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return {one["metric"]: one for one in json.loads(done.stdout)}


def test_files_and_streamed_samples_have_one_fid(harness, tmp_path, detector):
    """The detour over PNG files, bytes and all, changes nothing."""
    real(tmp_path / "real")
    extractor = yaml.safe_dump(detector, default_flow_style=True)
    done = harness("ref", "build", "real", "-o", "real.npz", "--extractor", extractor)
    assert done.exit_code == 0, done.output
    assert "24 features, of 90 images kept" in done.stdout

    kinds = ["fid", "kid", "precision", "recall", "density", "coverage", "fid-infinity"]
    metrics = [{"kind": kind, "extractor": detector, "reference": "real.npz"} for kind in kinds]
    metrics.append({"kind": "inception-score", "extractor": detector})
    grid = {
        "title": "Streamed",
        "samples": SEEDS,
        "chunk": 5,
        "steps": 6,
        "metrics": metrics,
        "denoisers": {"exact": {"source": DENOISER}},
        "series": [{"name": "heun"}],
    }
    (tmp_path / "streamed.yaml").write_text(yaml.safe_dump(grid))
    done = harness("run", "streamed.yaml", "--device", "cpu", "--batch", 20)
    assert done.exit_code == 0, done.output
    assert "8 of 8 trials done" in done.stdout
    rows = {row["metric"]: row for row in csv_rows(harness)}

    done = harness(
        *("sample", json.dumps(DENOISER), "-o", "drawn", "--seeds", f"0-{SEEDS - 1}", "--sampler", "{steps: 6}")
    )
    assert done.exit_code == 0, done.output
    found = evaluated(
        *(harness, "drawn", "--ref", "real.npz", "--extractor", extractor),
        *("--metrics", ",".join([*kinds, "inception-score"]), "--batch", 20),
    )
    assert set(found) == set(rows) and len(found) == 8
    for name, one in found.items():
        if name.startswith("fid-infinity"):
            continue  # its windows are of other blocks
        assert float(rows[name]["value"]) == pytest.approx(one["value"], rel=1e-9, abs=1e-12), name
    assert found["fd-detector"]["n"] == SEEDS
    assert found["fd-detector"]["low"] < found["fd-detector"]["value"] < found["fd-detector"]["high"]
    assert harness("verify").stdout.startswith("8 of 8 results are as stored")


def csv_rows(harness):
    import csv
    import io

    return list(csv.DictReader(io.StringIO(harness("show", "--csv", "-").stdout)))


def test_a_data_set_is_its_own_reference_whatever_it_is_kept_in(harness, tmp_path):
    real(tmp_path / "real")
    done = harness("data", "convert", "real", "set.zip")
    assert done.exit_code == 0, done.output
    assert "90 images, 2 classes" in done.stdout
    raw = ("--extractor", "{kind: raw, size: 2}")
    assert harness("ref", "build", "set.zip", "-o", "set.npz", *raw).exit_code == 0
    values = [
        evaluated(harness, place, "--ref", ref, *raw)["fd-pixels"]["value"]
        for place, ref in [("set.zip", "set.npz"), ("real", "set.zip"), ("set.zip", "real")]
    ]
    assert np.abs(values).max() < 1e-9
    stats = json.loads(harness("data", "stats", "set.zip", "--json").stdout)
    assert stats["digest"] == json.loads(harness("data", "stats", "real", "--json").stdout)["digest"]
    assert stats["classes"] == [45, 45]
    assert "2, 45 to 45 images each" in harness("data", "stats", "real").stdout


def test_copies_are_found(harness, tmp_path):
    real(tmp_path / "real", 40)
    other = real(tmp_path / "other", 40, seed=4)
    for index in range(0, 40, 4):
        name = f"{'dark' if index % 2 else 'light'}/{index:03}.png"
        (other / name).write_bytes((tmp_path / "real" / name).read_bytes())
    found = evaluated(harness, "other", "--ref", "real", "--metrics", "memorisation")["memorisation"]
    assert found["value"] == 0.25 and found["details"]["copies"] == 10


def test_a_metric_takes_as_many_images_as_it_names(harness, tmp_path):
    real(tmp_path / "real", 90)
    metrics = "[fid, {kind: fid, samples: 40, label: forty}, {kind: kid, samples: 50, subset: 9, subsets: 3}]"
    raw = ("--ref", "real", "--extractor", "{kind: raw, size: 2}", "--metrics", metrics)
    found = evaluated(harness, "real", *raw)
    assert {name: one["n"] for name, one in found.items()} == {"fd-pixels": 90, "forty": 40, "kid-pixels": 50}
    assert abs(found["fd-pixels"]["value"]) < 1e-9 < found["forty"]["value"]
    assert evaluated(harness, "real", *raw) == found
    assert evaluated(harness, "real", *raw[:4], "--metrics", "{kind: fid, samples: 90, ranges: 1}") == {
        "fd-pixels": found["fd-pixels"]
    }


def test_images_of_another_size_or_colour_than_the_reference_are_measured_with_a_note(harness, tmp_path):
    real(tmp_path / "real", 150)
    real(tmp_path / "large", 150, size=16)
    found = evaluated(harness, "large", "--ref", "real", "--extractor", "{kind: raw, size: 2}")["fd-pixels"]
    assert found["details"]["cautions"] == [
        "The images are 16x16 and the reference's 8x8: how they are resized counts as distance."
    ]
    assert harness("data", "convert", "real", "grey.zip", "--color", "grey").exit_code == 0
    done = harness("eval", "grey.zip", "--ref", "real", "--extractor", "{kind: raw, size: 2}")
    assert done.exit_code == 2
    said = "its images are 8x8 RGB: `harness data convert` makes one set like the other"
    assert said in " ".join(done.stderr.split())


def test_the_notes_of_a_reference_stand_in_eval_run_and_report_alike(harness, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "real").mkdir()
    for index in range(20):
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        image.save(tmp_path / "real" / f"{index:02}.jpg")
    metric = {"kind": "fid", "extractor": {"kind": "raw", "size": 4}, "reference": "real"}
    grid = {"title": "t", "samples": 60, "steps": 2, "metrics": metric, "series": [{"name": "s"}]}
    (tmp_path / "g.yaml").write_text(yaml.safe_dump(grid | {"denoisers": {"exact": {"source": DENOISER}}}))
    done = harness("run", "g.yaml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert harness("report", "g", "-o", "g.html").exit_code == 0
    page = " ".join((tmp_path / "g.html").read_text().replace("&#39;", "'").split())
    real(tmp_path / "made", 60)
    asked = ("--ref", "real", "--extractor", "{kind: raw, size: 4}")
    said = evaluated(harness, "made", *asked)["fd-pixels"]["details"]["cautions"]
    assert len(said) == 4
    for caution in said:
        if "are PNG" in caution:
            caution = caution.replace("are PNG", "are not compressed")  # what a run draws never was a file
        elif caution.startswith("N ="):
            assert "N = 60 images" in caution
        assert "".join(f"note on fd-pixels: {caution}".split()) in "".join(done.stderr.split())
        assert caution in page
    (row,) = csv_rows(harness)
    assert row["status"] == "done"


def test_reference_batches_of_adm_are_images_and_statistics(harness, tmp_path, detector):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "adm.npz", arr_0=images, mu=np.full(192, 9.0), sigma=np.eye(192), mu_s=np.zeros(4))
    np.save(tmp_path / "same.npy", images)
    raw = ("--extractor", "raw", "--metrics", "kid,precision,memorisation,fid")
    found = evaluated(harness, "same.npy", "--ref", "adm.npz", *raw)
    assert [found[name]["value"] for name in ("precision-pixels", "memorisation")] == [1, 1]
    assert abs(found["fd-pixels"]["value"]) < 1e-9  # of the images, not of mu = 9
    assert {one["reference"].split(":")[0] for one in found.values()} == {"adm"}
    other = ("--extractor", yaml.safe_dump(detector, default_flow_style=True), "--metrics", "kid,fid")
    found = evaluated(harness, "same.npy", "--ref", "adm.npz", *other)
    assert abs(found["fd-detector"]["value"]) < 1e-9  # a detector of one's own is not the network of mu and sigma


def test_too_few_images_for_the_features_are_measured_with_a_note(harness, tmp_path):
    real(tmp_path / "real", 30)
    done = harness("eval", "real", "--ref", "real", "--metrics", "fid", "--extractor", "raw")
    assert done.exit_code == 0, done.output
    assert "note: N = 30 images are not more than the 192 features" in done.stdout


def test_a_run_says_once_that_the_images_are_too_few(harness, tmp_path):
    real(tmp_path / "real", 30)
    grid = "title: t\nsamples: 20\nsteps: [2, 3]\nmetrics: {kind: fid, extractor: raw, reference: real}\n"
    grid += f"denoisers: {{exact: {{source: {json.dumps(DENOISER)}}}}}\nseries: [{{name: s}}]\n"
    (tmp_path / "few.yaml").write_text(grid)
    done = harness("run", "few.yaml", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "".join(done.stderr.split()).count("noteonfd-pixels:N=20imagesarenotmorethanthe192features") == 1


class TestRefusals:
    @pytest.fixture(autouse=True)
    def _images(self, tmp_path, harness):
        real(tmp_path / "real", 30)

    def refused(self, harness, message, *arguments):
        done = harness(*arguments)
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.stderr.split()), done.stderr

    def test_a_corrupt_image_is_named_and_can_be_left_out(self, harness, tmp_path):
        (tmp_path / "real" / "dark" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
        self.refused(harness, "001.png", "data", "stats", "real")
        self.refused(harness, "--skip-bad", "data", "convert", "real", "set.zip")
        assert not (tmp_path / "set.zip").exists()
        done = harness("eval", "real", "--ref", "real", "--extractor", "raw", "--skip-bad")
        assert done.exit_code == 0, done.output
        assert "left out 1 images" in done.stderr and "001.png" in done.stderr
        assert "N = 29" in done.stdout

    def test_mixed_sizes(self, harness, tmp_path):
        Image.new("RGB", (9, 9)).save(tmp_path / "real" / "dark" / "zzz.png")
        self.refused(harness, "zzz.png", "eval", "real", "--ref", "real", "--extractor", "raw")

    def test_an_empty_folder(self, harness, tmp_path):
        (tmp_path / "empty").mkdir()
        self.refused(harness, "no images", "eval", "empty", "--ref", "real", "--extractor", "raw")

    def test_missing_weights_say_what_to_fetch(self, harness, tmp_path, monkeypatch):
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
        for name in ("inception-2015-12-05", "inception-pt-2015-12-05"):
            kind = name.removesuffix("-2015-12-05")
            command = ("eval", "real", "--ref", "real", "--extractor", kind)
            self.refused(harness, f"`harness fetch {name}` gets it", *command)
        with pytest.raises(InputError, match="`harness fetch fid-cifar10-32x32` gets it"):
            find_reference("fid-cifar10-32x32", Inception())

    def test_a_reference_of_another_width_or_extractor(self, harness, tmp_path):
        assert harness("ref", "build", "real", "-o", "r.npz", "--extractor", "{kind: raw, size: 2}").exit_code == 0
        wide = ("eval", "real", "--ref", "r.npz", "--extractor", "raw")
        self.refused(harness, "made with extractor 'raw:2:mean', and this metric uses 'raw:all:mean'", *wide)
        with np.load(tmp_path / "r.npz") as stored:
            np.savez(tmp_path / "bare.npz", mu=stored["mu"], sigma=stored["sigma"])
        bare = ("eval", "real", "--ref", "bare.npz", "--extractor", "raw")
        self.refused(harness, "has 12 features an image and extractor 'raw:all:mean' gives 192", *bare)
        kid = ("eval", "real", "--ref", "bare.npz", "--extractor", "{kind: raw, size: 2}", "--metrics", "kid")
        self.refused(harness, "holds `mu` and `sigma` only", *kid)
        alone = evaluated(harness, "real", "--ref", "bare.npz", "--extractor", "{kind: raw, size: 2}")
        assert abs(alone["fd-pixels"]["value"]) < 1e-9

    def test_a_reference_that_asks_for_pickle(self, harness, tmp_path):
        np.savez(tmp_path / "bad.npz", mu=np.array([{}], dtype=object), sigma=np.eye(1), allow_pickle=True)
        self.refused(harness, "asks for pickle", "eval", "real", "--ref", "bad.npz", "--extractor", "raw")

    def test_metrics_that_are_none(self, harness):
        raw = ("--extractor", "raw", "--ref", "real")
        self.refused(
            harness, "'fud' is no metric of images; there are: fd-digits, fid", "eval", "real", "--metrics", "fud"
        )
        self.refused(harness, "'fid' compares with real images; give --ref", "eval", "real", "--extractor", "raw")
        self.refused(harness, "'fd-pixels' is there twice", "eval", "real", *raw, "--metrics", "fid,fid")
        self.refused(harness, "kid: sub: unknown key", "eval", "real", *raw, "--metrics", "[{kind: kid, sub: 3}]")
        self.refused(harness, "tells no classes", "eval", "real", *raw[:2], "--metrics", "inception-score")
        for text in ("[]", "", "{}"):
            self.refused(harness, "there are: fd-digits, fid", "eval", "real", *raw, "--metrics", text)

    def test_what_means_nothing_or_is_not_used(self, harness):
        raw = ("--extractor", "raw", "--ref", "real")
        for field in ("ranges: 3", "series: [none]", "denoisers: [none]"):
            name = field.split(":")[0]
            said = f"fid: `{name}` is about the trials of a grid, and there is none here; leave it out"
            self.refused(harness, said, "eval", "real", *raw, "--metrics", f"{{kind: fid, {field}}}")
        self.refused(
            harness,
            "'fd-pixels' takes 31 images; real has 30",
            *("eval", "real", *raw, "--metrics", "{kind: fid, samples: 31}"),
        )
        alone = "{kind: inception-score, extractor: raw}"
        self.refused(
            harness,
            "--ref 'real': 'inception-score-pixels' does not compare",
            "eval",
            "real",
            *raw[2:],
            "--metrics",
            alone,
        )
        named = "{kind: fid, extractor: raw}"
        self.refused(
            harness,
            "--extractor 'digits': 'fd-pixels' does not use it",
            *("eval", "real", "--ref", "real", "--extractor", "digits", "--metrics", named),
        )
        self.refused(harness, "images [1, 8, 8]", "eval", "real", "--metrics", "fd-digits")

    def test_the_card_of_another_network(self, harness):
        command = ("eval", "real", "--ref", "fid-cifar10-32x32", "--extractor", "raw")
        self.refused(harness, "holds features of 'inception-2015-12-05', not of extractor 'raw'", *command)
        self.refused(
            harness, "the card of that name is a denoiser", "eval", "real", "--ref", "digits-vp", "--extractor", "raw"
        )
        self.refused(
            harness, "no such file or folder, nor a card", "eval", "real", "--ref", "nowhere", "--extractor", "raw"
        )

    def test_grids_name_the_line(self, harness, tmp_path):
        grid = "title: t\nsteps: 3\nmetrics:\n  - {kind: fid, extractor: raw, reference: nowhere}\n"
        grid += "denoisers:\n  exact: {source: {kind: gaussian, std: 0.4}}\nseries: [{name: s}]\n"
        (tmp_path / "bad.yaml").write_text(grid)
        self.refused(harness, "bad.yaml:4: metrics.0: metric 'fd-pixels': reference 'nowhere'", "plan", "bad.yaml")
