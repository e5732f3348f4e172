# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints, .pth and safetensors, and check that a file is of the variant.

Tensor names show the kind of head. The linear variants for 224 and for 512 px have tensors of the
same names and shapes; they are distinguished by file and folder names and by config.json.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.hub import GENERIC_FILES
from depth_ros.checkpoints.keys import Rules, rename, zero_based
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint, read_config
from depth_ros.core.errors import WeightsError
from depth_ros.models.dust3r.network import Dust3r
from depth_ros.models.interface import Preset
from depth_ros.models.presets import presets_where

log = logging.getLogger(__name__)

#: Names of tensors in the file that the network does not use.
UNUSED = (
    'mask_token',  # for training only
    r'heads\.\d\.laterals_again\..*',  # .pth files contain these tensors twice
    r'heads\.\d\.fusions\.3\.lateral\..*',  # no map is added to the coarsest one
)

PUBLISHED_NAME = re.compile(r'DUSt3R_ViTLarge_BaseDecoder_(224_linear|512_linear|512_dpt)')


def _decoder(pattern: str) -> Callable[[re.Match[str]], str]:
    return lambda m: pattern.format(1 if m[1] else 0, *m.groups()[1:])


_DEC = r'^dec_blocks(2?)\.(\d+)\.'
_DPT = r'^downstream_head(\d)\.dpt\.'
_FUSION = _DPT + r'scratch\.refinenet(\d)\.'
RULES: Rules = (
    (r'^patch_embed\.proj\.', 'patch_embed.'),
    (r'^enc_blocks\.', 'encoder.'),
    (r'^enc_norm\.', 'norm.'),
    (r'^decoder_embed\.', 'project.'),
    (r'^dec_norm\.', 'decoder_norm.'),
    (_DEC + r'cross_attn\.proj([qkv])\.', _decoder('decoders.{}.{}.cross_attn.{}.')),
    (_DEC + r'norm_y\.', _decoder('decoders.{}.{}.norm_other.')),
    (_DEC, _decoder('decoders.{}.{}.')),
    (_DPT + r'act_postprocess\.(\d)\.0\.', lambda m: f'heads.{int(m[1]) - 1}.projects.{m[2]}.'),
    (_DPT + r'act_postprocess\.(\d)\.1\.', lambda m: f'heads.{int(m[1]) - 1}.resizes.{m[2]}.'),
    (_DPT + r'scratch\.layer(\d)_rn\.', zero_based('heads.{}.laterals.{}.', 2)),
    (_DPT + r'scratch\.layer_rn\.', zero_based('heads.{}.laterals_again.')),
    (_FUSION + r'resConfUnit1\.', zero_based('heads.{}.fusions.{}.lateral.', 2)),
    (_FUSION + r'resConfUnit2\.', zero_based('heads.{}.fusions.{}.unit.', 2)),
    (_FUSION + r'out_conv\.', zero_based('heads.{}.fusions.{}.out.', 2)),
    (_DPT + r'head\.0\.', zero_based('heads.{}.neck.')),
    (_DPT + r'head\.2\.', zero_based('heads.{}.out.0.')),
    (_DPT + r'head\.4\.', zero_based('heads.{}.out.2.')),
    (r'^downstream_head(\d)\.', zero_based('heads.{}.')),
)


def load_checkpoint(network: Dust3r, preset: Preset, path: Path) -> None:
    """Load a file into `network`, which may be on the meta device.

    Raises:
        WeightsError: the file cannot be read, or is of another network or variant.
    """
    _check_name(path, preset)
    state = read_checkpoint(path)
    if guess_family(state) != 'DUSt3R':
        raise WeightsError(
            f'{path} {describe(state)}; {preset.name} takes {preset.source.published}'
        )
    head = guess_head(state)
    if head != preset.variant.rpartition('_')[2]:
        right = presets_where(
            lambda p: p.family == preset.family and p.variant.endswith(f'_{head}')
        )
        raise WeightsError(
            f'{path} is not {preset.name}: its heads are {head}; set model to {right}'
        )
    _check_config(path, preset)
    load_strict(network, rename(state, RULES), path=path, ignore=UNUSED)


def guess_head(names: Iterable[str]) -> str:
    """Kind of head of a checkpoint with these tensor names: linear or dpt."""
    return 'dpt' if any(n.startswith('downstream_head1.dpt.') for n in names) else 'linear'


def _check_name(path: Path, preset: Preset) -> None:
    """Refuse a file whose name or folder is the published name of another preset."""
    # models--owner--name in the cache of the hub, name in a clone; the innermost name counts
    parts = reversed(path.absolute().parts[-4:])
    variant = next((match[1] for match in map(PUBLISHED_NAME.search, parts) if match), None)
    if variant == preset.variant:
        return
    if variant:
        right = presets_where(lambda p: p.family == preset.family and p.variant == variant)
        raise WeightsError(
            f'{path} is by its name not {preset.name}; set model to {right}, '
            'or rename it if its name is wrong'
        )
    if not (path.name in GENERIC_FILES and 'img_size' in read_config(path)):
        log.info('%s does not state its variant; assumed to be %s', path, preset.name)


def _check_config(path: Path, preset: Preset) -> None:
    """Refuse a file whose config.json states another image size."""
    stated = read_config(path).get('img_size') if path.name in GENERIC_FILES else None
    side = int(preset.variant.partition('_')[0])
    if not isinstance(stated, list) or not all(isinstance(n, int) for n in stated):
        return
    if max(stated, default=side) == side:
        return
    right = presets_where(
        lambda p: (
            p.family == preset.family
            and p.variant == f'{max(stated)}_{preset.variant.rpartition("_")[2]}'
        )
    )
    raise WeightsError(
        f'{path} is not {preset.name}: its config.json says img_size {stated}; '
        + (f'set model to {right}' if right else 'no preset is for it')
    )
