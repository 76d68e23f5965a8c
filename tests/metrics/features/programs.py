"""Small programs that stand in for published feature networks."""

import hashlib
import io
import warnings

import torch
from torch import Tensor, nn


class Official(nn.Module):
    """The call signature of the official TorchScript file: bytes in, features or class probabilities out."""

    def __init__(self, width: int = 24, classes: int = 1008, size: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.size = size
        self.weight = nn.Parameter(torch.randn(width, 3 * size * size, generator=generator) / 8)
        self.head = nn.Parameter(torch.randn(classes, width, generator=generator))
        self.bias = nn.Parameter(torch.randn(classes, generator=generator))

    def forward(
        self, img: Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        values = (img.to(torch.float32) - 128) / 128
        small = torch.nn.functional.adaptive_avg_pool2d(values, [self.size, self.size])
        features = torch.tanh(small.flatten(1) @ self.weight.t())
        if return_features:
            return features
        logits = features @ self.head.t()
        if not no_output_bias:
            logits = logits + self.bias
        return torch.softmax(logits, 1)


class Plain(nn.Module):
    """One tensor in, features of two axes more out."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x.to(torch.float32), 4)


def script(module, path):
    """Write a module as TorchScript; returns the file's SHA-256."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(module.eval()), buffer)
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def export(module, path, channels=3, side=8):
    """Write a module as a program of torch.export for any number of images; returns the file's SHA-256."""
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module.eval(), (torch.zeros(4, channels, side, side),), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()
