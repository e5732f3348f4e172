# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints, and check that a file is of the expected variant.

The variants for NYU (10 m) and KITTI (80 m) have tensors of the same names and shapes, and
config.json says max_depth 10 in both hub repositories. They are distinguished by file and folder
names.
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
from depth_ros.models.presets import presets_where, remedy_of_depth

log = logging.getLogger(__name__)

DEFAULT_MAX_DEPTH = 10.0  # default of transformers, in every published config.json

# published layer of a fusion -> ours, where ReLUs are counted too
_LAYERS = {'1.0': 0, '1.1': 1, '2.0': 3, '2.1': 4, '3': 6}


def _fusion(m: re.Match[str]) -> str:
    return f'decoder.fusions.{int(m[1]) - 1}.choose.{_LAYERS[m[2]]}.'


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
_BLOCK_HERE = r'encoder.stages.\1.blocks.\2.'
_TRANSFORMERS: Rules = (
    (r'^glpn\.encoder\.patch_embeddings\.0\.proj\.', 'encoder.patch_embed.proj.'),
    (r'^glpn\.encoder\.patch_embeddings\.0\.layer_norm\.', 'encoder.patch_embed.norm.'),
    (r'^glpn\.encoder\.patch_embeddings\.(\d)\.proj\.', r'encoder.stages.\1.downsample.proj.'),
    (
        r'^glpn\.encoder\.patch_embeddings\.(\d)\.layer_norm\.',
        r'encoder.stages.\1.downsample.norm.',
    ),
    (_BLOCK + r'layer_norm_(\d)\.', _BLOCK_HERE + r'norm\3.'),
    (_BLOCK + r'attention\.self\.query\.', _BLOCK_HERE + 'attn.q.'),
    (_BLOCK + r'attention\.self\.(key|value|sr)\.', _BLOCK_HERE + r'attn.\3.'),
    (_BLOCK + r'attention\.self\.layer_norm\.', _BLOCK_HERE + 'attn.norm.'),
    (_BLOCK + r'attention\.output\.dense\.', _BLOCK_HERE + 'attn.proj.'),
    (_BLOCK + r'mlp\.dense(\d)\.', _BLOCK_HERE + r'mlp.fc\3.'),
    (_BLOCK + r'mlp\.dwconv\.dwconv\.', _BLOCK_HERE + 'mlp.dwconv.'),
    (r'^glpn\.encoder\.layer_norm\.(\d)\.', r'encoder.stages.\1.norm.'),
    (r'^decoder\.stages\.(\d)\.convolution\.', r'decoder.projects.\1.'),
    (
        r'^decoder\.stages\.(\d)\.fusion\.convolutional_layer([12]\.[01]|3)\.',
        _fusion,
    ),
    (r'^head\.head\.', 'head.'),
)

#: Layout, as `guess_family` names it -> rules.
LAYOUTS: dict[str | None, Rules] = {
    'GLPDepth': _AUTHORS,
    'GLPDepth (transformers)': _TRANSFORMERS,
}


def load_checkpoint(network: GlpDepth, preset: Preset, path: Path) -> None:
    """Load a file into `network`, which may be on the meta device.

    Raises:
        WeightsError: the file cannot be read, or is of another network or variant.
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
    """Published names -> ours; key and value become one matrix; other names stay."""
    ours = rename(state, rules)
    for key in [n for n in ours if '.attn.key.' in n]:
        concatenate(ours, (key, key.replace('.key.', '.value.')), key.replace('.key.', '.kv.'))
    return ours


def _check_name(path: Path, preset: Preset) -> None:
    """Refuse a file whose name or folder contains the variant of another preset."""
    # such as glpn-nyu.pth, best_model_nyu.ckpt, or models--owner--glpn-nyu in the cache of the hub
    words = re.findall('[a-z]+', ' '.join(path.absolute().parts[-4:]).lower())

    def named(other: Preset) -> bool:
        return other.family == preset.family and other.variant in words

    right = presets_where(named)
    if right and not named(preset):
        raise WeightsError(
            f'{path} is by its name not {preset.name}; set model to {right}, '
            'or rename it if its name is wrong'
        )
    if not right:
        log.warning('%s does not state its variant; assumed to be %s', path, preset.name)


def _check_config(path: Path, preset: Preset) -> None:
    """Refuse a file whose config.json states the maximum depth of another preset."""
    config = read_config(path)
    stated = config.get('max_depth', DEFAULT_MAX_DEPTH)
    if stated in (DEFAULT_MAX_DEPTH, preset.max_depth):
        return
    right = presets_where(lambda p: p.family == preset.family and p.max_depth == stated)
    raise WeightsError(
        f'{path} is not {preset.name}: its config.json says max_depth {stated!r}; '
        + (f'set model to {right}' if right else remedy_of_depth(config, preset))
    )
