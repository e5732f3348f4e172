# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints -> our names, and whether a file is the variant it is taken for.

The networks trained on NYU (10 m) and on KITTI (80 m) have the same tensors under the same names,
and config.json says max_depth 10 in both hub repositories: names have to tell them apart.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from torch import Tensor

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.keys import Rules, concatenate, rename, zero_based
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint, read_config
from depth_ros.core.errors import WeightsError
from depth_ros.models.glpdepth.network import GlpDepth
from depth_ros.models.interface import Preset
from depth_ros.models.presets import presets_where

log = logging.getLogger(__name__)

DEFAULT_MAX_DEPTH = 10.0  # of transformers, and in every published config.json


# published place in a fusion -> ours, where ReLUs take numbers too
_PLACES = {'1.0': 0, '1.1': 1, '2.0': 3, '2.1': 4, '3': 6}


def _fusion(m: re.Match[str]) -> str:
    return f'decoder.fusions.{int(m[1]) - 1}.choose.{_PLACES[m[2]]}.'


_AUTHORS: Rules = (
    (r'^encoder\.patch_embed1\.', 'encoder.patch_embed.'),
    (r'^encoder\.patch_embed([2-4])\.', zero_based('encoder.stages.{}.downsample.')),
    (
        r'^encoder\.block(\d)\.(\d+)\.mlp\.dwconv\.dwconv\.',
        zero_based('encoder.stages.{}.blocks.{}.mlp.dwconv.'),
    ),
    (r'^encoder\.block(\d)\.(\d+)\.', zero_based('encoder.stages.{}.blocks.{}.')),
    (r'^encoder\.norm(\d)\.', zero_based('encoder.stages.{}.norm.')),
    (r'^decoder\.bot_conv\.', 'decoder.projects.0.'),
    (r'^decoder\.skip_conv(\d)\.', r'decoder.projects.\1.'),
    (r'^decoder\.fusion(\d)\.conv([12]\.[01]|3)\.', _fusion),
    (r'^last_layer_depth\.', 'head.'),
)

_BLOCK = r'^glpn\.encoder\.block\.(\d)\.(\d+)\.'
_OURS = r'encoder.stages.\1.blocks.\2.'
_TRANSFORMERS: Rules = (
    (r'^glpn\.encoder\.patch_embeddings\.0\.proj\.', 'encoder.patch_embed.proj.'),
    (r'^glpn\.encoder\.patch_embeddings\.0\.layer_norm\.', 'encoder.patch_embed.norm.'),
    (r'^glpn\.encoder\.patch_embeddings\.(\d)\.proj\.', r'encoder.stages.\1.downsample.proj.'),
    (
        r'^glpn\.encoder\.patch_embeddings\.(\d)\.layer_norm\.',
        r'encoder.stages.\1.downsample.norm.',
    ),
    (_BLOCK + r'layer_norm_(\d)\.', _OURS + r'norm\3.'),
    (_BLOCK + r'attention\.self\.query\.', _OURS + 'attn.q.'),
    (_BLOCK + r'attention\.self\.(key|value|sr)\.', _OURS + r'attn.\3.'),
    (_BLOCK + r'attention\.self\.layer_norm\.', _OURS + 'attn.norm.'),
    (_BLOCK + r'attention\.output\.dense\.', _OURS + 'attn.proj.'),
    (_BLOCK + r'mlp\.dense(\d)\.', _OURS + r'mlp.fc\3.'),
    (_BLOCK + r'mlp\.dwconv\.dwconv\.', _OURS + 'mlp.dwconv.'),
    (r'^glpn\.encoder\.layer_norm\.(\d)\.', r'encoder.stages.\1.norm.'),
    (r'^decoder\.stages\.(\d)\.convolution\.', r'decoder.projects.\1.'),
    (
        r'^decoder\.stages\.(\d)\.fusion\.convolutional_layer([12]\.[01]|3)\.',
        _fusion,
    ),
    (r'^head\.head\.', 'head.'),
)

#: What `guess_family` calls a layout -> its names.
LAYOUTS: dict[str | None, Rules] = {
    'GLPDepth': _AUTHORS,
    'GLPDepth (transformers)': _TRANSFORMERS,
}


def load_checkpoint(network: GlpDepth, preset: Preset, path: Path) -> None:
    """Fill `network` (which may be on the meta device) with the file's tensors.

    Raises:
        WeightsError: the file cannot be read, or is another network or another variant.
    """
    _check_name(path, preset)
    state = read_checkpoint(path)
    rules = LAYOUTS.get(guess_family(state))
    if rules is None:
        raise WeightsError(
            f'{path} {describe(state)}; {preset.name} takes {preset.source.published}'
        )
    _check_config(path, preset)
    load_strict(network, translate(state, rules), path=path)


def translate(state: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Published names -> ours; key and value become one matrix; unknown names stay."""
    ours = rename(state, rules)
    for key in [n for n in ours if '.attn.key.' in n]:
        concatenate(ours, (key, key.replace('.key.', '.value.')), key.replace('.key.', '.kv.'))
    return ours


def _check_name(path: Path, preset: Preset) -> None:
    """Refuse a file whose name, or whose folder's, says what another preset was trained on."""
    # glpn-nyu.pth, best_model_nyu.ckpt; models--owner--glpn-nyu in the hub's cache
    words = re.findall('[a-z]+', ' '.join(path.absolute().parts[-4:]).lower())

    def named(other: Preset) -> bool:
        return other.family == preset.family and other.variant in words

    right = presets_where(named)
    if right and not named(preset):
        raise WeightsError(
            f'{path} is by its name not {preset.name}; set model to {right}, '
            'or rename it if it is another one'
        )
    if not right:
        log.warning('%s does not say which variant it is; trusted to be %s', path, preset.name)


def _check_config(path: Path, preset: Preset) -> None:
    """Refuse a file whose config.json states another maximum than the default."""
    stated = read_config(path).get('max_depth', DEFAULT_MAX_DEPTH)
    if stated in (DEFAULT_MAX_DEPTH, preset.max_depth):
        return
    right = presets_where(lambda p: p.family == preset.family and p.max_depth == stated)
    raise WeightsError(
        f'{path} is not {preset.name}: config.json beside it says max_depth {stated!r}; '
        + (f'set model to {right}' if right else 'no preset is that')
    )
