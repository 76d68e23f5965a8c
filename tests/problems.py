"""Small denoisers with known answers, used by tests of the sampling core."""

import math

import torch


class Analytic:
    """Base of exact test denoisers: float64, no labels, any noise level."""

    label_dim, sigma_min, sigma_max, cost = 0, 0.0, math.inf, 1
    dtype, device = torch.float64, torch.device("cpu")

    def __init__(self, shape):
        self.shape = tuple(shape)
        self.sigma_calls, self.rows = [], []

    def __call__(self, x, sigma, labels=None):
        self.sigma_calls.append(float(sigma.reshape(-1)[0]))
        self.rows.append(len(x))
        return self.denoise(x, sigma.view(-1, 1, 1, 1))

    def round_sigma(self, sigma):
        return sigma


class Mixture(Analytic):
    """Gaussian mixture with one width: D = sum_k r_k (v x + sigma^2 mu_k) / (v + sigma^2)."""

    def __init__(self, means, weights, std):
        self.means, self.weights = torch.as_tensor(means), torch.as_tensor(weights)
        self.variance = float(std) ** 2
        super().__init__(self.means.shape[1:])

    def denoise(self, x, sigma):
        total = self.variance + sigma**2
        squares = (x[:, None] - self.means).square().flatten(2).sum(-1)
        logits = self.weights.log() - squares / (2 * total.view(-1, 1))
        mean = torch.einsum("bk,kchw->bchw", torch.softmax(logits, 1), self.means)
        return (self.variance * x + sigma**2 * mean) / total


class Gaussian(Analytic):
    """One Gaussian, elementwise: its ODE has the closed form of `solution`."""

    def __init__(self, mean, std, shape):
        super().__init__(shape)
        self.mean, self.variance = mean, std**2

    def denoise(self, x, sigma):
        return (self.variance * x + sigma**2 * self.mean) / (self.variance + sigma**2)

    def solution(self, x, sigma_from, sigma_to):
        """xbar at sigma_to on the trajectory through xbar = x at sigma_from."""
        ratio = (sigma_to**2 + self.variance) / (sigma_from**2 + self.variance)
        return self.mean + (x - self.mean) * ratio**0.5


class Diracs(Analytic):
    """Two points at -1 and +1: D = tanh(x / sigma^2)."""

    sigma_min, sigma_max = 0.002, 80.0

    def denoise(self, x, sigma):
        return torch.tanh(x / sigma**2)
