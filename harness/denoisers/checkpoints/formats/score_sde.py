"""Checkpoints of score_sde_pytorch (`.pth`): DDPM++ and NCSN++, as SongUNet with the same numbers.

The file holds the model, an optimizer, a counter and `ema`, the moving average of all parameters that learn, in the
order of the model; the average is what is wanted. It says nothing of its configuration, so the architecture is read
off the names and shapes: the parts of the network are one flat list, `all_modules.N`, in the order of execution.

| there                                   | here                                                          |
|-----------------------------------------|---------------------------------------------------------------|
| `ResnetBlockBigGANpp`                   | `UNetBlock`: GroupNorm_0 norm0, Conv_0 conv0, Dense_0 affine, GroupNorm_1 norm1, Conv_1 conv1, Conv_2 skip |
| `AttnBlockpp` after a block             | the block's own attention: GroupNorm_0 norm2, NIN_0..2 qkv, NIN_3 proj |
| `GaussianFourierProjection`             | `map_noise`; its W learns nothing, so it is in the model and not in the average |
| images in [0, 1], sigma of those (VE)   | images in [-1, 1]: sigma is twice as large                     |

Source: Song et al. 2021 (arXiv 2011.13456), app. H; Karras et al. 2022 (arXiv 2206.00364), app. C.1 and C.2.
"""  # noqa: E501

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings
from harness.denoisers.checkpoints.pickles.stored import LazyTensor

PART = re.compile(r"all_modules\.([0-9]{1,4})\.(.+)")
Part = dict[str, LazyTensor]
BLOCK = {"GroupNorm_0": "norm0", "Conv_0": "conv0", "Dense_0": "affine", "GroupNorm_1": "norm1", "Conv_1": "conv1"}
PUBLISHED_ATTENTION = 16  # pixels; every published configuration has it there


class ScoreSDECheckpoint(CheckpointFormat):
    """A checkpoint of score_sde_pytorch.

    Settings: image_size, fir, sigma_min, sigma_max, beta_min, beta_max.
    """

    kind: Literal["score-sde"] = "score-sde"
    title: ClassVar[str] = "score_sde_pytorch (.pth)"

    def recognise(self, file: CheckpointFile) -> bool:
        root = file.torch_object
        names = root.get("model") if isinstance(root, dict) else None
        return isinstance(names, dict) and "ema" in root and any("all_modules.0." in str(name) for name in names)

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        root, where = file.torch_object, str(file.path)
        weights, constants = _average(root, where)
        walk = _LayerWalk(_parts({**weights, **constants}, where), where)
        published = PUBLISHED_ATTENTION * 2 ** walk.attention[0] if walk.attention else 32
        size = settings.take("image_size", published)
        smooth = walk.encoder == "residual" or settings.take("fir", walk.fourier)
        network = {
            "model_type": "SongUNet",
            "model_channels": walk.channels,
            "channel_mult": walk.mult,
            "num_blocks": walk.blocks,
            "attn_resolutions": [size >> level for level in walk.attention],
            "embedding_type": "fourier" if walk.fourier else "positional",
            "channel_mult_noise": 2 if walk.fourier else 1,
            "encoder_type": walk.encoder,
            "decoder_type": walk.decoder,
            "resample_filter": [1, 3, 3, 1] if smooth else [1, 1],
        }
        own = _ve_range(constants, settings, where) if walk.fourier else _vp_betas(settings)
        process = "ve, continuous" if walk.fourier else "vp, continuous (not sub-vp)"
        return ReadCheckpoint(
            format="score_sde_pytorch checkpoint",
            preconditioning="ve" if walk.fourier else "vp",
            arguments={"img_resolution": size, "img_channels": walk.image_channels, **own, **network},
            tensors={f"model.{_at_resolution(name, size)}": tensor for name, tensor in walk.tensors.items()},
            facts={"training": {"step": root["step"]}} if isinstance(root.get("step"), int) else {},
            assumed={**settings.assumed, "process": process},
            ignored=["model (its moving average is used)", *(["optimizer"] if "optimizer" in root else [])],
        )


def _vp_betas(settings: Settings) -> dict[str, float]:
    low, high = settings.take("beta_min", 0.1), settings.take("beta_max", 20.0)
    return {"beta_d": high - low, "beta_min": low}


def _ve_range(constants: Mapping[str, LazyTensor], settings: Settings, where: str) -> dict[str, float]:
    """The noise range, from the model's table of levels: in units of [0, 1] there, of [-1, 1] here."""
    table = constants["sigmas"].read() if "sigmas" in constants else np.array([0.01, 50.0])
    if table.ndim != 1 or not len(table) or not np.isfinite(table).all() or table.min() <= 0:
        raise InputError(f"{where}: tensor 'sigmas' is no table of noise levels; damaged")
    low, high = (float(f"{edge:.6g}") for edge in (table.min(), table.max()))  # kept as float32: 50 is 50.000004
    return {
        "sigma_min": 2 * settings.take("sigma_min", low),
        "sigma_max": 2 * settings.take("sigma_max", high),
    }


def _at_resolution(name: str, size: int) -> str:
    """`enc.@1_block0.conv0.weight` with the resolution of the level in place of its number."""
    return re.sub(r"@(\d+)", lambda level: f"{size >> int(level[1])}x{size >> int(level[1])}", name)


def _average(root: dict[Any, Any], where: str) -> tuple[dict[str, LazyTensor], dict[str, LazyTensor]]:
    """The averaged parameters by name, and what does not learn."""
    model = {str(name).removeprefix("module."): tensor for name, tensor in root["model"].items()}
    shadow = root["ema"].get("shadow_params") if isinstance(root["ema"], dict) else None
    if not isinstance(shadow, list) or not all(isinstance(tensor, LazyTensor) for tensor in [*model.values(), *shadow]):
        raise InputError(f"{where}: its model or its 'ema' holds something else than tensors; damaged")
    fixed = {name for name, tensor in model.items() if name == "sigmas" or re.fullmatch(r"all_modules\.0\.W", name)}
    learn = [name for name in model if name not in fixed]
    if len(learn) != len(shadow):
        raise InputError(
            f"{where}: the model has {len(learn)} parameters that learn, its average {len(shadow)}; not known here"
        )
    for name, tensor in zip(learn, shadow, strict=True):
        if model[name].shape != tensor.shape:
            raise InputError(
                f"{where}: tensor '{name}': the model has {list(model[name].shape)}, its average {list(tensor.shape)}; "
                "the file contradicts itself"
            )
    return dict(zip(learn, shadow, strict=True)), {name: model[name] for name in fixed}


def _parts(weights: Mapping[str, LazyTensor], where: str) -> list[Part]:
    """The flat list of parts, each with its tensors by name; parts without weights are empty."""
    parts: dict[int, Part] = {}
    for name, tensor in weights.items():
        if match := PART.fullmatch(name):
            parts.setdefault(int(match[1]), {})[match[2]] = tensor
    if not parts:
        raise InputError(f"{where}: no list of parts 'all_modules.N'; not a network known here")
    return [parts.get(index, {}) for index in range(max(parts) + 1)]


class _LayerWalk:
    """Follows the flat list as the network executes it, and renames as it goes; `@2` stands for level 2."""

    def __init__(self, parts: list[Part], where: str) -> None:
        self.parts, self.where, self.at = parts, where, 0
        self.tensors: dict[str, LazyTensor] = {}
        self.mult: list[int] = []
        self.attention: list[int] = []
        self.encoder, self.decoder = "standard", "standard"
        self.fourier = "W" in self.peek()
        if self.fourier:
            self.tensors["map_noise.freqs"] = self.take("W")["W"]
        for name in ("map_layer0", "map_layer1", "enc.@0_conv"):
            self.plain(name)
        first = self.tensors["enc.@0_conv.weight"]
        if len(first.shape) != 4 or not all(first.shape):
            raise self.refuse("the first convolution is none")
        self.channels, self.image_channels = first.shape[:2]
        self.blocks = self.count_blocks()
        self.down()
        self.middle()
        self.up()
        if self.at != len(self.parts):
            raise self.refuse("more parts than the network has")

    def refuse(self, reason: str) -> InputError:
        return InputError(
            f"{self.where}: part all_modules.{self.at}: {reason}; of score_sde_pytorch, DDPM++ and NCSN++ with BigGAN "
            "blocks are known here"
        )

    def peek(self, ahead: int = 0) -> Part:
        return self.parts[self.at + ahead] if self.at + ahead < len(self.parts) else {}

    def take(self, *needs: str) -> Part:
        part = self.peek()
        missing = [name for name in needs if name not in part]
        if missing:
            raise self.refuse(f"'{missing[0]}' is missing")
        self.at += 1
        return part

    def plain(self, name: str, prefix: str = "") -> None:
        """A layer with weight and bias."""
        part = self.take(f"{prefix}weight", f"{prefix}bias")
        for end in ("weight", "bias"):
            self.tensors[f"{name}.{end}"] = part[f"{prefix}{end}"]

    def resamples(self) -> bool:
        """Whether the next part is a block that halves or doubles: it has a projection, and its width stays."""
        skip = self.peek().get("Conv_2.weight")
        return skip is not None and len(skip.shape) == 4 and skip.shape[0] == skip.shape[1]

    def count_blocks(self) -> int:
        """Blocks a level, from how many stand before the first that halves the resolution."""
        is_block = ["Conv_0.weight" in part and "Dense_0.weight" in part for part in self.parts]
        start, count = self.at, 0
        while self.peek() and not self.resamples():
            count += is_block[self.at]
            self.at += 1
        alone = self.at == len(self.parts)
        self.at = start
        return (sum(is_block) - 3) // 2 if alone else count

    def block(self, name: str) -> int:
        """A residual block; returns its width."""
        part = self.take(*(f"{there}.{end}" for there in BLOCK for end in ("weight", "bias")))
        for there, here in {**BLOCK, **({"Conv_2": "skip"} if "Conv_2.weight" in part else {})}.items():
            for end in ("weight", "bias"):
                self.tensors[f"{name}.{here}.{end}"] = part[f"{there}.{end}"]
        if len(part["Conv_0.weight"].shape) != 4:
            raise self.refuse("a convolution that is none")
        return part["Conv_0.weight"].shape[0]

    def attend(self, name: str) -> None:
        """Attention: three projections become one, in which query, key and value of a channel stand together."""
        part = self.take(*(f"NIN_{index}.{end}" for index in range(4) for end in ("W", "b")), "GroupNorm_0.weight")
        for end in ("weight", "bias"):
            self.tensors[f"{name}.norm2.{end}"] = part[f"GroupNorm_0.{end}"]
        width = part["NIN_3.b"].numel
        if any(
            part[f"NIN_{index}.W"].shape != (width, width) or part[f"NIN_{index}.b"].shape != (width,)
            for index in range(4)
        ):
            raise self.refuse("attention whose projections are not square")
        matrices, offsets = ([part[f"NIN_{index}.{end}"] for index in range(3)] for end in ("W", "b"))
        self.tensors[f"{name}.qkv.weight"] = LazyTensor(
            "F32", (3 * width, width, 1, 1), lambda: _interleaved([matrix.read().T for matrix in matrices], 2)
        )
        self.tensors[f"{name}.qkv.bias"] = LazyTensor(
            "F32", (3 * width,), lambda: _interleaved([offset.read() for offset in offsets], 0)
        )
        last = part["NIN_3.W"]
        self.tensors[f"{name}.proj.weight"] = last.derived((width, width, 1, 1), lambda w: w.T[:, :, None, None])
        self.tensors[f"{name}.proj.bias"] = part["NIN_3.b"]

    def down(self) -> None:
        level = 0
        while True:
            width = 0
            for index in range(self.blocks):
                width = self.block(f"enc.@{level}_block{index}")
                if "NIN_0.W" in self.peek():
                    self.attend(f"enc.@{level}_block{index}")
                    self.attention += [level] if index == 0 else []
            if width % self.channels:
                raise self.refuse(f"a width of {width} is no multiple of {self.channels}")
            self.mult.append(width // self.channels)
            if not self.resamples():
                return
            level += 1
            self.block(f"enc.@{level}_down")
            self.pyramid(level)

    def pyramid(self, level: int) -> None:
        """What feeds the image, made smaller, to a level."""
        if "Conv2d_0.weight" in self.peek():
            self.encoder = "residual"
            self.plain(f"enc.@{level}_aux_residual", "Conv2d_0.")
        elif set(self.peek()) == {"Conv_0.weight", "Conv_0.bias"}:
            self.encoder = "skip"
            self.plain(f"enc.@{level}_aux_skip", "Conv_0.")

    def middle(self) -> None:
        bottom = len(self.mult) - 1
        self.block(f"dec.@{bottom}_in0")
        self.attend(f"dec.@{bottom}_in0")
        self.block(f"dec.@{bottom}_in1")

    def up(self) -> None:
        for level in reversed(range(len(self.mult))):
            for index in range(self.blocks + 1):
                self.block(f"dec.@{level}_block{index}")
            if level in self.attention:
                self.attend(f"dec.@{level}_block{self.blocks}")
            if set(self.peek()) == {"weight", "bias"} and (level or self.decoder == "skip"):
                self.decoder = "skip"
                self.paint(level)
            if level:
                self.block(f"dec.@{level - 1}_up")
        if self.decoder == "standard":
            self.paint(0)

    def paint(self, level: int) -> None:
        """From activations to an image."""
        self.plain(f"dec.@{level}_aux_norm")
        self.plain(f"dec.@{level}_aux_conv")


def _interleaved(rows: list[np.ndarray], extra: int) -> np.ndarray:
    """Three arrays [C, ...] as [3 C, ...], taking from each in turn; `extra` sides of 1 are added."""
    joined = np.stack([row.astype(np.float32) for row in rows], axis=1).reshape(3 * len(rows[0]), *rows[0].shape[1:])
    return joined.reshape(*joined.shape, *(1,) * extra)
