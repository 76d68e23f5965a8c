"""Checkpoints of improved-diffusion and guided-diffusion (`.pt`): a state dict, EMA or not, of an `OpenAIUNet`.

It is the whole file, or one level down in a dict.

Tensors keep their names; the architecture is read off their shapes. Shapes do not tell attention heads and their order,
the schedule and the size of images. The user's settings give them, else the published file with this architecture, else
the defaults of those programs; what the user did not give is listed as assumed.

Sources: Nichol & Dhariwal 2021 (arXiv 2102.09672); Dhariwal & Nichol 2021 (arXiv 2105.05233) and the flags in the
public documentation of both.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.checkpoints.state_dicts import StateDict

STAGE = re.compile(r"(input|output)_blocks\.([0-9]{1,4})\.([0-9]{1,4})\.")

UPSAMPLERS = (2, 6)
"""Channels in and out of an upsampler, grey or in colour: the image and a small one, the image and its variance."""


class Architecture(NamedTuple):
    """What the shapes say."""

    model_channels: int
    channel_mult: tuple[float, ...]
    num_blocks: int
    attn_levels: tuple[int, ...]
    label_dim: int
    resblock_updown: bool
    scale_shift: bool


class Flags(NamedTuple):
    """What they do not say; the defaults are those of the programs."""

    image_size: int = 64
    num_heads: int = 4
    num_head_channels: int = 0
    use_new_attention_order: bool = False
    noise_schedule: str = "linear"
    diffusion_steps: int = 1000
    rescale_timesteps: bool = False
    predict_xstart: bool = False


def _adm(channels: int, mult: tuple[float, ...], blocks: int, levels: tuple[int, ...], classes: int) -> Architecture:
    return Architecture(channels, mult, blocks, levels, classes, resblock_updown=True, scale_shift=True)


def _improved(channels: int, mult: tuple[float, ...], blocks: int, levels: tuple[int, ...], classes: int = 0) -> Any:
    return Architecture(channels, mult, blocks, levels, classes, resblock_updown=False, scale_shift=True)


_BIG = (1, 1, 2, 2, 4, 4)
PUBLISHED: dict[Architecture, tuple[str, Flags]] = {
    _adm(192, (1, 2, 3, 4), 3, (1, 2, 3), 1000): (
        "64x64_diffusion.pt",
        Flags(64, num_head_channels=64, use_new_attention_order=True, noise_schedule="cosine"),
    ),
    _adm(256, (1, 1, 2, 3, 4), 2, (2, 3, 4), 1000): ("128x128_diffusion.pt", Flags(128)),
    _adm(256, _BIG, 2, (3, 4, 5), 1000): ("256x256_diffusion.pt", Flags(256, num_head_channels=64)),
    _adm(256, _BIG, 2, (3, 4, 5), 0): (
        "256x256_diffusion_uncond.pt and the LSUN files",
        Flags(256, num_head_channels=64),
    ),
    _adm(256, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6), 1000): ("512x512_diffusion.pt", Flags(512, num_head_channels=64)),
    _improved(128, (1, 2, 3, 4), 3, (2, 3)): (
        "imagenet64_uncond_100M_1500K.pt",
        Flags(64, noise_schedule="cosine", diffusion_steps=4000, rescale_timesteps=True),
    ),
    _improved(128, (1, 2, 2, 2), 3, (1, 2)): (
        "cifar10_uncond_50M_500K.pt",
        Flags(32, noise_schedule="cosine", diffusion_steps=4000, rescale_timesteps=True),
    ),
    _improved(192, (1, 2, 3, 4), 3, (2, 3), 1000): (
        "imagenet64_cond_270M_250K.pt",
        Flags(64, noise_schedule="cosine", diffusion_steps=4000),
    ),
    _improved(128, _BIG, 2, (4,))._replace(scale_shift=False): (
        "lsun_uncond_100M_1200K_bs128.pt",
        Flags(256, num_heads=1),
    ),
}
"""Published files by their architecture, with the flags that they were published with."""


class OpenAICheckpoint(CheckpointFormat):
    """A state dict of guided- or improved-diffusion.

    Settings: the fields of `Flags`; `null_class` where there are classes; `weights` where there are several networks.
    """

    kind: Literal["openai-diffusion"] = "openai-diffusion"
    title: ClassVar[str] = "guided- and improved-diffusion (.pt)"

    def recognise(self, file: CheckpointFile) -> bool:
        return bool(_networks(file))

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        networks, where = _networks(file), str(file.path)
        key = settings.take_state_dict(networks)
        root = file.torch_object or {}
        others = [str(name)[:100] for name, value in root.items() if name != key and (key or not _is_tensor(value))]
        read = read_state_dict(networks[key], where, settings, others)
        return replace(read, format=f"{read.format}, its '{key}'") if key else read


def _networks(file: CheckpointFile) -> dict[str, StateDict]:
    """The state dicts in a file that are of this format."""
    firsts = ("time_embed.0.weight", "input_blocks.0.0.weight")
    return {key: found for key, found in file.state_dicts.items() if all(first in found for first in firsts)}


def _is_tensor(value: object) -> bool:
    return isinstance(value, LazyTensor)


def read_state_dict(
    tensors: Mapping[str, LazyTensor], where: str, settings: Settings, ignored: list[str]
) -> ReadCheckpoint:
    """Read such a state dict.

    Args:
        tensors: by name.
        where: what to call the file in errors.
        settings: the user's, fields of `Flags`.
        ignored: what else is in the file.

    Raises:
        InputError: an architecture that is not known here, or settings that do not go with it.
    """
    architecture, images, outputs = _architecture(tensors, where)
    name, flags = PUBLISHED.get(architecture, (None, Flags()))
    chosen = Flags(*(settings.take(key, default) for key, default in flags._asdict().items()))
    if chosen.noise_schedule not in ("linear", "cosine"):
        raise InputError(f"{where}: noise_schedule is linear or cosine; we got {chosen.noise_schedule!r}")
    if chosen.diffusion_steps < 2 or chosen.image_size < 1 or chosen.num_heads < 1:
        raise InputError(f"{where}: image_size and num_heads are 1 or more, diffusion_steps 2 or more; check --set")
    scale = 1000 / chosen.diffusion_steps
    arguments = {
        "img_resolution": chosen.image_size,
        "img_channels": images,
        "label_dim": architecture.label_dim,
        "beta_schedule": chosen.noise_schedule,
        "num_steps": chosen.diffusion_steps,
        "beta_start": scale * 0.0001,
        "beta_end": scale * 0.02,
        "time_scale": scale if chosen.rescale_timesteps else 1.0,
        "learn_sigma": outputs == 2 * images,
        "model_type": "OpenAIUNet",
        "model_channels": architecture.model_channels,
        "channel_mult": list(architecture.channel_mult),
        "num_blocks": architecture.num_blocks,
        "attn_levels": list(architecture.attn_levels),
        "num_heads": chosen.num_heads,
        "num_head_channels": max(chosen.num_head_channels, 0),  # -1 is how those programs say none
        "split_first": chosen.use_new_attention_order,
        "scale_shift": architecture.scale_shift,
        "resblock_updown": architecture.resblock_updown,
        **settings.take_null_class(architecture.label_dim, published=name is not None),
    }
    # without residual blocks that resample, both programs make the same network
    family = "guided-diffusion" if architecture.resblock_updown else "improved-diffusion"
    family = family if name or architecture.resblock_updown else "guided- or improved-diffusion"
    return ReadCheckpoint(
        format=f"{family} checkpoint",
        preconditioning="ddpm-x0" if chosen.predict_xstart else "ddpm",
        arguments=arguments,
        tensors={f"model.{key}": tensor for key, tensor in tensors.items()},
        facts={"architecture of": name} if name else {},
        assumed=settings.assumed,
        ignored=ignored,
    )


def _architecture(tensors: Mapping[str, LazyTensor], where: str) -> tuple[Architecture, int, int]:
    """The architecture, the channels of images, and those of the network's output."""

    def shape(name: str) -> tuple[int, ...]:
        sides = tensors[name].shape if name in tensors else ()
        if len(sides) < 2:
            raise InputError(
                f"{where}: tensor '{name}' is missing or no matrix; not a network of guided- or improved-diffusion"
            )
        return sides

    stages: dict[str, dict[int, set[int]]] = {"input": {}, "output": {}}
    for key in tensors:
        if match := STAGE.match(key):
            stages[match[1]].setdefault(int(match[2]), set()).add(int(match[3]))
    width = shape("time_embed.0.weight")[-1]
    last = {index: f"output_blocks.{index}.{max(parts)}." for index, parts in sorted(stages["output"].items())}
    ups = [
        prefix
        for prefix in last.values()
        if f"{prefix}conv.weight" in tensors or (f"{prefix}in_layers.0.weight" in tensors and prefix[-3:] != ".0.")
    ]
    levels = len(ups) + 1
    blocks, rest = divmod(len(last), levels)
    if width < 1 or rest or blocks < 2 or len(stages["input"]) != len(last) or levels > 16:
        raise InputError(
            f"{where}: {len(stages['input'])} and {len(last)} stages at {levels} levels do not make a U-Net of guided- "
            "or improved-diffusion"
        )
    firsts = [1 + level * blocks for level in range(levels)]  # the first residual block of every level
    widths = [shape(f"input_blocks.{first}.0.out_layers.3.weight")[0] for first in firsts]
    attention = [level for level, first in enumerate(firsts) if f"input_blocks.{first}.1.qkv.weight" in tensors]
    embedded = shape("input_blocks.1.0.emb_layers.1.weight")[0]
    mult = tuple(w // width if w % width == 0 else w / width for w in widths)
    images, outputs = shape("input_blocks.0.0.weight")[1], shape("out.2.weight")[0]
    if outputs not in (images, 2 * images) or (images == outputs and images in UPSAMPLERS):
        raise InputError(
            f"{where}: {images} channels in and {outputs} out: not a denoiser of images alone (an upsampler also takes "
            "a small image, which is not known here)"
        )
    classes = shape("label_emb.weight")[0] if "label_emb.weight" in tensors else 0
    architecture = Architecture(
        width,
        mult,
        blocks - 1,
        tuple(attention),
        classes,
        resblock_updown=any(f"{prefix}in_layers.0.weight" in tensors for prefix in ups),
        scale_shift=embedded == 2 * widths[0],
    )
    return architecture, images, outputs
