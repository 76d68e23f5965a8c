"""The arguments of the diffusers library's UNet2DModel, so that its config.json can be read without the library."""

FIXED = ("sample_size", "in_channels", "out_channels", "num_class_embeds")
"""Those that follow from the arguments that all our networks have."""

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
"""The others."""
