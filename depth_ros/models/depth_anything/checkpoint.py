# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints -> our names, and whether a file is the variant it is taken for.

Versions 1 and 2, relative and metric, indoor and outdoor, have the same tensors under the same
names; so have the two of version 3. A wrong one would load and be wrong in silence, so the file's
name and the config.json beside it are asked.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depth_ros.errors import WeightsError
from depth_ros.models import PRESETS, Preset
from depth_ros.models.depth_anything.network import SIZES, DepthAnything, Variant
from depth_ros.weights import GENERIC_FILES, guess_family, load_strict, read

log = logging.getLogger(__name__)

#: May be left over: for training only, or never used as nothing is added to the coarsest map.
UNUSED = (r'encoder\.mask_token', r'head\.fusions\.3\.lateral\..*')

Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def _minus_one(pattern: str) -> Callable[[re.Match[str]], str]:
    return lambda m: pattern.format(int(m[1]) - 1)


def _from_three(pattern: str) -> Callable[[re.Match[str]], str]:
    return lambda m: pattern.format(3 - int(m[1]))  # transformers counts from the coarsest


_HEAD: Rules = (
    (r'^projects\.', 'head.projects.'),
    (r'^resize_layers\.', 'head.resizes.'),
    (r'^scratch\.layer(\d)_rn\.', _minus_one('head.laterals.{}.')),
    (r'^scratch\.refinenet(\d)\.resConfUnit1\.', _minus_one('head.fusions.{}.lateral.')),
    (r'^scratch\.refinenet(\d)\.resConfUnit2\.', _minus_one('head.fusions.{}.unit.')),
    (r'^scratch\.refinenet(\d)\.out_conv\.', _minus_one('head.fusions.{}.out.')),
    (r'^scratch\.output_conv1\.', 'head.neck.'),
    (r'^scratch\.output_conv2\.', 'head.depth.'),
    (r'^scratch\.sky_output_conv2\.', 'head.sky.'),
)


def _published(encoder: str, head: str) -> Rules:
    moved = tuple((f'^{re.escape(head)}{pattern[1:]}', to) for pattern, to in _HEAD)
    return ((f'^{re.escape(encoder)}', 'encoder.'), *moved)


_BLOCK = r'^backbone\.encoder\.layer\.(\d+)\.'
_FUSION = r'^neck\.fusion_stage\.layers\.(\d)\.'
_TRANSFORMERS: Rules = (
    (r'^backbone\.embeddings\.position_embeddings$', 'encoder.pos_embed'),
    (r'^backbone\.embeddings\.patch_embeddings\.projection\.', 'encoder.patch_embed.proj.'),
    (r'^backbone\.embeddings\.', 'encoder.'),
    (r'^backbone\.layernorm\.', 'encoder.norm.'),
    (_BLOCK + r'attention\.attention\.(query|key|value)\.', r'encoder.blocks.\1.attn.\2.'),
    (_BLOCK + r'attention\.output\.dense\.', r'encoder.blocks.\1.attn.proj.'),
    (_BLOCK + r'layer_scale(\d)\.lambda1$', r'encoder.blocks.\1.ls\2.gamma'),
    (_BLOCK, r'encoder.blocks.\1.'),
    (r'^neck\.reassemble_stage\.layers\.(\d)\.projection\.', r'head.projects.\1.'),
    (r'^neck\.reassemble_stage\.layers\.(\d)\.resize\.', r'head.resizes.\1.'),
    (r'^neck\.convs\.', 'head.laterals.'),
    (_FUSION + r'residual_layer1\.convolution', _from_three('head.fusions.{}.lateral.conv')),
    (_FUSION + r'residual_layer2\.convolution', _from_three('head.fusions.{}.unit.conv')),
    (_FUSION + r'projection\.', _from_three('head.fusions.{}.out.')),
    (r'^head\.conv1\.', 'head.neck.'),
    (r'^head\.conv2\.', 'head.depth.0.'),
    (r'^head\.conv3\.', 'head.depth.2.'),
)

#: What `guess_family` calls a layout -> versions that use it, and its names.
LAYOUTS: dict[str | None, tuple[tuple[int, ...], Rules]] = {
    'Depth Anything v1 or v2': ((1, 2), _published('pretrained.', 'depth_head.')),
    'Depth Anything v1 or v2 (transformers)': ((1, 2), _TRANSFORMERS),
    'Depth Anything 3 (metric or mono)': (
        (3,),
        _published('model.backbone.pretrained.', 'model.head.'),
    ),
}

# Names under which the publishers put files elsewhere than the table's `repo`.
_ELSEWHERE = {f'depth_anything_vit{s}14.pth': f'v1_vit{s}' for s in 'sbl'}


def load_checkpoint(network: DepthAnything, preset: Preset, path: Path) -> None:
    """Fill `network` (which may be on the meta device) with the file's tensors.

    Raises:
        WeightsError: the file cannot be read, or is another network or another variant.
    """
    _check_name(path, preset)
    state = read(path)
    layout = guess_family(state)
    versions, rules = LAYOUTS.get(layout, ((), ()))
    if network.variant.version not in versions:
        what = (
            f'looks like a {layout} checkpoint'
            if layout
            else f'has names such as {next(iter(state))!r}'
        )
        raise WeightsError(
            f'{path} {what}; {_name(preset)} takes {preset.file or "other weights"}'
        )
    _check_config(path, preset)
    ours = translate(state, rules)
    _check_size(path, preset, ours)
    load_strict(network, ours, path=path, ignore=UNUSED)


def translate(state: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Published names -> ours; query, key and value become one matrix; unknown names stay."""
    ours: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, to in rules:
            name, hit = re.subn(pattern, to, name)
            if hit:
                break
        ours[name] = value
    for name in [n for n in ours if '.attn.query.' in n]:
        parts = [name.replace('.query.', f'.{part}.') for part in ('query', 'key', 'value')]
        if all(part in ours for part in parts):
            ours[name.replace('.query.', '.qkv.')] = torch.cat([ours.pop(p) for p in parts])
    return ours


def _name(preset: Preset) -> str:
    return next((name for name, other in PRESETS.items() if other == preset), preset.variant)


def _presets(fits: Callable[[Preset], bool]) -> str:
    names = [n for n, p in PRESETS.items() if p.family == 'depth_anything' and fits(p)]
    return ' or '.join(names)


def _check_name(path: Path, preset: Preset) -> None:
    """Refuse a file whose name is the published name of another preset."""
    other = _ELSEWHERE.get(path.name)
    if path.name == preset.file or path.name in GENERIC_FILES or other == preset.variant:
        return
    right = _presets(lambda p: p.file == path.name or p.variant == other)
    if right:
        raise WeightsError(
            f'{path} is by its name not {_name(preset)}; set model to {right}, '
            'or rename the file if it is another one'
        )


def _check_config(path: Path, preset: Preset) -> None:
    """Refuse a file without a telling name whose config.json describes another variant."""
    if path.name not in GENERIC_FILES:
        return
    config = _config_beside(path)
    if not config:
        log.info('%s does not say which variant it is; trusted to be %s', path, _name(preset))
        return
    if not _agrees(config, Variant.parse(preset.variant)):
        told = ('model_name', 'depth_estimation_type', 'max_depth')
        said = ', '.join(f'{k} {config[k]!r}' for k in told if k in config) or 'other layers'
        right = _presets(lambda p: _agrees(config, Variant.parse(p.variant)))
        raise WeightsError(
            f'{path} is not {_name(preset)}: config.json beside it says {said}; '
            + (f'set model to {right}' if right else 'no preset is that')
        )


def _config_beside(path: Path) -> dict[str, Any]:
    """The config.json beside a checkpoint; empty if there is none that can be read."""
    try:
        config = json.loads((path.parent / 'config.json').read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _agrees(config: dict[str, Any], variant: Variant) -> bool:
    """Whether a config.json may describe `variant`; what it does not say cannot disagree."""
    if 'model_name' in config:
        return variant.version == 3 and config['model_name'] == f'da3{variant.role}-large'
    if variant.version == 3:
        return 'backbone_config' not in config
    if 'backbone_config' not in config:
        return True
    # transformers leaves out what is the default: relative
    role = config.get('depth_estimation_type', 'relative')
    if (role == 'metric') != bool(variant.max_depth):
        return False
    if variant.max_depth and config.get('max_depth', variant.max_depth) != variant.max_depth:
        return False
    backbone = config['backbone_config']
    taps = backbone.get('out_indices') if isinstance(backbone, dict) else None
    return not taps or list(taps) == [tap + 1 for tap in variant.taps]  # counted from 1


def _check_size(path: Path, preset: Preset, state: dict[str, Tensor]) -> None:
    """Refuse another encoder with one sentence instead of hundreds of shapes."""
    token = state.get('encoder.cls_token')
    wanted = Variant.parse(preset.variant)
    if token is None or token.shape[-1] == SIZES[wanted.size].width:
        return
    width = token.shape[-1]
    size = next((name for name, s in SIZES.items() if s.width == width), None)

    def fits(other: Preset) -> bool:
        variant = Variant.parse(other.variant)
        return variant.size == size and (variant.version == 3) == (wanted.version == 3)

    raise WeightsError(
        f'{path} is a ViT-{size[-1].upper() if size else "?"} (width {width}), {_name(preset)} a '
        f'ViT-{wanted.size[-1].upper()}; presets of that size: {_presets(fits) or "none"}'
    )
