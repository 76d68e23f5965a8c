"""UNet2DModel of the diffusers library as a raw network. The library is an extra, imported when one is built."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.errors import InputError
from harness.denoisers.networks.layers import check_null_class, with_null_class

FROM_OURS = ("sample_size", "in_channels", "out_channels", "num_class_embeds")
"""Arguments of UNet2DModel that follow from those that all our networks have."""

KNOWN = frozenset(
    {
        "act_fn",
        "add_attention",
        "attention_head_dim",
        "attn_norm_num_groups",
        "block_out_channels",
        "center_input_sample",
        "class_embed_type",
        "down_block_types",
        "downsample_padding",
        "downsample_type",
        "dropout",
        "flip_sin_to_cos",
        "freq_shift",
        "layers_per_block",
        "mid_block_scale_factor",
        "mid_block_type",
        "norm_eps",
        "norm_num_groups",
        "num_train_timesteps",
        "resnet_time_scale_shift",
        "time_embedding_dim",
        "time_embedding_type",
        "up_block_types",
        "upsample_type",
    }
)
"""Its other arguments."""


class ClassTable(nn.Module):
    """One row of numbers a class, looked up by one-hot labels; an all-zero label adds nothing.

    Shapes: labels [B, classes] -> [B, width].
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))

    def forward(self, labels: Tensor) -> Tensor:
        return labels.to(self.weight.dtype) @ self.weight


class DiffusersUNet(nn.Module):
    """A UNet2DModel, called as our networks are.

    Args:
        img_resolution: height and width H of the images.
        in_channels, out_channels: channels of the input and the output.
        label_dim: classes, the null class among them; 0 means unconditional.
        null_class: see `OpenAIUNet`.
        config: its other arguments, as in the library's config.json.
    Shapes: x [B, in_channels, H, H], noise_labels [B] or [1], class_labels [B, label_dim] or None (all zero)
        -> [B, out_channels, H, H].
    Raises: InputError: the library is not installed. ValueError: a kind of embedding that is not known here,
        or no such null class.
    """

    def __init__(
        self,
        img_resolution: int,
        in_channels: int,
        out_channels: int,
        label_dim: int = 0,
        config: Mapping[str, Any] | None = None,
        null_class: int | str | None = None,
    ) -> None:
        check_null_class(null_class, label_dim)
        try:
            from diffusers import UNet2DModel
        except ImportError:
            raise InputError(
                "a UNet2DModel is built by diffusers; install it: pip install 'diffusion-harness[diffusers]'"
            ) from None
        options = {key: value for key, value in (config or {}).items() if key in KNOWN}
        if options.get("time_embedding_type", "positional") != "positional" or options.get("class_embed_type"):
            raise ValueError("of a UNet2DModel's embeddings only positional times and plain classes are known here")
        super().__init__()
        self.label_dim, self.null_class = label_dim, null_class
        unet: Any = UNet2DModel(
            sample_size=img_resolution,
            in_channels=in_channels,
            out_channels=out_channels,
            num_class_embeds=label_dim or None,
            **{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()},
        )
        if label_dim:
            unet.class_embedding = ClassTable(label_dim, unet.class_embedding.weight.shape[1])
            nn.init.normal_(unet.class_embedding.weight)
        self.unet = unet

    def forward(
        self,
        x: Tensor,
        noise_labels: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        if augment_labels is not None:
            raise ValueError("this network knows no augmentation; leave augment_labels out")
        if self.label_dim:
            class_labels = with_null_class(class_labels, self.null_class, self.unet.class_embedding.weight)
            if class_labels is None:
                class_labels = x.new_zeros(len(x), self.label_dim)
        out: Tensor = self.unet(x, noise_labels, class_labels if self.label_dim else None, return_dict=False)[0]
        return out
