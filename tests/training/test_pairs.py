"""Every mix of preconditioning, noise distribution and weight trains, or is refused by name."""

import itertools

import pytest

from harness.core.errors import InputError
from harness.training.loop import train
from harness.training.networks import TRAINABLE
from harness.training.noise_distributions import NOISE_DISTRIBUTIONS
from harness.training.recipe import DenoiserRecipe
from harness.training.weights import LOSS_WEIGHTS

FORMULAS = {
    "kind": "expression",
    "c_skip": "sigma_data/(sigma + sigma_data)",
    "c_out": "sigma/sqrt(sigma**2 + 1)",
    "c_in": "1/sqrt(sigma**2 + sigma_data**2)",
    "c_noise": "log(sigma)/4",
}
PRECONDITIONINGS = [FORMULAS if kind == "expression" else kind for kind in TRAINABLE.kinds]
NOISES = [*NOISE_DISTRIBUTIONS.kinds, "flow"]
WEIGHTS = [*LOSS_WEIGHTS.kinds, "constant"]
PAIRS = list(itertools.product(PRECONDITIONINGS, NOISES, WEIGHTS))


def recipe(preconditioning, noise, weight, steps):
    return DenoiserRecipe.model_validate(
        {
            "name": "pair",
            "preconditioning": preconditioning,
            "noise": noise,
            "weight": weight,
            "network": {"kind": "SongUNet", "model_channels": 4, "channel_mult": [1], "attn_resolutions": []},
            "batch": 4,
            "images": 4 * steps,
            "optimizer": {"kind": "adam", "lr": 1e-4, "clip": 1.0},
        },
        strict=False,
    )


def named(pair):
    return "-".join(part if isinstance(part, str) else part["kind"] for part in pair)


def losses(pair, steps, folder):
    seen = []
    train(recipe(*pair, steps), folder, work=folder, progress=seen.append)
    return seen


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_every_mix_trains(pair, tmp_path):
    seen = losses(pair, 2, tmp_path)
    assert seen[-1].step == 2 and all(at.loss > 0 for at in seen)


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_every_mix_trains_fifty_steps(pair, tmp_path):
    assert losses(pair, 50, tmp_path)[-1].step == 50


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("vp", {"kind": "log_uniform", "sigma_max": 1e25}, "snr"), "noise 'log_uniform' .* c_noise is inf .*'vp'"),
        (("edm", {"kind": "log_uniform", "sigma_min": 1e-30}, "snr"), "where weight is inf .*weight 'power'"),
        ((FORMULAS | {"c_out": "0"}, "edm", "snr"), "c_out"),
        ((FORMULAS | {"c_in": "log(sigma - 0.1)"}, "edm", "snr"), "c_in"),
    ],
)
def test_what_cannot_train_is_refused_by_name(pair, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(recipe(*pair, 3), tmp_path, work=tmp_path)
