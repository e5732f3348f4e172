# SPDX-License-Identifier: Apache-2.0
"""The same networks in Hugging Face `transformers`, for comparison.

They are built from configurations in this file, with random weights; nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from depth_ros.models import PRESETS, Preset
from depth_ros.models.depth_anything.variant import SIZES, Variant
from tools.bench import random_weights


def is_supported(name: str) -> bool:
    """Whether transformers has the network of a preset."""
    preset = PRESETS[name]
    if preset.family == 'depth_anything':
        return Variant.parse(preset.variant).network == 'plain'
    return preset.family in ('glpdepth', 'depth_pro')


def transformers_network(name: str) -> nn.Module:
    """The network of a preset in transformers, with its default attention.

    Its weights are those of `random_weights.draw`: with the ones that transformers draws, values
    shrink from layer to layer, and a small error of a precision becomes a large one of depth.

    Raises:
        ImportError: transformers is not installed.
    """
    network = build(name)
    random_weights.draw(network)
    return network


def build(name: str) -> nn.Module:
    """The network with the weights that transformers draws.

    Raises:
        ImportError: transformers is not installed.
    """
    import transformers

    preset = PRESETS[name]
    if preset.family == 'glpdepth':
        config = transformers.GLPNConfig(  # as vinvino02/glpn-nyu
            depths=(3, 8, 27, 3),
            hidden_sizes=(64, 128, 320, 512),
            decoder_hidden_size=64,
            max_depth=int(preset.max_depth),
        )
        return transformers.GLPNForDepthEstimation(config).eval()
    if preset.family == 'depth_pro':
        encoder = {
            'model_type': 'dinov2',
            'image_size': 384,
            'patch_size': 16,
            'hidden_size': 1024,
            'num_attention_heads': 16,
            'num_hidden_layers': 24,
        }
        config = transformers.DepthProConfig(
            image_model_config=dict(encoder),
            patch_model_config=dict(encoder),
            fov_model_config=dict(encoder),
            use_fov_model=False,
        )
        return transformers.DepthProForDepthEstimation(config).eval()
    return transformers.DepthAnythingForDepthEstimation(_depth_anything(preset)).eval()


def _depth_anything(preset: Preset) -> Any:
    import transformers

    variant = Variant.of(preset)
    size = SIZES[variant.size]
    blocks = size.taps[-1] + 1
    metric = {'depth_estimation_type': 'metric', 'max_depth': int(variant.max_depth)}
    encoder = transformers.Dinov2Config(
        image_size=518,
        patch_size=14,
        hidden_size=size.width,
        num_attention_heads=size.width // 64,
        num_hidden_layers=blocks,
        out_indices=[tap + 1 for tap in variant.taps],  # counted from 1
        reshape_hidden_states=False,
    )
    return transformers.DepthAnythingConfig(
        backbone_config=encoder,
        reassemble_hidden_size=size.width,
        neck_hidden_sizes=list(size.channels),
        fusion_hidden_size=size.features,
        **(metric if variant.max_depth else {}),
    )
