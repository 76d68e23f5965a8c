"""From the choice of an extractor to the extractor, its weights checked."""

from pathlib import Path
from typing import TYPE_CHECKING

from harness.hub.cards import checked_path, features_card, load_cards
from harness.metrics.features import choices

if TYPE_CHECKING:
    import torch

    from harness.metrics.features.extractor import Extractor

Shape = tuple[int, int, int]


def load_extractor(choice: choices.AnyExtractor, shape: Shape, device: "str | torch.device" = "cpu") -> "Extractor":
    """The extractor, ready for images of a shape.

    Args:
        choice: which.
        shape: [C, H, W] of the images that it will see.
        device: where it is to compute.

    Raises:
        InputError: weights that are missing or are not the right ones, a program that nobody vouches for, or a size
            that does not suit the images.
    """
    match choice:
        case choices.DigitsFeatures():
            from harness.metrics.features.digits import load_digit_features

            return load_digit_features(checked_path("digits-features", features_card("digits-features")), device)
        case choices.Inception():
            return _inception(choice, device)
        case choices.InceptionPT():
            from harness.denoisers.checkpoints.pickles.torch_file import read_torch_file
            from harness.metrics.features.inception import InceptionFeatures, inception_of

            root = read_torch_file(choice.file).root
            return InceptionFeatures(inception_of(root, str(choice.file)), choice.identity, device)
        case choices.DinoV2():
            from harness.metrics.features.dinov2 import load_dinov2

            return load_dinov2(Path(choice.path), choice.identity, device)
        case choices.Pixels():
            from harness.metrics.features.pixels import PixelFeatures

            return PixelFeatures(choice.identity, shape, choice.size, device)
        case choices.TorchScript() | choices.Exported():
            return _anybodys(choice, shape, device)


def _inception(choice: choices.Inception, device: "str | torch.device") -> "Extractor":
    from harness.metrics.features.programs import OfficialInception, load_torchscript

    if own := choice.program:
        network = load_torchscript(Path(own.path), own.trusted, device)
    else:
        card = load_cards()[choice.CARD]
        network = load_torchscript(checked_path(choice.CARD, card), card.sha256 or "", device)
    return OfficialInception(network, choice.identity, choice.width, device)


def _anybodys(
    choice: choices.TorchScript | choices.Exported, shape: Shape, device: "str | torch.device"
) -> "Extractor":
    from harness.metrics.features.programs import ProgramFeatures, load_exported, load_torchscript

    load = load_torchscript if isinstance(choice, choices.TorchScript) else load_exported
    network = load(Path(choice.path), choice.trusted, device)
    return ProgramFeatures(network, choice.identity, choice.values, choice.width, shape, choice.channels, device)
