"""Images that are not bytes: floats of a denoiser's own range reach features as they are, and are never rounded."""

import math

import numpy as np
import pytest
import torch

import harness
from harness.core.data_range import BYTES
from harness.core.errors import InputError, SamplingError
from harness.datasets.image_bytes import to_bytes, to_picture
from harness.datasets.image_set import of_array, of_floats
from harness.datasets.open import open_images
from harness.denoisers.guidance import Autoguidance
from harness.denoisers.load import describe, load_denoiser
from harness.execution.executors.inline import InlineExecutor
from harness.execution.run import run
from harness.execution.sample_images import sample_to_files
from harness.experiments.plan import plan
from harness.metrics import FID, DenoisingError, Detail, FrechetDigits, Memorisation, RoundTripError
from harness.metrics.base import SamplingJob
from harness.metrics.evaluate import evaluate
from harness.metrics.features.configs import DigitsFeatures, Inception, Pixels, TorchScript
from harness.metrics.features.pixels import PixelFeatures
from harness.metrics.features.programs import ProgramFeatures
from harness.metrics.references import find_reference, of_images, read_reference
from harness.metrics.statistics.frechet_distance import FrechetReference
from harness.sampling.denoiser import data_range
from harness.sampling.sampler import Sampler
from harness.search.plan import SearchRequest, plan_search
from harness.store.database import Store

MEAN, STD, SHAPE, SIGMA_MAX = 4.0, 1.5, (1, 4, 4), 80.0
VALUES = {"kind": "gaussian", "mean": MEAN, "std": STD, "shape": list(SHAPE), "data_range": [0, 8]}
LATENTS = VALUES | {"data_range": None}
GRID = """
title: Values from 0 to 8
samples: 1200
metrics: {{kind: fid, extractor: {extractor}, reference: {reference}}}
denoisers:
  values: {{source: {{kind: gaussian, mean: 4.0, std: 1.5, shape: [1, 4, 4], data_range: [0, 8]}}}}
  {more}
steps: [40]
mosaics: [40]
series:
  - {{name: Heun, sampler: {{}}}}
"""
FLOAT = Pixels(values="float")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real values: the covariance is not the denoiser's, and the mean is 1 higher."""
    rng = np.random.default_rng(1)
    mix = np.eye(16) * 1.2 + 0.05
    path = tmp_path_factory.mktemp("real") / "real.npy"
    np.save(path, (rng.normal(size=(4000, 16)) @ mix + 5.0).reshape(-1, *SHAPE).astype(np.float32))
    return path


@pytest.fixture
def planned(tmp_path, real):
    def make(extractor="raw", reference=real, more=""):
        path = tmp_path / "grid.yaml"
        path.write_text(GRID.format(extractor=extractor, reference=reference, more=more))
        return plan(path)

    return make


def test_a_grid_measures_floats_against_a_reference_of_floats(planned, real, tmp_path):
    made = planned()
    (metric,) = made.grid.metrics
    assert metric.features == FLOAT
    with Store(str(tmp_path / "store.sqlite")) as store:
        assert run(made, store, device="cpu", executor=InlineExecutor).failed == 0
        (row,) = store.results()
        assert len(store.images([row["fingerprint"]], 0)) == 1
        assert run(made, store, device="cpu", executor=InlineExecutor).chunks == 0
    assert (row["metric"], row["extractor"]) == ("fd-pixels", "raw:all:mean:float")
    assert row["reference"].endswith("/4000/raw:all:mean:float")
    # the ODE takes N(0, sigma_max^2) to this Gaussian, which is the data's for large sigma_max
    k = STD / math.hypot(SIGMA_MAX, STD)
    values = np.load(real).reshape(4000, 16).astype(np.float64)
    reference = FrechetReference(values.mean(0), np.cov(values.T))
    expected = reference.distance(np.full(16, MEAN * (1 - k)), np.eye(16) * (k * SIGMA_MAX) ** 2)
    assert expected > 15
    assert row["low"] < expected < row["high"]
    assert row["high"] - row["low"] < 0.15 * expected


def test_features_of_floats_are_the_floats():
    denoiser, sampler = load_denoiser(VALUES), Sampler(steps=3)
    out = harness.sample(denoiser, sampler, range(5))
    assert out.images.max() > 4
    seen = FID(extractor=Pixels(), reference="x").observe(
        SamplingJob(denoiser, sampler, list(range(5)), keep=("features",))
    )
    assert np.array_equal(seen.arrays(slice(0, 5))["features"], out.images.flatten(1).float().numpy())
    extractor = PixelFeatures("x", (4, 3, 2, 2), None, sees="floats")  # of any shape
    values = torch.randn(3, 4, 3, 2, 2, dtype=torch.float64) * 100
    assert torch.equal(extractor(values), values.flatten(1))
    assert torch.equal(
        PixelFeatures("x", (1, 2, 2), 1, sees="floats")(values[:, 0, :1]), values[:, 0, :1].mean((1, 2, 3))[:, None]
    )
    with pytest.raises(SamplingError, match="1 of 48 image values are not finite"):
        extractor(values[:1].index_fill(1, torch.tensor(0), 0.0).put(torch.tensor(0), torch.tensor(math.nan).double()))


def test_a_network_of_ones_own_sees_float32():
    given = []

    def network(images):
        given.append(images)
        return images.flatten(1)[:, :2]

    extractor = ProgramFeatures(network, "own", "float", None, (4, 2, 2), None)
    values = torch.full((3, 4, 2, 2), 7.3, dtype=torch.float64)
    assert torch.equal(extractor(values), torch.full((3, 2), 7.3).double())
    assert given[-1].dtype == torch.float32
    own = TorchScript(path="x.pt", sha256="0" * 64, values="float", channels=None)
    assert own.identity == "torchscript:000000000000:float"
    assert own.for_range(None) is own
    assert (own.needs((4, 2, 2)), own.needs((7,))) == ("", "")


def test_identities_of_bytes_stay_and_those_of_floats_say_so():
    assert Pixels().identity == Pixels(values="bytes").identity == "raw:all:mean"
    assert FLOAT.identity == "raw:all:mean:float"
    assert Pixels().for_range(BYTES) == Pixels()
    assert Pixels(size=2).for_range(None) == Pixels(size=2, values="float")
    assert (FLOAT.for_range(BYTES), FLOAT.for_range((0.0, 1.0))) == (FLOAT, FLOAT)
    assert Memorisation(extractor=FLOAT, reference="x").name == Memorisation(reference="x").name == "memorisation"
    assert (
        describe({"kind": "gaussian"}).identity
        == '{"kind":"gaussian","mean":0.0,"shape":[1,8,8],"std":0.5,"version":1}'
    )
    assert '"data_range":[0.0,8.0]' in describe(VALUES).identity
    assert '"data_range":null' in describe(LATENTS).identity


def test_the_range_is_declared_and_passed_on():
    for spec, expected in ((VALUES, (0.0, 8.0)), (LATENTS, None), (VALUES | {"data_range": [-1, 1]}, BYTES)):
        for source in (spec, {"kind": "with-error", "denoiser": spec}):
            assert describe(source).data_range == expected
            assert data_range(load_denoiser(source)) == expected
    mixture = {"kind": "mixture", "means": [1.0, 2.0], "shape": [1, 1, 2], "data_range": [0, 3]}
    assert data_range(load_denoiser(mixture)) == describe(mixture).data_range == (0.0, 3.0)
    assert data_range(load_denoiser("digits-vp")) == describe("digits-vp").data_range == BYTES
    with pytest.raises(InputError, match="a range goes from the lowest to the highest value; we got 8 and 0"):
        describe(VALUES | {"data_range": [8, 0]})
    guided = {"kind": "autoguidance", "denoiser": VALUES, "guide": LATENTS}
    with pytest.raises(InputError, match="the denoiser has values from 0 to 8 and its guide values without limits"):
        describe(guided)
    with pytest.raises(InputError, match="guidance needs data of one range"):
        load_denoiser(guided)
    assert Autoguidance(load_denoiser(VALUES), load_denoiser(VALUES), 2.0).data_range == (0.0, 8.0)


@pytest.mark.parametrize(
    ("extractor", "more", "told"),
    [
        (
            "{kind: inception, path: x.pt, sha256: '" + "0" * 64 + "'}",
            "",
            "metric 'fd-detector' of denoiser 'values': extractor 'inception' sees images as bytes of .-1, 1., and ",
        ),
        (
            "digits",
            "",
            "these are floats, values from 0 to 8; use extractor 'raw', or a network of your own with `values: fl",
        ),
        ("{kind: raw, values: bytes}", "", "extractor 'raw' sees images as bytes"),
        (
            "{kind: torchscript, path: x.pt, sha256: '" + "0" * 64 + "'}",
            "",
            "extractor 'torchscript' sees images as bytes",
        ),
        (
            "raw",
            "bytes: {source: {kind: gaussian, shape: [1, 4, 4]}}",
            "'values' and 'bytes' in two ways, bytes and floats",
        ),
    ],
)
def test_what_sees_bytes_refuses_floats(planned, extractor, more, told):
    with pytest.raises(InputError, match=told) as error:
        planned(extractor, more=more)
    assert "\n" not in str(error.value)
    assert "line 4" in str(error.value) or ":4:" in str(error.value)


def test_references_of_floats_and_bytes_do_not_mix(planned, tmp_path, real):
    np.save(tmp_path / "bytes.npy", np.zeros((9, 1, 4, 4), dtype=np.uint8))
    for source in ("digits", tmp_path / "bytes.npy", tmp_path):
        with pytest.raises(
            InputError, match=f"reference '{source}' holds bytes, and extractor 'raw:all:mean:float' sees"
        ):
            planned(reference=source)
    with pytest.raises(InputError, match=r"float32 .* are no images, which are bytes"):
        find_reference(str(real), Pixels())
    np.savez(tmp_path / "values.npz", np.load(real))
    with pytest.raises(InputError, match="images are bytes, 0 to 255"):
        read_reference(find_reference(str(tmp_path / "values.npz"), Pixels()), Pixels())
    one, other = (read_reference(find_reference(str(path), FLOAT), FLOAT) for path in (real, tmp_path / "values.npz"))
    assert one.id.split(":", 1)[1] == other.id.split(":", 1)[1]  # the content
    assert np.array_equal(one.statistics.mu, other.statistics.mu)
    single = np.load(real).astype(np.float64)
    single[3, 0, 0, 0] = math.nan
    np.save(tmp_path / "bad.npy", single)
    with pytest.raises(InputError, match=r"bad.npy: holds numbers that are not finite"):
        read_reference(find_reference(str(tmp_path / "bad.npy"), FLOAT), FLOAT)


def test_a_set_of_floats_has_its_own_digest_and_any_shape(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 3, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    images = open_images(tmp_path / "x.npy", floats=True)
    assert (images.shape, images.floats, len(images)) == ((3, 5), "float32", 6)
    digests = {
        images.digest(),
        of_floats("x", values.astype(np.float64)).digest(),
        of_floats("x", values.reshape(6, 15)).digest(),
    }
    assert len(digests) == 3
    with pytest.raises(InputError, match="images are bytes"):
        open_images(tmp_path / "x.npy")
    with pytest.raises(InputError, match="floats are an array"):
        of_floats("x", values[0, 0])
    reference = of_images(images, FLOAT.load(images.shape))
    reference.statistics.write(tmp_path / "stats.npz")
    again = read_reference(find_reference(str(tmp_path / "stats.npz"), FLOAT), FLOAT)
    assert (again.statistics.shape, again.statistics.extractor) == ((3, 5), FLOAT.identity)
    with pytest.raises(
        InputError, match="made with extractor 'raw:all:mean:float', and this metric uses 'raw:all:mean'"
    ):
        read_reference(find_reference(str(tmp_path / "stats.npz"), Pixels()), Pixels())


def test_images_of_any_program_are_evaluated_as_floats(real, tmp_path):
    images, metric = open_images(real, floats=True), FID(extractor=Pixels(), reference=str(real))
    (found,) = evaluate(images, [metric])
    assert (found.extractor, found.n) == ("raw:all:mean:float", 4000)
    assert found.estimate.value == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="extractor 'inception' sees images as bytes"):
        evaluate(images, [FID(extractor=Inception(), reference=str(real))])
    levels = of_array("bytes", np.random.default_rng(0).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match=r"float32 .* are no images, which are bytes"):
        evaluate(levels, [metric])
    (seen,) = evaluate(levels, [metric.model_copy(update={"extractor": FLOAT})])
    assert seen.extractor == FLOAT.identity  # bytes are values in [-1, 1] then
    with pytest.raises(InputError, match="these are floats"):
        FrechetDigits().for_range((0.0, 1.0))
    assert DigitsFeatures().for_range(BYTES) == DigitsFeatures()


def test_a_search_measures_floats(real):
    asked = {"kind": "fid", "extractor": "raw", "reference": str(real)}
    assert plan_search(SearchRequest("deterministic", VALUES, metric=asked, nfe=9)).metric.features == FLOAT
    with pytest.raises(InputError, match="--metric fd-digits: extractor 'digits' sees images as bytes"):
        plan_search(SearchRequest("deterministic", VALUES, nfe=9))


def test_pictures_show_the_range_and_files_keep_floats(tmp_path):
    ramp = np.linspace(0, 8, 9).reshape(1, 1, 3, 3)
    assert to_picture(ramp, (0.0, 8.0)).flatten()[[0, 4, 8]].tolist() == [0, 128, 255]
    assert np.array_equal(to_picture(ramp, None), to_picture(ramp, (0.0, 8.0)))
    assert np.array_equal(to_picture(ramp / 4 - 1, BYTES), to_bytes(ramp / 4 - 1))
    assert to_picture(np.full((1, 2), 3.0), None).tolist() == [[0, 0]]
    sampler = Sampler(steps=2)
    with pytest.raises(
        InputError, match=r"a PNG file holds bytes of .-1, 1., and these images are values from 0 to 8; give"
    ):
        sample_to_files(VALUES, sampler, [0, 1], None, tmp_path / "folder", device="cpu")
    sample_to_files(VALUES, sampler, [0, 1], None, tmp_path / "sheet.png", device="cpu")
    sample_to_files(VALUES, sampler, [0, 1, 2], None, tmp_path / "values.npy", device="cpu", batch=2)
    kept = np.load(tmp_path / "values.npy")
    assert np.array_equal(kept, harness.sample(load_denoiser(VALUES), sampler, range(3)).images.float().numpy())


def test_what_is_made_for_images_in_one_range_refuses_others(tmp_path):
    for metric in (DenoisingError(), RoundTripError(images="digits"), Detail()):
        assert metric.for_range(BYTES) is metric
        with pytest.raises(InputError, match=r"images 'digits' are in .-1, 1., and the denoiser's data are values"):
            metric.for_range((0.0, 8.0))
    assert DenoisingError(images="samples").for_range(None).images == "samples"
    job = SamplingJob(load_denoiser(VALUES), Sampler(steps=3), [0, 1])
    pictures = DenoisingError(images="samples").observe(job).sheets()["denoised"].images
    assert 0 < pictures.mean() < 255
    with pytest.raises(InputError, match=r"clip_denoised clips D to .-1, 1., and the denoiser's data are values"):
        harness.sample(job.denoiser, Sampler(steps=2, clip_denoised=True), [0])
