"""Feature extractors by metric, each with an identity that every stored number carries.

The identity is known from the card alone, so that planning and reporting load no network.
"""

from typing import TYPE_CHECKING, NamedTuple

from harness.denoisers.cards import checked_path, features_card
from harness.errors import InputError

if TYPE_CHECKING:
    import torch

    from harness.datasets.reference import Extractor


class Metric(NamedTuple):
    """A metric's parts: its title, the card of its feature network, and the data set it measures against."""

    title: str
    card: str
    dataset: str


METRICS = {"fd-digits": Metric("FD-digits", "digits-features", "digits")}


def metric(name: str) -> Metric:
    """A metric by name.

    Raises:
        InputError: unknown; with the names there are.
    """
    if name not in METRICS:
        raise InputError(f"unknown metric '{name}'; known: {', '.join(METRICS)}")
    return METRICS[name]


def extractor_id(name: str) -> str:
    """Identity of a metric's extractor, from its card: network, weights, layer."""
    chosen = metric(name)
    card = features_card(chosen.card)
    return f"{chosen.card}:{(card.sha256 or '')[:12]}:tanh{card.width}"


def load_extractor(name: str, device: "str | torch.device" = "cpu") -> "Extractor":
    """A metric's extractor, its weights checked against the card."""
    from harness.metrics.digit_features import load_digit_features

    card = metric(name).card
    return load_digit_features(checked_path(card, features_card(card)), device)
