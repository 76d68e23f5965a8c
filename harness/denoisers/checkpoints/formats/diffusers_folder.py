"""Folders of the diffusers library: a UNet2DModel with its config.json, and the scheduler that says what it predicts.

    FOLDER/unet/config.json, diffusion_pytorch_model.safetensors      a pipeline
    FOLDER/scheduler/scheduler_config.json
    FOLDER/config.json, diffusion_pytorch_model.safetensors           or the network alone: the defaults of DDPM are
                                                                      assumed, and `--set` changes them

Weights may also be `diffusion_pytorch_model.bin`, a file of torch.save, which goes through the restricted reader. The
library itself is needed to build the network, not to read the folder.
"""

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from harness.core.errors import InputError
from harness.denoisers.checkpoints.formats.base import CheckpointFile, CheckpointFormat, ReadCheckpoint, Settings
from harness.denoisers.checkpoints.pickles.stored import LazyTensor, Storage, StorageType, whole
from harness.denoisers.checkpoints.pickles.torch_file import mapped, read_torch_file
from harness.hub.header import Layout, read_contents

WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
MAX_JSON = 1_000_000
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine", "sigmoid": "sigmoid"}
PREDICTIONS = {"epsilon": "ddpm", "v_prediction": "ddpm-v", "sample": "ddpm-x0"}
CONTINUOUS = ("ScoreSdeVe", "ScoreSdeVp", "EDM", "KarrasVe", "FlowMatch", "VQ", "CM")
"""Schedulers whose models are not of discrete steps with betas, by how their names begin."""


class DiffusersFolder(CheckpointFormat):
    """A folder of diffusers.

    Settings: what the scheduler's file leaves out: prediction_type, beta_schedule, beta_start, beta_end,
    num_train_timesteps, image_size.
    """

    kind: Literal["diffusers-folder"] = "diffusers-folder"
    title: ClassVar[str] = "folders of diffusers"

    def recognise(self, file: CheckpointFile) -> bool:
        return any((file.path / part / "config.json").is_file() for part in ("unet", "."))

    def read(self, file: CheckpointFile, settings: Settings) -> ReadCheckpoint:
        from harness.denoisers.networks.diffusers_unet import FROM_OURS, KNOWN  # loads torch

        path = file.path
        folder = path / "unet" if (path / "unet" / "config.json").is_file() else path
        config = _json(folder / "config.json")
        if config.get("_class_name", "UNet2DModel") != "UNet2DModel":
            raise InputError(f"{folder}: a {config['_class_name']}; only UNet2DModel denoises images alone")
        scheduler = path / "scheduler" / "scheduler_config.json"
        schedule = _json(scheduler) if scheduler.is_file() else {}
        kind, arguments = _schedule(schedule, settings, scheduler)
        side = config.get("sample_size")
        if isinstance(side, list) and len(set(side)) == 1:
            side = side[0]
        if type(side) is not int:
            side = settings.take("image_size", 32)
        settings.check_all_taken()  # before the weights are looked for
        weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
        if weights is None:
            raise InputError(f"{folder}: no weights; there should be {' or '.join(WEIGHTS)} (shards are not read here)")
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
                "label_dim": config.get("num_class_embeds") or 0,
                "learn_sigma": outputs == 2 * images,
                **arguments,
                "model_type": "DiffusersUNet",
                "config": {key: value for key, value in network.items() if key in KNOWN},
            },
            tensors={f"model.unet.{name}": tensor for name, tensor in _tensors(weights).items()},
            size=weights.stat().st_size,
            facts={"scheduler": schedule} if schedule else {},
            assumed=settings.assumed,
            ignored=[f"config.json: {key}" for key in network if key not in KNOWN],
        )


def _schedule(schedule: dict[str, Any], settings: Settings, file: Path) -> tuple[str, dict[str, Any]]:
    """The preconditioning, and its arguments."""
    name = str(schedule.get("_class_name", "DDPMScheduler"))
    if name.startswith(CONTINUOUS):
        raise InputError(f"{file}: a {name}; models of discrete steps with betas are known here (DDPM and its kin)")

    def take(key: str, default: Any) -> Any:
        return schedule[key] if key in schedule else settings.take(key, default)

    prediction, words = take("prediction_type", "epsilon"), take("beta_schedule", "linear")
    if not isinstance(prediction, str) or not isinstance(words, str):
        raise InputError(f"{file}: prediction_type and beta_schedule are words; damaged")
    if prediction not in PREDICTIONS or words not in SCHEDULES:
        raise InputError(
            f"{file}: prediction_type {prediction!r} with beta_schedule {words!r} is not known here; known: "
            f"{', '.join(PREDICTIONS)} with {', '.join(SCHEDULES)}"
        )
    listed = schedule.get("trained_betas") or []
    steps = take("num_train_timesteps", 1000)
    return PREDICTIONS[prediction], {
        "beta_schedule": "given" if listed else SCHEDULES[words],
        "num_steps": len(listed) or steps,
        "beta_start": take("beta_start", 0.0001),
        "beta_end": take("beta_end", 0.02),
        "trained_betas": listed,
        "zero_snr": bool(schedule.get("rescale_betas_zero_snr", False)),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON:
            raise InputError(f"{path}: far larger than a configuration is; refused")
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file ({error.strerror}); check the path") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not JSON; damaged") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a configuration: it holds no table of keys")
    return content


def _tensors(file: Path) -> dict[str, LazyTensor]:
    if file.suffix == ".safetensors":
        return _safetensors(file)
    root = read_torch_file(file).root
    if not isinstance(root, dict) or not all(isinstance(tensor, LazyTensor) for tensor in root.values()):
        raise InputError(f"{file}: not a state dict; damaged")
    return {str(name): tensor for name, tensor in root.items()}


def _safetensors(file: Path) -> dict[str, LazyTensor]:
    """The tensors of a safetensors file, where they lie."""
    contents, data = read_contents(file), mapped(file)
    start = 8 + int.from_bytes(data[:8], "little")

    def stored(layout: Layout) -> LazyTensor:
        kind, at = StorageType(layout.dtype), start + layout.offset
        return whole(Storage(kind, layout.numel, lambda: data[at : at + layout.numel * kind.size]), layout.shape)

    return {name: stored(layout) for name, layout in contents.tensors.items()}
