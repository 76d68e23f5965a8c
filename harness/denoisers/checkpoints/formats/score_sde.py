"""Checkpoints of score_sde_pytorch (`.pth`): DDPM++ and NCSN++, as SongUNet with the same numbers.

The file holds the model, an optimizer, a counter and `ema`, the moving average of all parameters that learn, in the
order of the model; the average is what is wanted. It says nothing of its configuration, so the architecture is read
off the names and shapes: the parts of the network are one flat list, `all_modules.N`, in the order of execution. What
the network was trained for is the user's to say, where its shapes leave it open:

| process       | the network's label             | D(x; sigma)                                               |
|---------------|---------------------------------|-----------------------------------------------------------|
| `vp`          | 999 t                           | `VPPrecond`                                               |
| `sub-vp`      | 999 t                           | `SubVPPrecond`                                            |
| `vp-discrete` | step k of N, 0 the least noise  | `DDPMPrecond`, beta from beta_min / N to beta_max / N     |
| `ve`          | ln sigma, by Fourier features   | `VEPrecond`                                               |
| `ve-discrete` | level i of N, 0 the most noise  | `DiscreteVEPrecond`                                       |

| there                                   | here                                                          |
|-----------------------------------------|---------------------------------------------------------------|
| `ResnetBlockBigGANpp`                   | `UNetBlock`: GroupNorm_0 norm0, Conv_0 conv0, Dense_0 affine, GroupNorm_1 norm1, Conv_1 conv1, Conv_2 skip |
| `AttnBlockpp` after a block             | the block's own attention: GroupNorm_0 norm2, NIN_0..2 qkv, NIN_3 proj |
| `GaussianFourierProjection`             | `map_noise`; its W learns nothing, so it is in the model and not in the average |
| images in [0, 1], sigma of those (VE)   | images in [-1, 1]: sigma is twice as large                     |

Source: Song et al. 2021 (arXiv 2011.13456), app. H; Karras et al. 2022 (arXiv 2206.00364), app. C.1 and C.2.
"""  # noqa: E501

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.checkpoints.state_dicts import StateDict

PART = re.compile(r"all_modules\.([0-9]{1,4})\.(.+)")
Part = dict[str, LazyTensor]
BLOCK = {"GroupNorm_0": "norm0", "Conv_0": "conv0", "Dense_0": "affine", "GroupNorm_1": "norm1", "Conv_1": "conv1"}
PUBLISHED_ATTENTION = 16  # pixels; every published configuration has it there


class ScoreSDECheckpoint(CheckpointFormat):
    """A checkpoint of score_sde_pytorch.

    Settings: image_size, process, fir, sigma_min, sigma_max, beta_min, beta_max, num_scales, weights.
    """

    kind: Literal["score-sde"] = "score-sde"
    title: ClassVar[str] = "score_sde_pytorch (.pth)"

    def recognise(self, file: CheckpointFile) -> bool:
        return bool(_networks(file))

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        root, where = file.torch_object or {}, str(file.path)
        format = "score_sde_pytorch checkpoint"
        if "ema" in root and "model" in root and "ema" not in file.state_dicts:
            weights, constants = _average(root, where)
            ignored = ["model (its moving average is used)"]
        else:
            networks = _networks(file)
            key = settings.take_state_dict(networks)
            constants = {name: tensor for name, tensor in networks[key].items() if _is_fixed(name)}
            weights = {name: tensor for name, tensor in networks[key].items() if name not in constants}
            ignored = [other for other in networks if other != key]
            format = f"{format}, its '{key}'" if key else format
        walk = _LayerWalk(_parts({**weights, **constants}, where), where)
        process = _process(walk, settings)
        published = PUBLISHED_ATTENTION * 2 ** walk.attention[0] if walk.attention else 32
        size = settings.take("image_size", published)
        smooth = walk.encoder == "residual" or settings.take("fir", process in ("ve", "ve-discrete"))
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
        kind, own = PROCESSES[process or "vp"](_table(constants, where), settings)
        return ReadCheckpoint(
            format=format,
            preconditioning=kind,
            arguments={"img_resolution": size, "img_channels": walk.image_channels, **own, **network},
            tensors={f"model.{_at_resolution(name, size)}": tensor for name, tensor in walk.tensors.items()},
            facts={"training": {"step": root["step"]}} if isinstance(root.get("step"), int) else {},
            assumed=settings.assumed,
            ignored=[*ignored, *(["optimizer"] if "optimizer" in root else [])],
            not_yet=None if process else AMBIGUOUS,
        )


class Levels(NamedTuple):
    """The model's table of noise levels, in units of images in [0, 1].

    Attributes:
        low, high, steps: its ends, and how many there are.
        stated: whether the file has it.
        geometric: whether it falls by the same factor at every step.
    """

    low: float
    high: float
    steps: int
    stated: bool
    geometric: bool = True


def _table(constants: Mapping[str, LazyTensor], where: str) -> Levels:
    if "sigmas" not in constants:
        return Levels(0.01, 50.0, 1000, stated=False)
    table = constants["sigmas"].read()
    if table.ndim != 1 or not len(table) or not np.isfinite(table).all() or table.min() <= 0:
        raise InputError(f"{where}: tensor 'sigmas' is no table of noise levels; damaged")
    low, high = (float(f"{edge:.6g}") for edge in (table.min(), table.max()))  # kept as float32: 50 is 50.000004
    return Levels(low, high, len(table), True, np.allclose(table, np.geomspace(high, low, len(table)), rtol=1e-4))


Process = tuple[str, dict[str, Any]]
"""Kind of the preconditioning, and its own arguments."""


def _vp(table: Levels, settings: Settings, kind: str = "vp") -> Process:
    low, high = settings.take("beta_min", 0.1), settings.take("beta_max", 20.0)
    return kind, {"beta_d": high - low, "beta_min": low}


def _sub_vp(table: Levels, settings: Settings) -> Process:
    return _vp(table, settings, "sub-vp")


def _vp_discrete(table: Levels, settings: Settings) -> Process:
    """DDPM's linear betas; the schedule has as many steps as the table, whether or not that is used."""
    steps = settings.take("num_scales", table.steps, table.stated)
    low, high = settings.take("beta_min", 0.1), settings.take("beta_max", 20.0)
    schedule = {"beta_schedule": "linear", "num_steps": steps, "beta_start": low / steps, "beta_end": high / steps}
    return "ddpm", schedule


def _ve(table: Levels, settings: Settings) -> Process:
    """The noise range: in units of [0, 1] there, of [-1, 1] here."""
    return "ve", {
        "sigma_min": 2 * settings.take("sigma_min", table.low, table.stated),
        "sigma_max": 2 * settings.take("sigma_max", table.high, table.stated),
    }


def _ve_discrete(table: Levels, settings: Settings) -> Process:
    if not table.geometric:
        raise InputError(f"{settings.where}: tensor 'sigmas' is no falling geometric series; not known here")
    _, ends = _ve(table, settings)
    return "ve-discrete", {**ends, "M": settings.take("num_scales", table.steps, table.stated)}


PROCESSES: dict[str, Callable[[Levels, Settings], Process]] = {
    "vp": _vp,
    "vp-discrete": _vp_discrete,
    "sub-vp": _sub_vp,
    "ve": _ve,
    "ve-discrete": _ve_discrete,
}
"""What the network was trained for, by the word for --set process."""

AMBIGUOUS = (
    "NCSN++ without Fourier features is the same network for VP, sub-VP and VE of discrete levels, and the file does "
    "not say which; give --set process=vp, vp-discrete, sub-vp or ve-discrete"
)


def _process(walk: "_LayerWalk", settings: Settings) -> str | None:
    """The process, a key of PROCESSES; None if the user has to say it.

    Fourier features are of VE in continuous time. DDPM++ is taken for VP in continuous time, the most usual of three.
    """
    if walk.fourier:
        return settings.take_word("process", ("ve",), "ve")
    words = [word for word in PROCESSES if word != "ve"]
    if walk.encoder != "standard" and "process" not in settings.given:
        settings.take("process", "vp", stated=True)
        return None
    word = settings.take_word("process", [*words, "ve"], "vp")
    return "ve-discrete" if word == "ve" else word  # with a positional embedding VE is told the index of a level


def _networks(file: CheckpointFile) -> dict[str, StateDict]:
    """The state dicts in a file that are of this format."""
    return {key: found for key, found in file.state_dicts.items() if any(PART.match(name) for name in found)}


def _is_fixed(name: str) -> bool:
    """Whether a tensor does not learn: the levels, and the frequencies of Fourier features."""
    return name in ("sigmas", "all_modules.0.W")


def _at_resolution(name: str, size: int) -> str:
    """`enc.@1_block0.conv0.weight` with the resolution of the level in place of its number."""
    return re.sub(r"@(\d+)", lambda level: f"{size >> int(level[1])}x{size >> int(level[1])}", name)


def _average(root: dict[Any, Any], where: str) -> tuple[dict[str, LazyTensor], dict[str, LazyTensor]]:
    """The averaged parameters by name, and what does not learn."""
    model = {str(name).removeprefix("module."): tensor for name, tensor in root["model"].items()}
    shadow = root["ema"].get("shadow_params") if isinstance(root["ema"], dict) else None
    if not isinstance(shadow, list) or not all(isinstance(tensor, LazyTensor) for tensor in [*model.values(), *shadow]):
        raise InputError(f"{where}: its model or its 'ema' holds something else than tensors; damaged")
    fixed = {name for name in model if _is_fixed(name)}
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
