"""Folders of the diffusers library: a UNet2DModel with its config.json, and the scheduler that says what it predicts.

    FOLDER/model_index.json                                           a pipeline
    FOLDER/unet/config.json, diffusion_pytorch_model.safetensors
    FOLDER/scheduler/scheduler_config.json
    FOLDER/config.json, diffusion_pytorch_model.safetensors           or the network alone, such as `unet` of a pipeline

The scheduler's file is looked for beside the weights and up to two folders above, each time also in `scheduler`.
Without one the defaults of DDPM are assumed, and `--set` changes them.

Weights may be in several files with an index, in half precision (`diffusion_pytorch_model.fp16.safetensors`), or in
`diffusion_pytorch_model.bin`, a file of torch.save, which goes through the restricted reader. One of these files stands
for its folder. The library itself is needed to build the network, not to read the folder.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from harness.core.betas import DIFFUSERS_SCHEDULES
from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings
from harness.denoisers.checkpoints.pickles.stored import LazyTensor
from harness.denoisers.checkpoints.state_dicts import files_of, read_json, read_weights

WEIGHTS = "diffusion_pytorch_model"
ENDINGS = ("safetensors", "safetensors.index.json", "bin", "bin.index.json")
"""What follows the name of weights, the best first; a variant stands before the last part."""

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Of one file of weights with a config.json beside it."""

PREDICTIONS = {"epsilon": "ddpm", "v_prediction": "ddpm-v", "sample": "ddpm-x0"}
SCHEDULERS = (
    "DDIM",
    "DDIMInverse",
    "DDIMParallel",
    "DDPM",
    "DDPMParallel",
    "DEISMultistep",
    "DPMSolverMultistep",
    "DPMSolverMultistepInverse",
    "DPMSolverSDE",
    "DPMSolverSinglestep",
    "EulerAncestralDiscrete",
    "EulerDiscrete",
    "HeunDiscrete",
    "KDPM2AncestralDiscrete",
    "KDPM2Discrete",
    "LCM",
    "LMSDiscrete",
    "PNDM",
    "RePaint",
    "SASolver",
    "TCD",
    "UniPCMultistep",
)
"""Schedulers of models of discrete steps with betas, without the word Scheduler at their end."""

AUTOENCODERS = ("vae", "vqvae", "movq")
"""Parts of a pipeline that make images of latents."""

OLD_ATTENTION = re.compile(r"(.*attentions\.[0-9]{1,4}\.)(query|key|value|proj_attn)\.(weight|bias)")
NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""What the library called parts of attention until 2023, and what it calls them since."""


class DiffusersFolder(CheckpointFormat):
    """A folder of diffusers.

    Settings: what the files leave out: prediction_type, beta_schedule, beta_start, beta_end, num_train_timesteps,
    image_size; null_class where there are classes; variant where there are several.
    """

    kind: Literal["diffusers-folder"] = "diffusers-folder"
    title: ClassVar[str] = "folders of diffusers"

    def recognise(self, file: CheckpointFile) -> bool:
        path = file.path
        if path.is_file():
            return path.suffix in SUFFIXES and (path.parent / "config.json").is_file()
        return any((path / name).is_file() for name in ("unet/config.json", "config.json", "model_index.json"))

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        from harness.denoisers.networks.diffusers_unet import FROM_OURS, KNOWN  # loads torch

        single = file.path if file.path.is_file() else None
        path = single.parent if single else file.path
        folder = path if single or not (path / "unet" / "config.json").is_file() else path / "unet"
        _refuse_latents(folder)
        if not (folder / "config.json").is_file():
            raise InputError(f"{path}: {_pipeline(path)}; only one with a UNet2DModel in 'unet' is known here")
        if single and re.search(r"-[0-9]{5}-of-[0-9]{5}", single.name):
            raise InputError(f"{single}: one of several files of weights; give the folder, {path}")
        config = read_json(folder / "config.json")
        name = config.get("_class_name", "UNet2DModel" if "block_out_channels" in config else "network without a name")
        if name != "UNet2DModel":
            raise InputError(f"{folder}: a {str(name)[:100]}; only UNet2DModel denoises images alone")
        scheduler = _scheduler_file(folder)
        schedule = read_json(scheduler) if scheduler else {}
        kind, arguments = _schedule(schedule, settings, scheduler or folder)
        classes = config.get("num_class_embeds") or 0
        null_class = settings.take_null_class(classes) if type(classes) is int else {}
        side = _side(config, settings, folder)
        weights, others = (single, []) if single else _weights(folder, settings)
        settings.check_all_taken()  # before the weights are read
        images, outputs = (config.get(key, 3) for key in ("in_channels", "out_channels"))
        if type(images) is not int or outputs not in (images, 2 * images):
            raise InputError(f"{folder}: {images} channels in and {outputs} out: not a denoiser of images alone")
        network = {key: value for key, value in config.items() if not key.startswith("_") and key not in FROM_OURS}
        return ReadCheckpoint(
            format="diffusers folder",
            preconditioning=kind,
            arguments={
                "img_resolution": side,
                "img_channels": images,
                "label_dim": classes,
                "learn_sigma": outputs == 2 * images,
                **arguments,
                "model_type": "DiffusersUNet",
                "config": {key: value for key, value in network.items() if key in KNOWN},
                **null_class,
            },
            tensors=_renamed(read_weights(weights), weights),
            size=sum(shard.stat().st_size for shard in files_of(weights)),
            facts=_facts(folder, scheduler, schedule, weights),
            assumed=settings.assumed,
            ignored=[
                *(f"config.json: {key}" for key in network if key not in KNOWN),
                *others,
                *_averaged_beside(folder),
            ],
        )


def _facts(folder: Path, scheduler: Path | None, schedule: dict[str, Any], weights: Path) -> dict[str, Any]:
    """What people want to know of the files: the scheduler, and where it is and what holds the weights if unusual."""
    facts: dict[str, Any] = {"scheduler": schedule} if schedule else {}
    if scheduler is not None and scheduler.parent.name != "scheduler":
        facts["scheduler file"] = os.path.relpath(scheduler, folder.resolve())
    if weights.name not in (f"{WEIGHTS}.safetensors", f"{WEIGHTS}.bin"):
        facts["weights"] = weights.name
    return facts


def _index(path: Path) -> dict[str, Any]:
    """A pipeline's table of parts; empty for a folder that is no pipeline."""
    return read_json(path / "model_index.json") if (path / "model_index.json").is_file() else {}


def _pipeline(path: Path) -> str:
    return f"a {str(_index(path).get('_class_name', 'pipeline'))[:100]}"


def _refuse_latents(folder: Path) -> None:
    """Refuse a network that denoises latents: it belongs to a pipeline with an autoencoder.

    Raises:
        InputError: with the pipeline, and the part that makes images of latents.
    """
    pipeline = folder.resolve().parent
    for path in [folder, *([pipeline] if folder.resolve().name.startswith("unet") or _index(pipeline) else [])]:
        parts = [name for name, part in _index(path).items() if name in AUTOENCODERS or _is_autoencoder(part)]
        parts += [name for name in AUTOENCODERS if (path / name / "config.json").is_file()]
        if parts:
            raise InputError(
                f"{folder}: its network belongs to {_pipeline(path)} and denoises the latents of '{parts[0]}', not "
                "images; latent models are not known here"
            )


def _is_autoencoder(part: Any) -> bool:
    """Whether a part of a pipeline, given as [library, class], makes images of latents."""
    return isinstance(part, list) and any("Autoencoder" in str(word) or "VQModel" in str(word) for word in part)


class _Found(NamedTuple):
    """A file of weights, or an index of files; `variant` is a word such as fp16, or none."""

    path: Path
    variant: str


def _weights(folder: Path, settings: Settings) -> tuple[Path, list[str]]:
    """The weights to read, and what to say of those that are not read.

    Raises:
        InputError: there are none, or several variants and none without.
    """
    found: list[_Found] = []
    for ending in ENDINGS:
        stem, _, last = f"{WEIGHTS}.{ending}".rpartition(".")
        for path in sorted(folder.glob(f"{stem}*.{last}")):
            variant = path.name.removeprefix(stem).removesuffix(last).strip(".")
            if re.fullmatch(r"[A-Za-z0-9_]{0,40}", variant):  # a shard has hyphens
                found.append(_Found(path, variant or "none"))
    if not found:
        raise InputError(f"{folder}: no weights; there should be {WEIGHTS}.safetensors or {WEIGHTS}.bin")
    variants = list(dict.fromkeys(file.variant for file in found))
    wanted = "none" if "none" in variants else variants[0]
    if len(variants) > 1:
        if "none" not in variants and "variant" not in settings.given:
            raise InputError(
                f"{folder}: weights of the variants {', '.join(variants)}; say which by --set variant=WORD"
            )
        wanted = settings.take_word("variant", variants, wanted, stated=True)
    chosen = next(file.path for file in found if file.variant == wanted)
    return chosen, [file.path.name for file in found if file.variant != wanted]


def _averaged_beside(folder: Path) -> list[str]:
    """What to say of averaged weights that lie beside the network as the library's training script leaves them."""
    beside = folder.parent / "unet_ema"
    if folder.resolve().name != "unet" or not (beside / "config.json").is_file():
        return []
    return [f"unet_ema, the averaged weights; give {beside} to use them"]


def _renamed(tensors: Mapping[str, LazyTensor], file: Path) -> dict[str, LazyTensor]:
    """Tensors by the names of our network; attention by the library's new names."""
    renamed = {}
    for name, tensor in tensors.items():
        if match := OLD_ATTENTION.fullmatch(name):
            name = f"{match[1]}{NEW_ATTENTION[match[2]]}.{match[3]}"
        if f"model.unet.{name}" in renamed:
            raise InputError(f"{file}: tensor '{name[:200]}' is there by its old name and its new one; damaged")
        renamed[f"model.unet.{name}"] = tensor
    return renamed


def _side(config: Mapping[str, Any], settings: Settings, folder: Path) -> int:
    """Height and width of the images.

    Raises:
        InputError: a size that is stated and is none, or is not square.
    """
    stated = config.get("sample_size")
    sides = stated if isinstance(stated, list) else [stated]
    if stated is None:
        side: int = settings.take("image_size", 32)
        return side
    if len(sides) not in (1, 2) or len(set(sides)) != 1 or type(sides[0]) is not int:
        raise InputError(f"{folder / 'config.json'}: sample_size is {str(stated)[:100]}; only square images are known")
    return sides[0]


def _scheduler_file(folder: Path) -> Path | None:
    """The scheduler's file: beside the weights or above, at each place also in the folder `scheduler`.

    Raises:
        InputError: two in one place that say different things.
    """
    for place in [folder, *folder.resolve().parents[:2]]:
        names = ("scheduler_config.json", "scheduler/scheduler_config.json")
        found = [place / name for name in names if (place / name).is_file()]
        if len(found) == 2 and read_json(found[0]) != read_json(found[1]):
            raise InputError(f"{found[0]} and {found[1]} say different things of one network; remove the wrong one")
        if found:
            return found[0]
    return None


def _schedule(schedule: dict[str, Any], settings: Settings, file: Path) -> tuple[str, dict[str, Any]]:
    """The preconditioning, and its arguments."""
    name = str(schedule.get("_class_name", "DDPMScheduler"))
    continuous = schedule.get("timestep_type", "discrete") != "discrete"
    if name.removesuffix("Scheduler") not in SCHEDULERS or continuous:
        of = f"a {name[:100]}{' of continuous time' if continuous else ''}"
        raise InputError(f"{file}: {of}; models of discrete steps with betas are known here (DDPM and its kin)")

    def take(key: str, default: Any) -> Any:
        return schedule[key] if key in schedule else settings.take(key, default)

    prediction, words = take("prediction_type", "epsilon"), take("beta_schedule", "linear")
    if not isinstance(prediction, str) or not isinstance(words, str):
        raise InputError(f"{file}: prediction_type and beta_schedule are words; damaged")
    if prediction not in PREDICTIONS or words not in DIFFUSERS_SCHEDULES:
        raise InputError(
            f"{file}: prediction_type {prediction!r} with beta_schedule {words!r} is not known here; known: "
            f"{', '.join(PREDICTIONS)} with {', '.join(DIFFUSERS_SCHEDULES)}"
        )
    listed = schedule.get("trained_betas") or []
    steps = take("num_train_timesteps", 1000)
    return PREDICTIONS[prediction], {
        "beta_schedule": "given" if listed else DIFFUSERS_SCHEDULES[words],
        "num_steps": len(listed) or steps,
        "beta_start": take("beta_start", 0.0001),
        "beta_end": take("beta_end", 0.02),
        "trained_betas": listed,
        "zero_snr": bool(schedule.get("rescale_betas_zero_snr", False)),
    }
