# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints, of Apple and of transformers."""

from __future__ import annotations

from pathlib import Path

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.keys import Rules
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint
from depth_ros.core.errors import WeightsError
from depth_ros.models.depth_anything.checkpoint import dinov2_rules, from_coarsest, translate
from depth_ros.models.depth_pro.network import DepthPro
from depth_ros.models.interface import Preset

#: Unused tensors: no map is added to the coarsest one, and mask tokens are for training only.
UNUSED = (r'decoder\.fusions\.4\.lateral\..*', r'.*encoder\.mask_token')
#: Unused tensors if the field of view is not estimated.
FOV = r'fov\..*'

_UNITS = (  # Apple's, transformers', ours
    (r'resnet1\.residual\.1\.', r'residual_layer1\.convolution1\.', 'lateral.conv1.'),
    (r'resnet1\.residual\.3\.', r'residual_layer1\.convolution2\.', 'lateral.conv2.'),
    (r'resnet2\.residual\.1\.', r'residual_layer2\.convolution1\.', 'unit.conv1.'),
    (r'resnet2\.residual\.3\.', r'residual_layer2\.convolution2\.', 'unit.conv2.'),
    (r'deconv\.', r'deconv\.', 'deconv.'),
    (r'out_conv\.', r'projection\.', 'out.'),
)

_PUBLISHED: Rules = (
    (r'^encoder\.upsample_latent(\d)\.', r'encoder.upsamplers.\1.'),
    (r'^encoder\.upsample(\d)\.', lambda m: f'encoder.upsamplers.{int(m[1]) + 2}.'),
    (r'^encoder\.upsample_lowres\.', 'encoder.upsample_image.'),
    (r'^encoder\.fuse_lowres\.', 'encoder.fuse.'),
    (r'^decoder\.convs\.', 'decoder.laterals.'),
    *((rf'^decoder\.fusions\.(\d)\.{a}', rf'decoder.fusions.\1.{c}') for a, _, c in _UNITS),
    (r'^fov\.encoder\.0\.', 'fov.encoder.'),
    (r'^fov\.encoder\.1\.', 'fov.project.'),
    (r'^fov\.downsample\.0\.', 'fov.downsample.'),
)

_NECK = r'^depth_pro\.neck\.'
_UP = _NECK + r'feature_upsample\.'
_TRANSFORMERS: Rules = (
    *dinov2_rules('depth_pro.encoder.patch_encoder.model.', 'encoder.patch_encoder.'),
    *dinov2_rules('depth_pro.encoder.image_encoder.model.', 'encoder.image_encoder.'),
    *dinov2_rules('fov_model.fov_encoder.model.', 'fov.encoder.'),
    (_UP + r'intermediate\.(\d)\.layers\.', from_coarsest('encoder.upsamplers.{}.', 1)),
    (_UP + r'scaled_images\.(\d)\.layers\.', from_coarsest('encoder.upsamplers.{}.', 4)),
    (_UP + r'image_block\.layers\.0\.', 'encoder.upsample_image.'),
    (_NECK + r'fuse_image_with_low_res\.', 'encoder.fuse.'),
    (_NECK + r'feature_projection\.projections\.(\d)\.', from_coarsest('decoder.laterals.{}.', 4)),
    *(
        (rf'^fusion_stage\.intermediate\.(\d)\.{b}', from_coarsest(f'decoder.fusions.{{}}.{c}', 4))
        for _, b, c in _UNITS
    ),
    *((rf'^fusion_stage\.final\.{b}', f'decoder.fusions.0.{c}') for _, b, c in _UNITS),
    (r'^head\.layers\.', 'head.'),
    (r'^fov_model\.fov_encoder\.neck\.', 'fov.project.'),
    (r'^fov_model\.conv\.', 'fov.downsample.'),
    (r'^fov_model\.head\.layers\.', 'fov.head.'),
)

#: Layout, as `guess_family` names it -> rules.
LAYOUTS: dict[str | None, Rules] = {
    'Depth Pro': _PUBLISHED,
    'Depth Pro (transformers)': _TRANSFORMERS,
}


def load_checkpoint(network: DepthPro, preset: Preset, path: Path) -> None:
    """Load a file into `network`, which may be on the meta device.

    Raises:
        WeightsError: the file cannot be read, or is of another network.
    """
    state = read_checkpoint(path)
    layout = guess_family(state)
    if layout not in LAYOUTS:
        raise WeightsError(
            f'{path} {describe(state)}; {preset.name} takes {preset.source.published}'
        )
    ignore = UNUSED if network.fov is not None else (*UNUSED, FOV)
    load_strict(network, translate(state, LAYOUTS[layout]), path=path, ignore=ignore)
