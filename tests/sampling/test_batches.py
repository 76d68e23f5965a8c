"""No sample depends on the others: the same seeds give the same images in any batch, chunk or order."""

import pytest
import torch

from harness.core.errors import InputError, SamplingError
from harness.sampling.sample import sample
from harness.sampling.sampler import Sampler
from harness.sampling.solvers import SOLVERS
from tests.conftest import golden
from tests.denoisers.nets import build
from tests.problems import Analytic, Diracs, Gaussian, Mixture

SEEDS = range(64)
STOCHASTIC = Sampler.model_validate({"stochasticity": {"kind": "churn", "S_churn": 4}, "steps": 6})
BATCHES = (1, 7, 64)


def images_by_batch(denoiser, labels=None):
    return [sample(denoiser, STOCHASTIC, SEEDS, labels=labels, batch=batch).images for batch in BATCHES]


SAMPLERS = [
    *({"solver": member().kind} for member in SOLVERS.members),
    *({"stochasticity": kind} for kind in ("ancestral", "langevin")),
    {"stochasticity": {"kind": "langevin", "step": "norms"}},
    {"stochasticity": {"kind": "restart", "intervals": {"t_min": 0.1, "t_max": 2.0}}},
    {"solver": "lms", "stochasticity": "ancestral"},
    {"solver": "euler", "afs": True},
]


@pytest.mark.parametrize("fields", SAMPLERS, ids=str)
def test_every_solver_and_stochasticity_leaves_samples_alone(fields):
    """Seeds in any grouping and order: the same states and, where steps are adaptive, the same evaluations."""
    denoiser, sampler = Gaussian(0.2, 0.5, (1, 4, 4)), Sampler.model_validate({"steps": 6, **fields})
    together = sample(denoiser, sampler, range(12), batch=12)
    apart = [sample(denoiser, sampler, seeds, batch=3) for seeds in ([11, 0], [5], range(6, 11), [4, 3, 2, 1])]
    order = [11, 0, 5, *range(6, 11), 4, 3, 2, 1]
    assert torch.equal(torch.cat([out.nfe for out in apart]), together.nfe[order])
    difference = (torch.cat([out.images for out in apart]) - together.images[order]).abs().max()
    assert difference <= (1e-12 if sampler.solver.adaptive else 0) * together.images.abs().max()


@pytest.mark.parametrize("denoiser", [Gaussian(0.2, 0.5, (1, 4, 4)), Diracs((1, 3, 3))], ids=["gaussian", "diracs"])
def test_elementwise_denoisers_are_bitwise_equal(denoiser):
    one, seven, all_at_once = images_by_batch(denoiser)
    assert torch.equal(one, seven)
    assert torch.equal(one, all_at_once)


def test_mixtures_agree_to_rounding():
    arrays = golden("sampler_deterministic").arrays
    mixture = Mixture(arrays["means"], arrays["weights"], arrays["std"])
    one, seven, all_at_once = images_by_batch(mixture)
    scale = one.abs().max()
    assert (one - seven).abs().max() / scale < 1e-12
    assert (one - all_at_once).abs().max() / scale < 1e-12


def test_networks_agree_at_another_shape_and_are_equal_at_one():
    network = build("edm_ddpmpp_cond_aug")
    one, seven, all_at_once = images_by_batch(network)
    for other in (seven, all_at_once):
        assert (one - other).abs().max() / one.abs().max() < 1e-5
    alone = sample(network, STOCHASTIC, [11], batch=7).images
    assert torch.equal(alone[0], seven[11])
    shuffled = sample(network, STOCHASTIC, [40, 11, 3], batch=7).images
    assert torch.equal(shuffled[1], seven[11])


def test_every_call_has_one_shape():
    denoiser = Gaussian(0.0, 0.5, (1, 2, 2))
    out = sample(denoiser, Sampler(steps=3), range(10), batch=4)
    assert set(denoiser.rows) == {4}
    assert out.calls == 3 * 5
    assert out.nfe.tolist() == [5] * 10


def test_repeated_seeds_give_repeated_images():
    out = sample(Gaussian(0.0, 0.5, (1, 2, 2)), STOCHASTIC, [5, 5])
    assert torch.equal(out.images[0], out.images[1])


class Labelled(Analytic):
    label_dim = 3

    def __call__(self, x, sigma, labels=None):
        self.labels = labels
        return torch.zeros_like(x)


def test_labels():
    denoiser = Labelled((1, 2, 2))

    def given(labels):
        sample(denoiser, Sampler(steps=1), range(4), labels=labels)
        return denoiser.labels if denoiser.labels is None else denoiser.labels.argmax(1).tolist()

    assert given(2) == [2, 2, 2, 2]
    assert given([0, 1, 2, 1]) == [0, 1, 2, 1]
    assert given(torch.eye(3)[[1, 1, 0, 2]]) == [1, 1, 0, 2]
    assert given("unconditional") is None
    assert given(None) == given(None)
    assert len(set(given(None))) > 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [(3, "0 to 2"), ([0, 1], "4 ints"), (torch.zeros(4, 2), "one-hot"), ([-1, 0, 0, 0], "0 to 2")],
    ids=["class", "count", "width", "negative"],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(InputError, match=message):
        sample(Labelled((1, 2, 2)), Sampler(steps=1), range(4), labels=labels)


def test_labels_for_a_denoiser_without_classes():
    with pytest.raises(InputError, match="no classes"):
        sample(Gaussian(0.0, 0.5, (1, 2, 2)), Sampler(steps=1), [0], labels=0)


@pytest.mark.parametrize("denoiser", [Labelled((1, 2, 2)), Gaussian(0.0, 0.5, (1, 2, 2))], ids=["classes", "none"])
def test_unknown_words_are_refused(denoiser):
    with pytest.raises(InputError, match="can only be 'unconditional'; we got 'cat'"):
        sample(denoiser, Sampler(steps=1), [0], labels="cat")


def test_forcing_a_class_keeps_the_noise():
    denoiser = Labelled((1, 2, 2))
    free = sample(denoiser, STOCHASTIC, [3]).images
    forced = sample(denoiser, STOCHASTIC, [3], labels=1).images
    assert torch.equal(free, forced)


def test_bad_seeds_and_latents():
    denoiser = Gaussian(0.0, 0.5, (1, 2, 2))
    with pytest.raises(InputError, match="at least one seed"):
        sample(denoiser, Sampler(), [])
    with pytest.raises(InputError, match="from 0 to 4294967295; we got -1"):
        sample(denoiser, Sampler(), [-1])
    with pytest.raises(InputError, match="latents must have shape"):
        sample(denoiser, Sampler(), [0], latents=torch.zeros(1, 1, 3, 3))


class Breaks(Analytic):
    """NaN below sigma 1."""

    def denoise(self, x, sigma):
        return torch.where(sigma > 1, x / 2, torch.nan)


def test_a_state_that_is_not_finite_names_its_step():
    with pytest.raises(SamplingError, match="not finite") as caught:
        sample(Breaks((1, 2, 2)), Sampler.model_validate({"solver": "euler", "steps": 18}), range(3))
    sigmas = Sampler().sigmas(Breaks((1, 2, 2)))
    assert caught.value.step == int((sigmas > 1).sum())


def test_inputs_are_left_alone():
    latents = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    before = latents.clone()
    sample(Gaussian(0.0, 0.5, (1, 2, 2)), STOCHASTIC, range(3), latents=latents)
    assert torch.equal(latents, before)
