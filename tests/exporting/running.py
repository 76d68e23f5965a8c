"""What the tests of exports share: our sampler's images with the noise that it drew, and a network for other tools."""

from unittest import mock

import torch

import harness
from harness.sampling.brownian import Brownian
from harness.sampling.noise import Noise

SEEDS = range(3)


def sampler(**choices):
    return harness.Sampler.model_validate({"steps": 6, **choices})


def latents(denoiser):
    return Noise(SEEDS, denoiser.shape).latents().double()


def ours(denoiser, chosen, x=None):
    """Images, and the noises in the order in which the sampler drew them."""
    drawn, normal, increment = [], Noise.normal, Brownian.increment

    def keep(make):
        def made(*arguments, **options):
            drawn.append(make(*arguments, **options))
            return drawn[-1]

        return made

    labels = 0 if denoiser.label_dim else None
    with mock.patch.object(Noise, "normal", keep(normal)), mock.patch.object(Brownian, "increment", keep(increment)):
        return harness.sample(denoiser, chosen, SEEDS, labels, latents=x).images, drawn


def network(denoiser):
    """The denoiser as other tools call it: sigma a number, or a tensor of one level; D in the type of x."""

    def denoise(x, sigma, **_):
        level = torch.as_tensor(sigma, dtype=torch.float64).flatten()[0]
        labels = torch.eye(denoiser.label_dim)[[0] * len(x)] if denoiser.label_dim else None
        with torch.no_grad():
            return denoiser(x, level, labels).to(x.dtype)

    return denoise


def defined(text):
    """What a written Python text defines."""
    names = {}
    exec(compile(text, "exported", "exec"), names)
    return names


def gap(images, wanted):
    return (images.double() - wanted).abs().max().item()
