# SPDX-License-Identifier: Apache-2.0
"""Load published checkpoints, and check that a file is of the expected variant.

Versions 1 and 2, relative and metric, indoor and outdoor, have tensors of the same names and
shapes; so do version 1 metric indoor and outdoor, and version 3 metric and mono. A wrong file
would load without an error, so its name and the config.json in its folder are checked.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from depth_ros.checkpoints.families import describe, guess_family
from depth_ros.checkpoints.hub import GENERIC_FILES
from depth_ros.checkpoints.keys import Rules, concatenate, rename, zero_based
from depth_ros.checkpoints.load import load_strict
from depth_ros.checkpoints.read import read_checkpoint, read_config
from depth_ros.core.errors import WeightsError
from depth_ros.models.depth_anything.network import DepthAnything
from depth_ros.models.depth_anything.variant import SIZES, Variant
from depth_ros.models.interface import Preset
from depth_ros.models.presets import presets_where, remedy_of_depth

log = logging.getLogger(__name__)

#: Names of tensors in the file that the network does not use.
UNUSED = (
    r'encoder\.mask_token',  # for training only
    r'head\.fusions\.3\.lateral\..*',  # no map is added to the coarsest one
    r'bins\.log_binomial_transform\..*',  # constants
    # any-view: output of rays, whose norm has 1 or 4 names
    r'model\.head\.scratch\.\w+_aux\..*',
    r'camera_(encoder|decoder)\..*',  # for several views only
)


def from_coarsest(pattern: str, last: int) -> Callable[[re.Match[str]], str]:
    """Replacement of a rule: transformers numbers stages from the coarsest, our `last`."""
    return lambda m: pattern.format(last - int(m[1]))


_QKV = {'q': 'query', 'k': 'key', 'v': 'value'}


def dinov2_rules(theirs: str, ours: str) -> Rules:
    """Rules from the DINOv2 of transformers, prefix `theirs`, to that of timm, prefix `ours`."""
    prefix = '^' + re.escape(theirs)
    block = prefix + r'encoder\.layer\.(\d+)\.'
    return (
        (prefix + r'embeddings\.position_embeddings$', ours + 'pos_embed'),
        (prefix + r'embeddings\.patch_embeddings\.projection\.', ours + 'patch_embed.proj.'),
        (prefix + r'embeddings\.', ours),
        (prefix + r'layernorm\.', ours + 'norm.'),
        (block + r'attention\.attention\.(query|key|value)\.', ours + r'blocks.\1.attn.\2.'),
        # names in memory since transformers 5, which save_pretrained turns into the others
        (
            block + r'attention\.([qkv])_proj\.',
            lambda m: f'{ours}blocks.{m[1]}.attn.{_QKV[m[2]]}.',
        ),
        (block + r'attention\.o_proj\.', ours + r'blocks.\1.attn.proj.'),
        (block + r'attention\.output\.dense\.', ours + r'blocks.\1.attn.proj.'),
        (block + r'layer_scale(\d)\.lambda1$', ours + r'blocks.\1.ls\2.gamma'),
        (block, ours + r'blocks.\1.'),
    )


_HEAD: Rules = (
    (r'^projects\.', 'head.projects.'),
    (r'^resize_layers\.', 'head.resizes.'),
    (r'^scratch\.layer(\d)_rn\.', zero_based('head.laterals.{}.')),
    (r'^scratch\.refinenet(\d)\.resConfUnit1\.', zero_based('head.fusions.{}.lateral.')),
    (r'^scratch\.refinenet(\d)\.resConfUnit2\.', zero_based('head.fusions.{}.unit.')),
    (r'^scratch\.refinenet(\d)\.out_conv\.', zero_based('head.fusions.{}.out.')),
    (r'^scratch\.output_conv1\.', 'head.neck.'),
    (r'^scratch\.output_conv2\.', 'head.depth.'),
    (r'^scratch\.sky_output_conv2\.', 'head.sky.'),
)


def _published(encoder: str, head: str) -> Rules:
    moved = tuple((f'^{re.escape(head)}{pattern[1:]}', to) for pattern, to in _HEAD)
    return ((f'^{re.escape(encoder)}', 'encoder.'), *moved)


#: Back to the published names, where the numbers {} count from one.
_HEAD_BACK = (
    (r'projects\.', 'projects.'),
    (r'resizes\.', 'resize_layers.'),
    (r'laterals\.(\d)\.', 'scratch.layer{}_rn.'),
    (r'fusions\.(\d)\.lateral\.', 'scratch.refinenet{}.resConfUnit1.'),
    (r'fusions\.(\d)\.unit\.', 'scratch.refinenet{}.resConfUnit2.'),
    (r'fusions\.(\d)\.out\.', 'scratch.refinenet{}.out_conv.'),
    (r'neck\.', 'scratch.output_conv1.'),
    (r'depth\.', 'scratch.output_conv2.'),
    (r'sky\.', 'scratch.sky_output_conv2.'),
)

_FUSION = r'^neck\.fusion_stage\.layers\.(\d)\.'
_TRANSFORMERS: Rules = (
    *dinov2_rules('backbone.', 'encoder.'),
    (r'^neck\.reassemble_stage\.layers\.(\d)\.projection\.', r'head.projects.\1.'),
    (r'^neck\.reassemble_stage\.layers\.(\d)\.resize\.', r'head.resizes.\1.'),
    (r'^neck\.convs\.', 'head.laterals.'),
    (_FUSION + r'residual_layer1\.convolution', from_coarsest('head.fusions.{}.lateral.conv', 3)),
    (_FUSION + r'residual_layer2\.convolution', from_coarsest('head.fusions.{}.unit.conv', 3)),
    (_FUSION + r'projection\.', from_coarsest('head.fusions.{}.out.', 3)),
    (r'^head\.conv1\.', 'head.neck.'),
    (r'^head\.conv2\.', 'head.depth.0.'),
    (r'^head\.conv3\.', 'head.depth.2.'),
)

_BINS: Rules = (
    *_published('core.core.pretrained.', 'core.core.depth_head.'),
    (r'^conv2\.', 'bins.conv.'),
    (r'^seed_bin_regressor\._net\.', 'bins.seed_centres.'),
    (r'^seed_projector\._net\.', 'bins.seed_embedding.'),
    (r'^(projectors|attractors)\.(\d)\._net\.', r'bins.\1.\2.'),
    (r'^conditional_log_binomial\.mlp\.', 'bins.mixture.'),
    (r'^conditional_log_binomial\.', 'bins.'),
)

_VERSION_3 = _published('model.backbone.pretrained.', 'model.head.')

_CAMERAS: Rules = (
    (r'^model\.cam_enc\.pose_branch\.fc1\.', 'camera_encoder.branch.0.'),
    (r'^model\.cam_enc\.pose_branch\.fc2\.', 'camera_encoder.branch.2.'),
    (r'^model\.cam_enc\.', 'camera_encoder.'),
    (r'^model\.cam_dec\.backbone\.', 'camera_decoder.layers.'),
    (r'^model\.cam_dec\.fc_t\.', 'camera_decoder.position.'),
    (r'^model\.cam_dec\.fc_qvec\.', 'camera_decoder.quaternion.'),
    (r'^model\.cam_dec\.fc_fov\.', 'camera_decoder.fields.'),
)

_CAMERAS_BACK: Rules = (
    (r'^camera_encoder\.branch\.0\.', 'model.cam_enc.pose_branch.fc1.'),
    (r'^camera_encoder\.branch\.2\.', 'model.cam_enc.pose_branch.fc2.'),
    (r'^camera_encoder\.', 'model.cam_enc.'),
    (r'^camera_decoder\.layers\.', 'model.cam_dec.backbone.'),
    (r'^camera_decoder\.position\.', 'model.cam_dec.fc_t.'),
    (r'^camera_decoder\.quaternion\.', 'model.cam_dec.fc_qvec.'),
    (r'^camera_decoder\.fields\.', 'model.cam_dec.fc_fov.'),
    (r'^camera_decoder\.', 'model.cam_dec.'),
)

#: Layout, as `guess_family` names it -> `Variant.network` and rules.
LAYOUTS: dict[str | None, tuple[str, Rules]] = {
    'Depth Anything v1 or v2': ('plain', _published('pretrained.', 'depth_head.')),
    'Depth Anything v1 or v2 (transformers)': ('plain', _TRANSFORMERS),
    'Depth Anything v1 metric (ZoeDepth)': ('bins', _BINS),
    'Depth Anything 3 (metric or mono)': ('sky', _VERSION_3),
    'Depth Anything 3 (any-view)': (
        'any_view',
        (*_VERSION_3, (r'^model\.head\.norm\.', 'head.norm.'), *_CAMERAS),
    ),
}

# Names of files that the publishers also offer outside of `Source.repo`.
_OTHER_NAMES = {f'depth_anything_vit{s}14.pth': f'v1_vit{s}' for s in 'sbl'}


def load_checkpoint(network: DepthAnything, preset: Preset, path: Path) -> None:
    """Load a file into `network`, which may be on the meta device.

    Raises:
        WeightsError: the file cannot be read, or is of another network or variant.
    """
    _check_name(path, preset)
    state = read_checkpoint(path)
    layout = guess_family(state)
    layers, rules = LAYOUTS.get(layout, ('', ()))
    if network.variant.network != layers:
        raise WeightsError(
            f'{path} {describe(state)}; {preset.name} takes {preset.source.published}'
        )
    _check_config(path, preset)
    ours = translate(state, rules)
    _check_size(path, preset, ours)
    load_strict(network, ours, path=path, ignore=UNUSED)


def translate(state: dict[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Published names -> ours; query, key and value become one matrix; other names stay."""
    ours = rename(state, rules)
    for name in [n for n in ours if '.attn.query.' in n]:
        parts = [name.replace('.query.', f'.{part}.') for part in ('query', 'key', 'value')]
        concatenate(ours, parts, name.replace('.query.', '.qkv.'))
    return ours


def published(state: dict[str, Tensor], variant: Variant) -> dict[str, Tensor]:
    """Tensors of a network under the published names.

    Those that inference never uses, which `UNUSED` names, are not among them.

    Args:
        state: of a `DepthAnything` of any kind but bins.
        variant: of the network.
    """
    encoder, head = 'pretrained.', 'depth_head.'
    if variant.version == 3:
        encoder, head = 'model.backbone.pretrained.', 'model.head.'
    return rename(
        state,
        (
            (r'^encoder\.', encoder),
            *((rf'^head\.{pattern}', _in_head(head, to)) for pattern, to in _HEAD_BACK),
            *_CAMERAS_BACK,
            (r'^head\.', head),  # the norm of any-view
        ),
    )


def _in_head(head: str, to: str) -> Callable[[re.Match[str]], str]:
    """Replacement of a rule of `_HEAD_BACK`."""
    return lambda m: head + to.format(*(int(group) + 1 for group in m.groups()))


def _presets(fits: Callable[[Preset], bool]) -> str:
    return presets_where(lambda p: p.family == 'depth_anything' and fits(p))


def _check_name(path: Path, preset: Preset) -> None:
    """Refuse a file with the published name of another preset."""
    other = _OTHER_NAMES.get(path.name)
    if path.name == preset.source.file or path.name in GENERIC_FILES or other == preset.variant:
        return
    right = _presets(lambda p: p.source.file == path.name or p.variant == other)
    if right:
        raise WeightsError(
            f'{path} is by its name not {preset.name}; set model to {right}, '
            'or rename the file if its name is wrong'
        )


def _check_config(path: Path, preset: Preset) -> None:
    """Refuse a file whose config.json describes another variant; log if it is not stated."""
    generic, wanted = path.name in GENERIC_FILES, Variant.of(preset)
    config = read_config(path) if generic else {}
    if not config:
        named = not generic and (path.name == preset.source.file or path.name in _OTHER_NAMES)
        if named or wanted.network == 'any_view':  # whose variants differ in tensor shapes
            return
        log.info('%s does not state its variant; assumed to be %s', path, preset.name)
    elif not _agrees(config, wanted):
        keys = ('model_name', 'depth_estimation_type', 'max_depth')
        stated = ', '.join(f'{k} {config[k]!r}' for k in keys if k in config) or 'other layers'
        right = _presets(lambda p: _agrees(config, Variant.of(p)))
        raise WeightsError(
            f'{path} is not {preset.name}: its config.json says {stated}; '
            + (f'set model to {right}' if right else remedy_of_depth(config, preset))
        )


def _agrees(config: dict[str, Any], variant: Variant) -> bool:
    """Whether a config.json is consistent with `variant`; missing keys are consistent."""
    if 'model_name' in config:
        return variant.version == 3 and config['model_name'] == _model_name(variant)
    if variant.version == 3:
        return 'backbone_config' not in config
    if 'backbone_config' not in config:
        return True
    # transformers omits the default, relative
    role = config.get('depth_estimation_type', 'relative')
    if (role == 'metric') != bool(variant.max_depth):
        return False
    if variant.max_depth and config.get('max_depth', variant.max_depth) != variant.max_depth:
        return False
    backbone = config['backbone_config']
    taps = backbone.get('out_indices') if isinstance(backbone, dict) else None
    return not taps or taps == [tap + 1 for tap in variant.taps]  # counted from 1


def _model_name(variant: Variant) -> str:
    """`model_name` in the config.json of version 3."""
    size = {'vits': 'small', 'vitb': 'base', 'vitl': 'large'}[variant.size]
    return f'da3{"" if variant.role == "any" else variant.role}-{size}'


def _check_size(path: Path, preset: Preset, state: dict[str, Tensor]) -> None:
    """Refuse an encoder of another size with one sentence instead of hundreds of shapes."""
    token = state.get('encoder.cls_token')
    wanted = Variant.of(preset)
    if token is None or not token.ndim or token.shape[-1] == SIZES[wanted.size].width:
        return
    width = token.shape[-1]
    size = next((name for name, s in SIZES.items() if s.width == width), None)

    def fits(other: Preset) -> bool:
        variant = Variant.of(other)
        return variant.size == size and variant.network == wanted.network

    letter = size[-1].upper() if size else '?'
    raise WeightsError(
        f'{path} is a ViT-{letter} (width {width}), {preset.name} a '
        f'ViT-{wanted.size[-1].upper()}; presets of that size: {_presets(fits) or "none"}'
    )
