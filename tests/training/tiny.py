"""A recipe that trains in a tenth of a second, for tests."""

from pathlib import Path

from harness.training.averages import HalfLifeEMA
from harness.training.loop import train
from harness.training.networks import SongUNetConfig
from harness.training.recipe import Adam, DenoiserRecipe

TINY = DenoiserRecipe(
    name="tiny",
    preconditioning="edm",
    network=SongUNetConfig(model_channels=4, channel_mult=(1, 2), dropout=0.2),
    loss={"kind": "edm"},
    batch=4,
    images=48,
    optimizer=Adam(lr=1e-2, ramp_images=16, decay_fraction=0.5, clip=1.0),
    ema=HalfLifeEMA(halflife_images=12.0),
)


RECIPES = Path(__file__).parents[2] / "pretrained" / "recipes"


def changed(**fields):
    return DenoiserRecipe.model_validate(TINY.model_dump() | fields)


def first_losses(recipe, folder, steps, **options):
    seen = []
    train(recipe, folder, work=folder, progress=seen.append, stop_after=steps, **options)
    return seen
