"""Sampling functions with the names and arguments of k-diffusion's, written from the published formulas.

x is image + sigma noise, model(x, sigma [B]) the denoised image, and sigmas end in 0 or above. `noise(high, low)` gives
unit normals. They stand in for k-diffusion and for ComfyUI's copy of it, which are not installed.
"""

import math
from itertools import pairwise

import torch


def levels(sigmas):
    return list(pairwise(sigmas))


class Model:
    """The model with a level for every sample, and the slope d x / d sigma = (x - D) / sigma."""

    def __init__(self, model, x):
        self.model, self.rows = model, x.new_ones([len(x)])

    def __call__(self, x, sigma):
        return self.model(x, sigma * self.rows)

    def slope(self, x, sigma):
        return (x - self(x, sigma)) / sigma


def default_noise(x):
    return lambda high, low: torch.randn_like(x)


def churned(x, sigma, count, noise, s_churn, s_tmin, s_tmax, s_noise):
    """Karras et al. 2022, Algorithm 2, lines 4 to 6."""
    gamma = min(s_churn / count, math.sqrt(2) - 1) if s_tmin <= sigma <= s_tmax else 0.0
    raised = sigma * (1 + gamma)
    if gamma > 0:
        x = x + s_noise * (raised**2 - sigma**2).sqrt() * noise(raised, sigma)
    return x, raised


def churning(step):
    def function(model, x, sigmas, s_churn=0.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0, noise_sampler=None):
        model, noise = Model(model, x), noise_sampler or default_noise(x)
        for sigma, following in levels(sigmas):
            x, raised = churned(x, sigma, len(sigmas) - 1, noise, s_churn, s_tmin, s_tmax, s_noise)
            x = step(model, x, raised, following)
        return x

    return function


def euler_step(model, x, sigma, following):
    return x + (following - sigma) * model.slope(x, sigma)


def heun_step(model, x, sigma, following):
    first = model.slope(x, sigma)
    there = x + (following - sigma) * first
    if following == 0:
        return there
    return x + (following - sigma) * (first + model.slope(there, following)) / 2


def dpm_2_step(model, x, sigma, following):
    first = model.slope(x, sigma)
    if following == 0:
        return x - sigma * first
    middle = (sigma * following).sqrt()
    return x + (following - sigma) * model.slope(x + (middle - sigma) * first, middle)


def dpmpp_2s_step(model, x, sigma, following):
    denoised = model(x, sigma)
    if following == 0:
        return denoised
    middle = (sigma * following).sqrt()
    there = model(denoised + middle / sigma * (x - denoised), middle)
    return following / sigma * x + (1 - following / sigma) * there


sample_euler, sample_heun, sample_dpm_2 = churning(euler_step), churning(heun_step), churning(dpm_2_step)


def down_and_up(sigma, following, eta):
    up = min(following, eta * following * (1 - (following / sigma) ** 2).sqrt())
    return (following**2 - up**2).sqrt(), up


def ancestral(step):
    def function(model, x, sigmas, eta=1.0, s_noise=1.0, noise_sampler=None):
        model, noise = Model(model, x), noise_sampler or default_noise(x)
        for sigma, following in levels(sigmas):
            down, up = down_and_up(sigma, following, eta)
            x = step(model, x, sigma, down)
            if following > 0:
                x = x + s_noise * up * noise(sigma, following)
        return x

    return function


sample_euler_ancestral = ancestral(euler_step)
sample_dpm_2_ancestral = ancestral(dpm_2_step)
sample_dpmpp_2s_ancestral = ancestral(dpmpp_2s_step)


def sample_dpmpp_sde(model, x, sigmas, eta=1.0, s_noise=1.0, noise_sampler=None, r=0.5):
    model, noise = Model(model, x), noise_sampler or default_noise(x)
    for sigma, following in levels(sigmas):
        denoised = model(x, sigma)
        if following == 0:
            return denoised

        def towards(target, image, sigma=sigma, x=x):
            down, up = down_and_up(sigma, target, eta)
            return image + down / sigma * (x - image) + s_noise * up * noise(sigma, target)

        middle = sigma ** (1 - r) * following**r
        there = model(towards(middle, denoised), middle)
        x = towards(following, denoised + (there - denoised) / (2 * r))
    return x


def sample_dpmpp_2m(model, x, sigmas):
    return sample_dpmpp_2m_sde(model, x, sigmas, eta=0.0)


def sample_dpmpp_2m_sde(model, x, sigmas, eta=1.0, s_noise=1.0, noise_sampler=None, solver_type="midpoint"):
    return multistep_sde(model, x, sigmas, eta, s_noise, noise_sampler, 2, solver_type)


def sample_dpmpp_3m_sde(model, x, sigmas, eta=1.0, s_noise=1.0, noise_sampler=None):
    return multistep_sde(model, x, sigmas, eta, s_noise, noise_sampler, 3, "heun")


def multistep_sde(model, x, sigmas, eta, s_noise, noise_sampler, order, form):
    """Lu et al. 2022 (arXiv 2211.01095), with eta: phi-functions of (1 + eta) h."""
    model, noise = Model(model, x), noise_sampler or default_noise(x)
    past, steps = [], []
    for sigma, following in levels(sigmas):
        denoised = model(x, sigma)
        if following == 0:
            return denoised
        h = (sigma / following).log()
        k = (1 + eta) * h
        phi = [1 - (-k).exp()]
        phi.append(1 - phi[0] / k)
        phi.append(0.5 - phi[1] / k)
        new = (-k).exp() * x + phi[0] * denoised
        slopes = [(a - b) * h / own for a, b, own in zip([denoised, *past], past, steps, strict=False)]
        if len(slopes) >= 2 and order == 3:
            r0, r1 = steps[0] / h, steps[1] / h
            second = (slopes[0] - slopes[1]) / (r0 + r1)
            new = new + phi[1] * (slopes[0] + r0 * second) + phi[2] * second
        elif slopes:
            new = new + (phi[0] / 2 if form == "midpoint" else phi[1]) * slopes[0]
        if eta:
            new = new + s_noise * following * (1 - (-2 * eta * h).exp()).sqrt() * noise(sigma, following)
        x, past, steps = new, [denoised, *past], [h, *steps]
    return x


def sample_lms(model, x, sigmas, order=4):
    """As in ComfyUI, which lands on the denoised image: the polynomial through past slopes, integrated exactly."""
    model, slopes, nodes = Model(model, x), [], []
    for sigma, following in levels(sigmas):
        slopes, nodes = [model.slope(x, sigma), *slopes][:order], [sigma.item(), *nodes][:order]
        if following == 0:
            return x - sigma * slopes[0]
        powers = torch.tensor([[(node / nodes[0]) ** p for node in nodes] for p in range(len(nodes))]).double()
        ends = (following.item() / nodes[0], 1.0)
        moments = torch.tensor([(ends[0] ** (p + 1) - 1) / (p + 1) for p in range(len(nodes))]).double() * nodes[0]
        weights = torch.linalg.solve(powers, moments).tolist()
        x = x + sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))
    return x


def sample_ipndm(model, x, sigmas, max_order=4):
    """Liu et al. 2022 (arXiv 2202.09778): Adams and Bashforth's weights of equal steps."""
    model, slopes = Model(model, x), []
    table = ([1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24])
    for sigma, following in levels(sigmas):
        slopes = [model.slope(x, sigma), *slopes][:max_order]
        if following == 0:
            return x - sigma * slopes[0]
        x = x + (following - sigma) * sum(w * d for w, d in zip(table[len(slopes) - 1], slopes, strict=True))
    return x
