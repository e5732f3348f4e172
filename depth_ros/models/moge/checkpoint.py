# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints: {'model_config': ..., 'model': tensors}.

The config decides which layers there are. A file of tensors alone, such as one that was converted
to safetensors, is taken for the published network of the preset: which encoder blocks are used is
then nowhere stated.
"""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.keys import Rules, rename
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_with_entry
from depth_ros.core.errors import WeightsError
from depth_ros.models.interface import Preset
from depth_ros.models.moge.config import SIZES, Config
from depth_ros.models.moge.network import MoGe
from depth_ros.models.presets import presets_where

log = logging.getLogger(__name__)

LAYOUT = 'MoGe-2'
CONFIG = 'model_config'
#: Names of tensors that the network does not use.
UNUSED = (r'encoder\.mask_token',)  # for training only
NORMALS = r'heads\.normal\..*'  #: likewise, if normals are not wanted


def _ours(owner: str) -> str:
    return 'neck' if owner == 'neck' else f'heads.{owner.removesuffix("_head")}'


_OWNER = r'^(neck|points_head|mask_head|normal_head)\.'
RULES: Rules = (
    (r'^encoder\.image_(mean|std)$', r'\1'),
    (r'^encoder\.backbone\.', 'encoder.'),
    (r'^encoder\.output_projections\.', 'projects.'),
    (r'^scale_head\.', 'scale.'),
    (_OWNER + r'input_blocks\.', lambda m: f'{_ours(m[1])}.inputs.'),
    (_OWNER + r'output_blocks\.4\.', lambda m: f'{_ours(m[1])}.output.'),
    (_OWNER + r'resamplers\.([0-2])\.0\.', lambda m: f'{_ours(m[1])}.ups.{m[2]}.deconv.'),
    (_OWNER + r'resamplers\.(\d)\.1\.', lambda m: f'{_ours(m[1])}.ups.{m[2]}.conv.'),
    (
        _OWNER + r'res_blocks\.(\d)\.(\d+)\.layers\.([25])\.',
        lambda m: f'{_ours(m[1])}.units.{m[2]}.{m[3]}.conv{1 if m[4] == "2" else 2}.',
    ),
)


def load_checkpoint(network: MoGe, preset: Preset, path: Path) -> None:
    """Load a file into `network`, which may be on the meta device, and adopt its config.

    Raises:
        WeightsError: the file cannot be read, or is of another network or variant.
    """
    state, stated = read_with_entry(path, CONFIG)
    if guess_family(state) != LAYOUT:
        raise WeightsError(
            f'{path} {describe(state)}; {preset.name} takes {preset.source.published}'
        )
    network.configure(_config(stated, state, preset, path))
    ignore = UNUSED if 'normal' in network.heads else (*UNUSED, NORMALS)
    load_strict(network, rename(state, RULES), path=path, ignore=ignore)


def stated_config(preset: Preset, path: Path) -> Config:
    """The config of a file that is not loaded.

    Raises:
        WeightsError: as `load_checkpoint`.
    """
    state, stated = read_with_entry(path, CONFIG)
    return _config(stated, state, preset, path)


def _config(stated: object, state: dict[str, Tensor], preset: Preset, path: Path) -> Config:
    published = Config.of(preset)
    if stated is None:
        log.info('%s has no %s; taken for %s as published', path, CONFIG, preset.source.published)
        token = state.get('encoder.backbone.cls_token')
        width = token.shape[-1] if token is not None and token.ndim else 0
        size = next((k for k, s in SIZES.items() if s.width == width), published.size)
        normals = any(name.startswith('normal_head.') for name in state)
        config = published
    else:
        try:
            config = Config.parse(stated)
        except ValueError as error:
            raise WeightsError(
                f'{path} is no network that this version knows: its {CONFIG} {error}; '
                f'{preset.name} takes {preset.source.published}'
            ) from error
        size, normals = config.size, config.predicts_normals
    if (size, normals) != (published.size, published.predicts_normals):
        right = presets_where(
            lambda p: (
                p.family == preset.family
                and (Config.of(p).size, Config.of(p).predicts_normals) == (size, normals)
            )
        )
        raise WeightsError(
            f'{path} is not {preset.name}: it is a ViT-{size[-1].upper()} '
            f'{"with" if normals else "without"} normals; '
            + (f'set model to {right}' if right else 'no preset is for it')
        )
    return config
